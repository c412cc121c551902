"""Whether a backup can be restored: its file, its version, and what the server must have for it."""

from __future__ import annotations

import re
from dataclasses import replace

from actuators.postgres import archive, beside, catalog, dumps
from actuators.postgres.archive import LOOK_ELSEWHERE, BackupUnusableError
from actuators.postgres.catalog import bytes_in_words, quoted
from actuators.postgres.checks import Look
from actuators.postgres.connection import connected, database_of
from actuators.postgres.steps import ListBackups, Pitr, Restore
from actuators.postgres.tools import Contents, Tools, major
from actuators.remedies import cannot_look
from bot.domain.actuation import Check, Context, Presence, Verdict
from bot.domain.errors import ActuatorError
from bot.domain.inventory import Database
from bot.domain.plan import Backup

READ_THROUGH = 1024**3
"""Bytes up to which a backup without a digest is read to its end while the plan is checked (about 10 s)."""

_DECIDED_BY_SERVER = frozenset({"pg_database_owner"})
"""Roles whose members follow from who owns a database: the bot is one of them as soon as it owns the new one."""

_ONLY_SUPERUSER = ("EVENT TRIGGER", "SUBSCRIPTION", "FOREIGN DATA WRAPPER")

_GRANTEE = re.compile(
    r'^(?:GRANT|REVOKE|ALTER DEFAULT PRIVILEGES) .* (?:TO|FROM) (?:"(?P<quoted>(?:[^"]|"")+)"|(?P<plain>[^\s";]+))'
    r"(?: WITH GRANT OPTION)?;$"
)
_SPACE = re.compile(r'^SET default_tablespace = (?:"(?P<quoted>(?:[^"]|"")+)"|(?P<plain>[^\s"\';]+));$')
_GRANTING = ("ACL ", "DEFAULT ACL ")
_PLACED = ("TABLE ", "INDEX ", "MATERIALIZED VIEW ", "CONSTRAINT ")
_EVERYBODY = "PUBLIC"

_SPACES = """
SELECT spcname::text, has_tablespace_privilege(oid, 'CREATE') FROM pg_tablespace WHERE spcname = ANY(%s::name[])
"""

# The live database's own versions: what was installed may have come from an older package than the server has now.
_INSTALLED = """
SELECT e.extname::text, e.extversion, a.default_version FROM pg_extension AS e
JOIN pg_available_extensions AS a ON a.name = e.extname
WHERE e.extname = ANY(%s::name[]) AND e.extversion <> a.default_version ORDER BY 1
"""

_EXTENSIONS = """
SELECT e.name::text, bool_or(v.trusted OR NOT v.superuser)
FROM pg_available_extensions AS e JOIN pg_available_extension_versions AS v
  ON v.name = e.name AND v.version = e.default_version
WHERE e.name = ANY(%s::name[]) GROUP BY e.name
"""


def plan_backup(step: Restore | ListBackups | Pitr, context: Context) -> Backup:
    """Return the backup that the step names.

    Raises:
        ActuatorError: If the plan has none of that id.
    """
    try:
        return context.plan.backup(step.backup)
    except KeyError:
        raise ActuatorError(
            f"Step {step.id} names backup {step.backup}, which the plan does not list.",
            untouched="Nothing was touched.",
            resolution="List it under `backups` of the plan.",
        ) from None


async def check_backup(step: Restore, context: Context) -> tuple[Check, ...]:
    """Check that the file is there, is the one that was meant, and can be read by the pg_restore at hand.

    If it is not, the other backups that there are stand in the resolution.
    """
    subject = f"Backup {step.backup}"
    try:
        backup = plan_backup(step, context)
        return (await look_into(backup, database_of(step, context), context),)
    except BackupUnusableError as error:
        others = await dumps.in_a_sentence(database_of(step, context), backup, context)
        found = cannot_look(subject, error)
        advice = "" if found.resolution == LOOK_ELSEWHERE else found.resolution
        return (replace(found, resolution=f"{advice} {others}".strip()),)
    except ActuatorError as error:
        return (cannot_look(subject, error),)


