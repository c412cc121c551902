"""The catalogue of backups: which dumps of a database lie beside the plan's one, and which could be restored."""

from __future__ import annotations

import asyncio
import itertools
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

from actuators.postgres import archive
from actuators.postgres.archive import BackupUnusableError
from actuators.postgres.backup import SAFETY_MARK
from actuators.postgres.catalog import bytes_in_words
from actuators.postgres.tools import Contents, Tools
from bot.domain.actuation import Context
from bot.domain.errors import ActuatorError
from bot.domain.inventory import Database
from bot.domain.plan import Backup, Plan
from bot.domain.times import utc_minute

SEARCH = 8.0
"""Seconds that looking for dumps may take in all: less than an actuator has for all that it looks at."""
DIGESTS = 6.0
"""Seconds that a digest may take: a few gigabytes."""
OFFERED = 3
"""Dumps that are worth a button."""

_READ = 12
"""Dumps whose table of contents is read, the newest ones."""
_AT_ONCE = 4
_FOLDERS = 200
_ENTRIES = 5000
_SHORTEST_NAME = 3


@dataclass(frozen=True)
class Dump:
    """A file, or a folder of pg_dump's directory format, that may be a backup of the database.

    Attributes:
        path: Where it lies.
        size: Bytes; a folder's is that of its files.
        modified: When it was last written to. It was taken no later than this.
        contents: Its table of contents, if that was read.
        problem: Why it cannot be restored, in words; empty if nothing speaks against it.
        folder: Whether it is a folder.
    """

    path: Path
    size: int
    modified: datetime
    contents: Contents | None = None
    problem: str = ""
    folder: bool = False

    @property
    def taken_at(self) -> datetime:
        """When it was taken: as it says itself, or its file's time where that is earlier or all there is.

        A dump holds the wall clock of the machine that wrote it, without a zone.
        """
        created = self.contents.created if self.contents else None
        return (min(created, self.modified) if created else self.modified).astimezone(UTC).replace(microsecond=0)

    def words(self) -> str:
        """Return it in words: path, time, size, and what speaks against it."""
        text = f"{self.path} ({utc_minute(self.taken_at)}, {bytes_in_words(self.size)})"
        return f"{text}: {self.problem}" if self.problem else text


@dataclass(frozen=True)
class Found:
    """What a search has brought up.

    Attributes:
        places: Where was looked, as a shell's patterns.
        dumps: What is there, the newest first.
        more: How many older ones were not read.
    """

    places: tuple[str, ...]
    dumps: tuple[Dump, ...]
    more: int = 0

    @property
    def usable(self) -> tuple[Dump, ...]:
        """Those that nothing speaks against."""
        return tuple(dump for dump in self.dumps if not dump.problem)


async def search(target: Database, backup: Backup, context: Context) -> Found:
    """Look for dumps of the database in the backup's folder, its siblings and the folder of safety backups.

    Args:
        target: The database target.
        backup: The plan's backup; its folder tells where backups are kept.
        context: The run.

    Raises:
        ActuatorError: If it took too long, or pg_restore cannot be run.
    """
    try:
        async with asyncio.timeout(SEARCH):
            places, every = await asyncio.to_thread(_candidates, target, Path(backup.location))
            # Those that may be good ones first: a busy day may have left many that are not.
            every.sort(key=lambda dump: dump.modified > context.plan.deployed_at or SAFETY_MARK in dump.path.name)
            read = await _read(every[:_READ], target, context)
    except TimeoutError:
        raise ActuatorError(
            f"Looking for other backups took longer than {SEARCH:g} seconds.",
            untouched="They were only read.",
            resolution=f"List them by hand: ls -la {Path(backup.location).parent}",
        ) from None
    judged = [replace(dump, problem=dump.problem or _against(dump, target, backup, context.plan)) for dump in read]
    judged.sort(key=lambda dump: dump.taken_at, reverse=True)
    return Found(places, tuple(judged), more=max(0, len(every) - _READ))


async def in_a_sentence(target: Database, backup: Backup, context: Context) -> str:
    """Return which other backups could be restored, as what to do next about one that cannot."""
    try:
        found = await search(target, backup, context)
    except ActuatorError as error:
        return f"{error.brief} {error.resolution} Without another backup, escalate and fix forward."
    if not found.usable:
        return (
            f"No other usable backup was found ({', '.join(found.places)}): rollback is not possible. "
            "Escalate and fix forward."
        )
    named = "; ".join(dump.words() for dump in found.usable[:OFFERED])
    return f"Other usable backups: {named}. Name one in the plan, with its row counts as baseline, and ask again."


async def digest(dump: Dump) -> str | None:
    """Return the SHA-256 of a dump's file in hex, None if there is no time to read it all."""
    try:
        async with asyncio.timeout(DIGESTS):
            return await archive.sha256(dump.path)
    except (TimeoutError, OSError):
        return None


