"""The server's own programs, pg_dump and pg_restore, as children of the bot."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import PurePath

from actuators import processes
from actuators.postgres.archive import LOOK_ELSEWHERE, BackupUnusableError
from actuators.postgres.connection import CONNECT_TIMEOUT, application_name, password_of
from actuators.redact import redact, tail
from bot.domain.actuation import Context
from bot.domain.errors import ActuatorError
from bot.domain.inventory import Database

_QUICK = 60.0
"""Seconds that a program may take which only looks."""

_TOC_LIMIT = 64 * 1024 * 1024
"""Bytes of a table of contents; a schema of 100,000 objects needs about 10 MB."""

_ENTRY = re.compile(r"^(?P<number>\d+); \d+ \d+ (?P<text>.*)$")


@dataclass(frozen=True)
class Contents:
    """The table of contents of a dump.

    Attributes:
        format: ``CUSTOM``, ``DIRECTORY`` or ``TAR``.
        dbname: The database that was dumped; empty if the dump does not say.
        created: When the dump was begun, by the wall clock of the machine that wrote it; None if it does not say.
        dumped_by: The version of the pg_dump that wrote it.
        total: Entries, hidden ones included.
        entries: What stands behind the numbers of each listed entry: type, schema, name and, if it has one, owner.
        numbers: The number of each of these, by which it can be chosen.
    """

    format: str
    dumped_by: str
    total: int
    entries: tuple[str, ...]
    dbname: str = ""
    created: datetime | None = None
    numbers: tuple[str, ...] = ()

    @property
    def dumped_by_major(self) -> int:
        """The major version of that pg_dump; 0 if the dump does not say."""
        return major(self.dumped_by)

    def owners(self, known: frozenset[str]) -> frozenset[str]:
        """Return the roles that own something in the dump.

        An entry ends with its owner, and names may hold blanks, so the longest known role that it ends with counts.

        Args:
            known: The server's roles.
        """
        found = set()
        for text in self.entries:
            if text.endswith(" "):
                continue
            fitting = [role for role in known if text.endswith(f" {role}")]
            found.add(max(fitting, key=len) if fitting else text.rpartition(" ")[2])
        return frozenset(found)


def read_contents(listing: str) -> Contents:
    """Read what ``pg_restore --list`` prints."""
    header = dict(re.findall(r"^;\s+([A-Za-z_ ]+): (.*)$", listing, re.MULTILINE))
    created = re.search(r"^; Archive created at (\d+-\d+-\d+ \d+:\d+:\d+)", listing, re.MULTILINE)
    found = [match for match in map(_ENTRY.match, listing.split("\n")) if match]
    entries = tuple(match["text"] for match in found)
    return Contents(
        format=header.get("Format", "CUSTOM").strip(),
        dumped_by=header.get("Dumped by pg_dump version", "").strip(),
        total=max(len(entries), int(header.get("TOC Entries", "0"))),
        entries=entries,
        dbname=header.get("dbname", "").strip(),
        created=_wall_clock(created[1]) if created else None,
        numbers=tuple(match["number"] for match in found),
    )


def _wall_clock(text: str) -> datetime | None:
    """Read the time of a dump. It holds no zone: that of the machine that wrote it is taken for the bot's own."""
    try:
        return datetime.strptime(text, "%Y-%m-%d %H:%M:%S").astimezone()
    except (ValueError, OverflowError, OSError):
        return None


def major(version: str) -> int:
    """Return the major number of a version like ``18.6 (Debian 18.6-1)``; 0 if there is none."""
    found = re.search(r"\d+", version)
    return int(found[0]) if found else 0