async def look_into(backup: Backup, target: Database, context: Context) -> Check:
    """Look whether a backup can be restored.

    Raises:
        ActuatorError: If it cannot.
    """
    subject = f"Backup {backup.id}"
    size = await archive.find_backup(backup)
    tools = Tools(target, context)
    contents = await tools.contents(backup.location)
    version = await tools.version("pg_restore")
    if major(version) < contents.dumped_by_major:
        raise ActuatorError(
            f"pg_restore {version} is older than the pg_dump that wrote the backup ({contents.dumped_by}).",
            untouched="Nothing was touched.",
            resolution=f"Point bin_dir of the target at PostgreSQL {contents.dumped_by_major} or newer.",
        )
    words = f"{bytes_in_words(size)}, {len(contents.entries)} objects, written by pg_dump {contents.dumped_by}"
    if backup.sha256 is not None:
        await archive.verify_digest(backup)
        return Check(subject, Verdict.OK, f"{words}; digest as in the plan")
    if size <= READ_THROUGH:
        await tools.read_through(backup.location)
        return Check(subject, Verdict.OK, f"{words}; read to its end")
    words += "; too large to be read to its end now, and the plan names no digest"
    resolution = "Name the backup's sha256 in the plan: then it is compared."
    return Check(subject, Verdict.WARN, words, resolution)


async def name_is_free(look: Look, step: str) -> tuple[Check, ...]:
    """Check that no foreign database has the name that the restore needs.

    Args:
        look: The server.
        step: The plan's step that restores.
    """
    found = await beside.look(step, look.target, look.context, look.connection)
    if found.presence is Presence.UNKNOWN:
        resolution = "Find out whose it is; rename or drop it by hand if nobody needs it."
        return (Check(look.subject, Verdict.FAIL, f"{found.words}. Nothing was touched.", resolution),)
    return ()


async def dump_fits(look: Look, backup: Backup) -> tuple[Check, ...]:
    """Check that server and role have what the dump's content asks for."""
    tools = Tools(look.target, look.context)
    contents = await tools.contents(backup.location)
    checks = [
        *await _same_version(look, tools),
        *await _owners(look, contents),
        *await _named_in_statements(look, tools, backup, contents),
        *await _extensions(look, contents),
        *await _tablespace(look),
    ]
    return tuple(checks)


async def _named_in_statements(look: Look, tools: Tools, backup: Backup, contents: Contents) -> list[Check]:
    """Check roles that are granted something, and tablespaces: these stand in the dump's statements only."""
    grantees: set[str] = set()
    spaces: set[str] = set()

    def read(line: str) -> None:
        for pattern, found in ((_GRANTEE, grantees), (_SPACE, spaces)):
            match = pattern.match(line)
            if match:
                found.add(match["plain"] or match["quoted"].replace('""', '"'))

    await tools.statements(backup.location, contents, (*_GRANTING, *_PLACED), on_line=read)
    checks = []
    missing = sorted(grantees - {_EVERYBODY} - await catalog.roles(look.connection) - contents.owners(frozenset()))
    if missing:
        words = (
            f"The backup grants rights to roles that the server lacks: {', '.join(missing)}. Nothing was touched."
        )
        statements = " ".join(f"CREATE ROLE {quoted(name)};" for name in missing)
        checks.append(Check(look.subject, Verdict.FAIL, words, f"Run as an administrator: {statements}"))
    rows = await (await look.connection.execute(_SPACES, [sorted(spaces)])).fetchall()
    allowed: dict[str, bool] = dict(rows)
    lacking = sorted(spaces - allowed.keys())
    if lacking:
        words = f"The backup names tablespaces that the server lacks: {', '.join(lacking)}. Nothing was touched."
        resolution = "Make them as an administrator (CREATE TABLESPACE), or restore a backup without them."
        checks.append(Check(look.subject, Verdict.FAIL, words, resolution))
    checks += [_may_not_create(look, name) for name, may in sorted(allowed.items()) if not may]
    return checks