async def look_at(backup: Backup, target: Database, context: Context) -> Dump:
    """Return one dump as it lies there now, its table of contents read.

    Raises:
        ActuatorError: If it is missing or cannot be read.
    """
    await archive.find_backup(backup)
    found = await asyncio.to_thread(_dump, Path(backup.location))
    contents = await Tools(target, context).contents(backup.location)
    if found is None:
        raise BackupUnusableError(
            f"{backup.location} is no dump.", untouched="Nothing was touched.", resolution="Choose another backup."
        )
    return replace(found, contents=contents)


def _against(dump: Dump, target: Database, backup: Backup, plan: Plan) -> str:
    """Return what speaks against restoring a readable dump."""
    if dump.path == Path(backup.location):
        return "the plan's own backup"
    if SAFETY_MARK in dump.path.name:
        return "the safety backup of a rollback: it holds a failed state"
    if dump.contents is not None and dump.contents.dbname not in {"", target.dbname}:
        return f"of database {dump.contents.dbname}"
    if dump.taken_at > plan.deployed_at:
        return "taken after the deployment: it holds the failed state"
    if dump.modified > plan.deployed_at:
        # Its own clock may have been in another zone, and a copy bears a new time.
        return "written after the deployment: it cannot be told whether it holds the failed state"
    return "a folder, which cannot be pinned: name it in the plan" if dump.folder else ""


async def _read(dumps: list[Dump], target: Database, context: Context) -> list[Dump]:
    tools, free = Tools(target, context), asyncio.Semaphore(_AT_ONCE)

    async def one(dump: Dump) -> Dump:
        if dump.problem:
            return dump
        async with free:
            try:
                return replace(dump, contents=await tools.contents(str(dump.path), timeout=SEARCH))
            except BackupUnusableError as error:
                return replace(dump, problem=_why(error))
            except ActuatorError as error:
                return replace(dump, problem=error.brief.rstrip("."))

    async with asyncio.TaskGroup() as group:
        reading = [group.create_task(one(dump)) for dump in dumps]
    return [task.result() for task in reading]


def _why(error: ActuatorError) -> str:
    return (
        "a dump in plain SQL, which is for psql"
        if "text format dump" in error.output
        else "pg_restore cannot read it"
    )


def _candidates(target: Database, location: Path) -> tuple[tuple[str, ...], list[Dump]]:
    """Return where was looked, and what bears the database's name there, the newest first."""
    stem = _stem(location)
    prefixes = (target.dbname,) if not stem or stem.startswith(target.dbname) else (target.dbname, stem)
    folders, places = [location.parent], [str(location.parent)]
    above = location.parent.parent
    if above not in {Path("/"), location.parent}:
        # The specification's pattern: ls -la /backups/*/myapp*
        folders += list(itertools.islice(_folders(above), _FOLDERS))
        places = [f"{above}/*"]
    if Path(target.backups) not in folders:
        folders.append(Path(target.backups))
        places.append(target.backups)
    found = {path: dump for folder in dict.fromkeys(folders) for path, dump in _in(folder, prefixes)}
    ordered = sorted(found.values(), key=lambda dump: dump.modified, reverse=True)
    return tuple(str(Path(place, f"{prefix}*")) for place in places for prefix in prefixes), ordered


def _stem(location: Path) -> str:
    """Return the part of the backup's name that others of the same database share: the letters before its date."""
    match = re.match(r"[A-Za-z][A-Za-z_-]*", location.name)
    stem = match[0].rstrip("_-") if match else ""
    return stem if len(stem) >= _SHORTEST_NAME else ""


def _folders(above: Path) -> Iterator[Path]:
    try:
        yield from sorted(entry for entry in itertools.islice(above.iterdir(), _ENTRIES) if entry.is_dir())
    except OSError:
        return


def _in(folder: Path, prefixes: tuple[str, ...]) -> Iterator[tuple[Path, Dump]]:
    """Yield what lies in a folder under such a name; what cannot be looked at is left out."""
    try:
        entries = [
            entry for entry in itertools.islice(folder.iterdir(), _ENTRIES) if entry.name.startswith(prefixes)
        ]
    except OSError:
        return
    for entry in entries:
        try:
            dump = _dump(entry)
        except OSError:
            continue
        if dump is not None:
            yield entry, dump


def _dump(path: Path) -> Dump | None:
    state = path.stat()
    modified = datetime.fromtimestamp(state.st_mtime, tz=UTC)
    if path.is_file() and path.suffix != ".partial":
        problem = "" if state.st_size else "empty"
        return Dump(path, state.st_size, modified, problem=problem)
    if (path / "toc.dat").is_file():
        parts = [entry.stat() for entry in path.iterdir()]
        newest = max(part.st_mtime for part in parts)
        size = sum(part.st_size for part in parts)
        return Dump(path, size, datetime.fromtimestamp(newest, tz=UTC), folder=True)
    return None