class Tools:
    """Runs the programs against one target; the password goes by the child's environment, never by an argument.

    Args:
        target: The database target.
        context: The run.

    Raises:
        ActuatorError: If the password cannot be read.
    """

    def __init__(self, target: Database, context: Context) -> None:
        self._target = target
        self._password = password_of(target)
        self._env = {
            "PGHOST": target.host,
            "PGPORT": str(target.port),
            "PGUSER": target.user,
            "PGSSLMODE": target.sslmode,
            "PGAPPNAME": application_name(context),
            "PGCONNECT_TIMEOUT": str(CONNECT_TIMEOUT),
            # Progress and errors are read from the messages, so they must not be translated.
            "LC_ALL": "C",
        }
        if self._password is not None:
            self._env["PGPASSWORD"] = self._password

    async def version(self, program: str) -> str:
        """Return the version of a program, e.g. ``18.6``.

        Raises:
            ActuatorError: If it is missing or does not run.
        """
        finished = await self._run([program, "--version"], timeout=_QUICK)
        if not finished.ok:
            raise ActuatorError(
                f"{self._path(program)} does not run.",
                untouched="Nothing was touched.",
                resolution="Correct bin_dir of the target in the inventory.",
                output=self._said(finished),
            )
        return finished.out.rpartition(")")[2].strip() or finished.out.strip()

    async def contents(
        self,
        path: str,
        *,
        timeout: float = _QUICK,  # noqa: ASYNC109 - handed on; the end of the time also ends the process group
    ) -> Contents:
        """Return a dump's table of contents.

        Args:
            path: The dump.
            timeout: Seconds that reading it may take.

        Raises:
            BackupUnusableError: If the file is no dump, or is damaged.
            ActuatorError: If it was written by a newer pg_dump, or cannot be read now.
        """
        finished = await self._run(["pg_restore", "--list", path], timeout=timeout, output_limit=_TOC_LIMIT)
        if finished.ok:
            return read_contents(finished.out)
        raise _damaged(path, self._said(finished))

    async def statements(
        self, path: str, contents: Contents, kinds: tuple[str, ...], *, on_line: processes.Line
    ) -> None:
        """Hand on the SQL of a dump's entries of some types, line by line; no data, and no functions' bodies.

        Args:
            path: The dump.
            contents: Its table of contents.
            kinds: How the wanted entries begin, e.g. ``ACL``.
            on_line: Takes each line.

        Raises:
            BackupUnusableError: If the dump is damaged.
            ActuatorError: If it cannot be read now.
        """
        pairs = zip(contents.numbers, contents.entries, strict=True)
        wanted = "".join(f"{number};\n" for number, text in pairs if text.startswith(kinds))
        if not wanted:
            return
        finished = await processes.run(
            [self._path("pg_restore"), "--file=-", "--use-list=/dev/stdin", path],
            env=self._env,
            stdin=wanted.encode(),
            timeout=_QUICK,
            on_stdout_line=on_line,
        )
        if not finished.ok:
            raise _damaged(path, self._said(finished))

    async def read_through(self, path: str) -> None:
        """Read a dump to its end, data included, and throw the result away.

        Raises:
            ActuatorError: If anything in it cannot be read.
        """
        finished = await self._run(["pg_restore", "--file=/dev/null", path], timeout=None)
        if not finished.ok:
            raise _damaged(path, self._said(finished))

    async def dump(self, path: str, *, on_line: processes.Line) -> None:
        """Write the live database into a file in the custom format.

        Raises:
            ActuatorError: If pg_dump fails.
        """
        argv = ["pg_dump", "--format=custom", "--verbose", "--no-password", f"--file={path}", self._target.dbname]
        finished = await self._run(argv, timeout=None, on_line=on_line)
        if not finished.ok:
            said = self._said(finished)
            raise ActuatorError(
                f"pg_dump of database {self._target.dbname} failed: {_first(said)}",
                untouched="The database was only read, and no unfinished backup was kept.",
                resolution="Correct the cause and ask again.",
                transient=_passing(said),
                output=said,
            )

    async def restore(
        self, path: str, *, dbname: str, jobs: int, role: str | None, on_line: processes.Line
    ) -> None:
        """Restore a dump into an empty database, and stop at the first error.

        Args:
            path: The dump.
            dbname: The database.
            jobs: Parallel connections.
            role: The role to become first, so that what has no owner of its own in the dump belongs to it.
            on_line: Takes each message.

        Raises:
            ActuatorError: If pg_restore fails.
        """
        argv = ["pg_restore", "--verbose", "--exit-on-error", "--no-password", f"--jobs={jobs}"]
        argv += [f"--role={role}"] if role else []
        finished = await self._run([*argv, f"--dbname={dbname}", path], timeout=None, on_line=on_line)
        if not finished.ok:
            said = self._said(finished)
            raise ActuatorError(
                f"pg_restore into {dbname} failed: {_first(said)}",
                untouched=f"The live database {self._target.dbname} was not touched.",
                resolution="Correct the cause and ask again; the half-restored copy is dropped then.",
                transient=_passing(said),
                output=said,
            )

    async def _run(
        self,
        argv: Sequence[str],
        *,
        timeout: float | None,  # noqa: ASYNC109 - handed on; the end of the time also ends the process group
        on_line: processes.Line | None = None,
        output_limit: int = processes.OUTPUT_LIMIT,
    ) -> processes.Finished:
        return await processes.run(
            [self._path(argv[0]), *argv[1:]],
            env=self._env,
            timeout=timeout,
            on_stderr_line=on_line,
            output_limit=output_limit,
        )

    def _path(self, program: str) -> str:
        return str(PurePath(self._target.bin_dir) / program) if self._target.bin_dir else program

    def _said(self, finished: processes.Finished) -> str:
        """Return what a program said from its first error on, since --verbose says much before."""
        text = finished.err
        found = re.search(r"^\S+: (?:error|fatal|detail):", text, re.MULTILINE)
        text = "\n".join(text[found.start() :].splitlines()[:20]) if found else text
        said = tail(redact(text, secrets=[self._password] if self._password else []))
        return said.strip() or f"exit code {finished.returncode}"


def _first(said: str) -> str:
    return re.sub(r"^\S+: (?:error|fatal): ", "", said.splitlines()[0]).rstrip(".") + "."


def _passing(said: str) -> bool:
    return bool(
        re.search(
            r"could not connect|connection to server .* failed|terminating connection|server closed the connection",
            said,
        )
    )


def _damaged(path: str, said: str) -> ActuatorError:
    # The format's version is 1.x since 2000; anything else is no dump's.
    if re.search(r"unsupported version \(1\.\d+\)", said):
        return ActuatorError(
            f"{path} was written by a pg_dump newer than the pg_restore at hand.",
            untouched="Nothing was touched.",
            resolution="Point bin_dir of the target at that version's programs.",
            output=said,
        )
    if "Permission denied" in said:
        return ActuatorError(
            f"{path} may not be read: permission denied.",
            untouched="Nothing was touched.",
            resolution=f"Let the bot's user read it: chown or chmod g+r {path}",
            output=said,
        )
    return BackupUnusableError(
        f"{path} is corrupt: pg_restore cannot read it ({_first(said).rstrip('.')}).",
        untouched="Nothing was touched.",
        resolution=LOOK_ELSEWHERE,
        output=said,
    )