async def _same_version(look: Look, tools: Tools) -> list[Check]:
    """A newer pg_restore sends settings that an older server does not know, and ends there."""
    version = await tools.version("pg_restore")
    server = look.connection.info.server_version // 10000
    if major(version) == server:
        return []
    words = f"pg_restore {version} is not of the server's version ({server})"
    resolution = f"Point bin_dir of the target at PostgreSQL {server}."
    if major(version) > server:
        return [Check("pg_restore", Verdict.FAIL, f"{words} and newer. Nothing was touched.", resolution)]
    return [Check("pg_restore", Verdict.WARN, words, resolution)]


async def _owners(look: Look, contents: Contents) -> list[Check]:
    known = await catalog.roles(look.connection)
    owners = contents.owners(known) - _DECIDED_BY_SERVER
    missing = sorted(owners - known)
    if missing:
        words = f"The backup's owners are no roles of the server: {', '.join(missing)}. Nothing was touched."
        statements = " ".join(f"CREATE ROLE {quoted(name)};" for name in missing)
        return [Check(look.subject, Verdict.FAIL, words, f"Run as an administrator: {statements}")]
    barred = sorted([name for name in owners if not await catalog.may_act_as(look.connection, name)])
    if look.live.owner in barred:
        # The owner's own check says so already.
        barred.remove(look.live.owner)
    if barred:
        user = look.target.user
        words = f'The role is too weak: "{user}" may not give objects to {", ".join(barred)}. Nothing was touched.'
        statements = " ".join(f"GRANT {quoted(name)} TO {quoted(user)};" for name in barred)
        return [Check(look.subject, Verdict.FAIL, words, f"Run as an administrator: {statements}")]
    return []


async def _extensions(look: Look, contents: Contents) -> list[Check]:
    role = await catalog.own_role(look.connection)
    wanted = [text.split()[2] for text in contents.entries if text.startswith("EXTENSION ")]
    rows = await (await look.connection.execute(_EXTENSIONS, [wanted])).fetchall()
    available: dict[str, bool] = dict(rows)
    missing = sorted(set(wanted) - set(available))
    checks = []
    if missing:
        words = f"The backup needs extensions that the server lacks: {', '.join(missing)}. Nothing was touched."
        checks.append(Check(look.subject, Verdict.FAIL, words, "Install their packages on the server."))
    checks += await _other_versions(look, wanted)
    barred = sorted(name for name, allowed in available.items() if not allowed)
    special = sorted({kind for kind in _ONLY_SUPERUSER for text in contents.entries if text.startswith(kind)})
    if (barred or special) and not role.superuser:
        what = ", ".join([*(f"extension {name}" for name in barred), *(kind.lower() for kind in special)])
        words = f"The role is too weak: only a superuser can restore {what}. Nothing was touched."
        resolution = (
            "Let the target's user be a superuser for this rollback, or take these objects out of the backup."
        )
        checks.append(Check(look.subject, Verdict.FAIL, words, resolution))
    return checks


async def _other_versions(look: Look, wanted: list[str]) -> list[Check]:
    """A dump holds no versions of extensions: the copy gets the server's default, be it another than now."""
    async with connected(look.target, look.context, dbname=look.live.name, looking=True) as connection:
        rows = await (await connection.execute(_INSTALLED, [wanted])).fetchall()
    if not rows:
        return []
    told = ", ".join(f"{name} {default} instead of {installed}" for name, installed, default in rows)
    words = f"The restored database would get other versions of extensions than the live one has: {told}"
    return [Check(look.subject, Verdict.WARN, words, "Make sure that the service works with these versions.")]


async def _tablespace(look: Look) -> list[Check]:
    space = look.live.tablespace
    row = await (
        await look.connection.execute(
            "SELECT has_tablespace_privilege(%(space)s::text, 'CREATE') OR %(space)s = 'pg_default'",
            {"space": space},
        )
    ).fetchone()
    if row and row[0]:
        return []
    return [_may_not_create(look, space)]


def _may_not_create(look: Look, space: str) -> Check:
    user = quoted(look.target.user)
    words = f'The role is too weak: "{look.target.user}" may not create in tablespace {space}. Nothing was touched.'
    return Check(
        look.subject,
        Verdict.FAIL,
        words,
        f"Run as an administrator: GRANT CREATE ON TABLESPACE {quoted(space)} TO {user};",
    )
