"""postgres.safety_backup: a dump of the failed state, so that nothing written since the deployment is lost."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
from collections.abc import Callable
from pathlib import Path

from actuators.postgres import catalog
from actuators.postgres.archive import BackupUnusableError, flush
from actuators.postgres.catalog import bytes_in_words, quoted
from actuators.postgres.checks import Look, examine
from actuators.postgres.connection import connected, database_of
from actuators.postgres.steps import SafetyBackup
from actuators.postgres.tools import Tools, major
from bot.domain.actuation import Check, Context, Observation, Outcome, Presence, Progress, Verdict
from bot.domain.errors import ActuatorError
from bot.domain.inventory import Database

_TABLE_SIZES = """
SELECT n.nspname || '.' || c.relname, pg_table_size(c.oid)
FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace
WHERE c.relkind IN ('r', 'm') AND n.nspname NOT LIKE 'pg\\_%' AND n.nspname <> 'information_schema'
"""

# pg_dump locks every table and reads every sequence, whatever the plan restores later.
_UNREADABLE = """
SELECT n.nspname || '.' || c.relname, pg_get_userbyid(c.relowner)
FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace
WHERE c.relkind IN ('r', 'p', 'S') AND n.nspname NOT LIKE 'pg\\_%' AND n.nspname <> 'information_schema'
  AND NOT CASE c.relkind WHEN 'S' THEN has_sequence_privilege(c.oid, 'SELECT')
                         ELSE has_table_privilege(c.oid, 'SELECT') END
ORDER BY 1 LIMIT 5
"""

SAFETY_MARK = "-pre-rollback-"
"""Part of the name of every safety backup, by which one is never taken for a good one."""

_COMPRESSION = 10
"""A dump smaller than a tenth of its database is not to be counted on."""


def dump_path(target: Database, step: SafetyBackup, context: Context) -> Path:
    """Return where the step's dump lies; the same at every attempt of one run."""
    return Path(target.backups) / f"{target.dbname}{SAFETY_MARK}{context.token(step)}.dump"


class SafetyBackupActuator:
    """Dumps the live database under a temporary name, verifies the dump, and renames it."""

    async def check(self, step: SafetyBackup, context: Context) -> tuple[Check, ...]:
        """Look at folder, room, pg_dump and the right to read every table."""
        return await examine(step, context, _folder, _program, _may_read)

    async def observe(self, step: SafetyBackup, context: Context) -> Observation:
        """Look whether the dump is there and can be listed."""
        target = database_of(step, context)
        path = dump_path(target, step, context)
        try:
            size = (await asyncio.to_thread(path.stat)).st_size
            await Tools(target, context).contents(str(path))
        except FileNotFoundError:
            return Observation(Presence.ABSENT, f"There is no {path}")
        except OSError as error:
            return Observation(Presence.UNKNOWN, f"{path} cannot be looked at: {error.strerror}")
        except BackupUnusableError as error:
            return Observation(Presence.ABSENT, error.brief)
        return Observation(Presence.PRESENT, f"{path} ({bytes_in_words(size)})", {"path": str(path), "bytes": size})

    async def apply(self, step: SafetyBackup, context: Context) -> Outcome:
        """Write the dump, unless this run has written it before."""
        found = await self.observe(step, context)
        if found.presence is Presence.PRESENT:
            return Outcome(f"The safety backup was there already: {found.words}", found.facts)
        target = database_of(step, context)
        path = dump_path(target, step, context)
        partial = path.with_name(path.name + ".partial")
        progress = await _progress(target, context, partial)
        tools = Tools(target, context)
        try:
            # pg_dump keeps the mode of a file that is there: the data are nobody else's to read.
            partial.unlink(missing_ok=True)
            os.close(os.open(partial, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
            await tools.dump(str(partial), on_line=progress)
            await tools.contents(str(partial))
            await asyncio.to_thread(flush, partial)
            partial.replace(path)
            await asyncio.to_thread(flush, path.parent)
        except OSError as error:
            raise ActuatorError(
                f"The safety backup cannot be written to {path.parent}: {error.strerror}.",
                untouched="The database was only read.",
                resolution="Give the bot's user a writable folder with room at `backups` of the target.",
            ) from None
        finally:
            with contextlib.suppress(OSError):
                partial.unlink(missing_ok=True)
        size = path.stat().st_size
        return Outcome(f"Safety backup {path} ({bytes_in_words(size)})", {"path": str(path), "bytes": size})


async def _progress(target: Database, context: Context, partial: Path) -> Callable[[str], None]:
    """Return what follows pg_dump's messages: bytes of the tables that are done, of all tables."""
    async with connected(target, context, dbname=target.dbname, looking=True) as connection:
        sizes: dict[str, int] = dict(await (await connection.execute(_TABLE_SIZES)).fetchall())
    total = sum(sizes.values())
    done = 0
    current: str | None = None

    def follow(line: str) -> None:
        nonlocal done, current
        match = re.search(r'dumping contents of table "(.+)"$', line)
        if not match:
            return
        done += sizes.get(current or "", 0)
        current = match[1].replace('"', "")
        written = partial.stat().st_size if partial.exists() else 0
        words = f"dumping {current}, {bytes_in_words(written)} written"
        context.report(Progress(done, total, "bytes", words))

    return follow


async def _folder(look: Look) -> tuple[Check, ...]:
    folder = Path(look.target.backups)
    subject = f"Folder {folder}"
    if not await asyncio.to_thread(folder.is_dir):
        words = "There is no such folder on the bot's machine. Nothing was touched."
        return (Check(subject, Verdict.FAIL, words, f"Run: install -d -m 700 {folder}"),)
    if not os.access(folder, os.W_OK | os.X_OK):
        words = "Permission denied: the bot's user may not write there. Nothing was touched."
        return (Check(subject, Verdict.FAIL, words, f"Make the bot's user own {folder}."),)
    free = await asyncio.to_thread(_free, folder)
    needed = await catalog.size(look.connection, look.live.name)
    words = f"{bytes_in_words(free)} free, the database has {bytes_in_words(needed)}"
    if free < needed / _COMPRESSION:
        return (Check(subject, Verdict.FAIL, f"Too little room: {words}. Nothing was touched.", "Make room."),)
    if free < needed:
        words += "; it fits only if it compresses well"
        return (Check(subject, Verdict.WARN, words, "Make room, or name another folder at `backups`."),)
    return (Check(subject, Verdict.OK, words),)


def _free(folder: Path) -> int:
    state = os.statvfs(folder)
    return state.f_bavail * state.f_frsize


async def _program(look: Look) -> tuple[Check, ...]:
    version = await Tools(look.target, look.context).version("pg_dump")
    server = look.connection.info.server_version // 10000
    if major(version) < server:
        words = f"pg_dump {version} is older than the server ({server}) and will refuse it. Nothing was touched."
        return (Check("pg_dump", Verdict.FAIL, words, f"Point bin_dir of the target at PostgreSQL {server}."),)
    if major(version) > server:
        words = f"pg_dump {version} is newer than the server ({server}): its own pg_restore may not read the dump"
        return (Check("pg_dump", Verdict.WARN, words, f"Point bin_dir of the target at PostgreSQL {server}."),)
    return (Check("pg_dump", Verdict.OK, f"version {version}"),)


async def _may_read(look: Look) -> tuple[Check, ...]:
    async with connected(look.target, look.context, dbname=look.live.name, looking=True) as connection:
        rows = await (await connection.execute(_UNREADABLE)).fetchall()
    if not rows:
        return (Check(look.subject, Verdict.OK, f"{look.target.user} may read every table"),)
    tables = ", ".join(f"{table} (of {owner})" for table, owner in rows)
    return (
        Check(
            look.subject,
            Verdict.FAIL,
            f'The role is too weak: "{look.target.user}" may not read {tables}. Nothing was touched.',
            f"Run as an administrator: GRANT pg_read_all_data TO {quoted(look.target.user)};",
        ),
    )
