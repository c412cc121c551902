"""A second server on a recovered copy of a base backup, in a folder of the run's own.

It listens on a socket in that folder only, which nobody else may enter. Everything that it could do to the live
cluster is taken from it: its configuration is written anew, it archives nothing, and follows no link.
"""

from __future__ import annotations

import re
import secrets
import shlex
from dataclasses import dataclass, field
from datetime import UTC, datetime

from actuators.postgres import base_backup, wal
from actuators.postgres import recovery_scripts as scripts
from actuators.postgres.base_backup import BaseBackup
from actuators.postgres.catalog import bytes_in_words
from actuators.postgres.live_server import LIMITS, LiveServer
from actuators.postgres.recovery_host import RecoveryHost
from actuators.redact import redact, tail
from actuators.together import tasks
from bot.domain.actuation import Context, Progress
from bot.domain.errors import ActuatorError
from bot.domain.times import utc_second

_POLL = 0.5
_POLL_COPY = 2.0
"""Seconds between two looks at the size of the copy: each one reads every folder of it."""
_LONG = 24 * 3600.0
"""Seconds that a long command may take; what really ends it is the step's own deadline."""
_STOP = 60.0
_FOREIGN = 67


@dataclass(frozen=True)
class Seen:
    """What the recovered server says.

    Attributes:
        facts: Its answers by name.
        state: ``recovered`` when it stands at the moment, ``paused`` when it cannot go on; empty: no answer yet.
        reached: The time of the last transaction that it has replayed, None before the first one.
        lsn: How far it has replayed.
    """

    facts: dict[str, str]
    state: str = ""
    reached: datetime | None = None
    lsn: str = ""


@dataclass
class RecoveredServer:
    """The second server of one attempt.

    Attributes:
        host: Its machine.
        context: The run.
        step: The plan's step that recovers.
        base: The base backup.
        live: The live server.
        moment: The moment to recover to.
        attempt: Random; an attempt that was overtaken by another one stops nothing of it.
    """

    host: RecoveryHost
    context: Context
    step: str
    base: BaseBackup
    live: LiveServer
    moment: datetime
    attempt: str = field(default_factory=lambda: secrets.token_hex(8))

    @property
    def data(self) -> str:
        """The data folder."""
        return f"{self.host.run_folder}/data"

    async def bring_up(self) -> Seen:
        """Copy the base backup, start the server on it, and return when it stands at the moment.

        What an interrupted attempt of this run has left is gone on with.

        Raises:
            ActuatorError: If the moment cannot be reached.
        """
        mark = f"{self.context.rollback_id} {self.step} {self.base.digest} {self.moment.isoformat()}"
        taken = await self.host.script(scripts.TAKE, self.host.run_folder, mark, self.attempt)
        if not taken.ok:
            brief = "the run's own folder cannot be used"
            advice = "Find out whose it is; move it away if nobody needs it, then retry."
            raise self.host.error(taken, brief, resolution=advice)
        if "copied" not in taken.out:
            await self._copy()
        program = self.host.program("pg_ctl")
        started = await self.host.script(scripts.START, self.host.run_folder, program, timeout=_STOP)
        if not started.ok:
            raise self.host.error(started, "the recovered server does not start", resolution="Look at its log.")
        return await self._until_reached()

    async def remove(self) -> None:
        """Stop the server and remove its folder, unless another attempt has taken it over."""
        await remove(self.host, self.context, attempt=self.attempt)

    async def _copy(self) -> None:
        base, copy = self.base, f"{self.host.run_folder}/copy.{self.attempt}"
        await self._must(["mkdir", "-p", "-m", "700", copy], "the copy cannot be made")
        async with tasks() as group:
            watching = group.create_task(self._watch_copy(copy))
            for argv in _copying(base, copy):
                await self._must(argv, "the base backup cannot be copied")
            watching.cancel()
        self._report(base.size, base.size, "bytes", "verifying the base backup's checksums")
        program = self.host.program("pg_verifybackup")
        verified = await self.host.script(scripts.VERIFY, copy, program, base.digest, timeout=_LONG)
        if not verified.ok:
            raise self.host.error(
                verified,
                "the base backup is damaged, or was changed meanwhile",
                resolution="Name another base backup in the plan; without one, fix forward.",
            )
        control = await self._must([self.host.program("pg_controldata"), "-D", copy], "it is no data folder")
        said = dict(re.findall(r"^(.+?): +(.*)$", control, re.MULTILINE))
        if said["Database system identifier"] != self.live.system:
            raise ActuatorError(
                f"Base backup {base.location} is one of another cluster than the live one.",
                untouched="The live database was not touched.",
                resolution="Name a base backup of the target's own cluster in the plan.",
            )
        text = configuration(self, said).encode()
        configured = await self.host.script(scripts.CONFIGURE, copy, self.data, stdin=text)
        if not configured.ok:
            raise self.host.error(configured, "the copy cannot be configured", resolution="Look at the disk there.")

    async def _watch_copy(self, copy: str) -> None:
        while True:
            found = await self.host.run(["du", "-sk", copy])
            kilobytes = found.out.split("\t")[0]
            done = int(kilobytes) * 1024 if kilobytes.isdigit() else 0
            words = f"copying the base backup, {bytes_in_words(done)} of {bytes_in_words(self.base.size)}"
            self._report(min(done, self.base.size), self.base.size, "bytes", words)
            await self.context.clock.sleep(_POLL_COPY)

    async def look(self) -> Seen:
        """Ask the server how far it is."""
        psql = self.host.program("psql")
        finished = await self.host.script(scripts.LOOK, self.host.run_folder, psql, self.live.superuser)
        facts = {key: value for key, _, value in (line.partition("=") for line in finished.out.splitlines())}
        state, seconds, lsn = [*facts.get("seen", "").split("|"), "", ""][:3]
        reached = datetime.fromtimestamp(int(seconds), tz=UTC) if seconds not in {"", "0"} else None
        return Seen(facts, state=state, reached=reached, lsn=lsn)

    async def _until_reached(self) -> Seen:
        total = max(1.0, (self.moment - self.base.ended).total_seconds())
        while True:
            seen = await self.look()
            if seen.state == "recovered":
                self._report(total, total, "seconds", f"recovered to {utc_second(self.moment)}")
                return seen
            if "alive" not in seen.facts or (seen.state == "paused" and seen.facts.get("weak")):
                raise await self._explained(seen)
            done = (seen.reached - self.base.ended).total_seconds() if seen.reached else 0.0
            at = utc_second(seen.reached) if seen.reached else "the beginning"
            words = f"recovering: at {at} of {utc_second(self.moment)}, position {seen.lsn or '-'}, "
            words += f"segment {seen.facts.get('segment') or '-'}"
            self._report(min(max(0.0, done), total), total, "seconds", words)
            await self.context.clock.sleep(_POLL)

    async def _explained(self, seen: Seen) -> ActuatorError:
        """Say why the server has ended before the moment."""
        fatal, weak = seen.facts.get("fatal", ""), seen.facts.get("weak", "")
        if "before consistent recovery point" in fatal:
            return self._failed(
                f"The base backup ended after {utc_second(self.moment)}: recovery cannot stop within a backup",
                "Name an older base backup in the plan, or a later moment.",
            )
        if weak:
            return self._failed(
                f"Recovery stands still: {weak}",
                "Raise that setting of the live server while it is recovered, or name a later base backup.",
            )
        if "recovery ended before" in fatal or "WAL ends before" in fatal or "locate" in fatal:
            return await self._lacking(seen)
        log = await self.host.run(["tail", "-n", "20", f"{self.host.run_folder}/log"])
        return self._failed(
            f"The recovered server has ended: {fatal or 'its log does not say why'}",
            "Correct the cause and retry; the last lines of its log are kept with this message.",
            output=tail(redact(log.out)),
        )

    async def _lacking(self, seen: Seen) -> ActuatorError:
        """Say which segment the archive lacks, and whether it is a gap or the end."""
        size = self.live.segment_size
        last = wal.read_name(seen.facts.get("segment", ""), size)
        first = self.base.first(size)
        lacking = last.number + 1 if last else first.number
        there = await base_backup.archived(self.base, self.host, segment_size=size) or {}
        if lacking in there:
            lacking = max(number for number in there if set(range(lacking, number + 1)) <= there.keys()) + 1
        name = wal.Segment((last or first).timeline, lacking).name(size)
        if any(number > lacking for number in there):
            return self._failed(
                f"The archive has a gap: without WAL segment {name} there is no way to {utc_second(self.moment)}",
                "Find the segment in another copy of the archive, or name an earlier moment.",
            )
        return self._failed(
            f"The archived WAL ends before {utc_second(self.moment)}: the next segment would be {name}",
            "Have the live server's newest WAL archived (GRANT EXECUTE ON FUNCTION pg_switch_wal), then retry.",
        )

    def _failed(self, brief: str, resolution: str, output: str = "") -> ActuatorError:
        untouched = "The live database was not touched."
        return ActuatorError(f"{brief}.", untouched=untouched, resolution=resolution, output=output)

    async def _must(self, argv: list[str], what: str) -> str:
        finished = await self.host.run(argv, timeout=_LONG)
        if finished.ok:
            return finished.out
        raise self.host.error(finished, what, resolution="Look at rights and room on that machine, then retry.")

    def _report(self, done: float, total: float, unit: str, words: str) -> None:
        self.context.report(Progress(done, total, unit, words))


async def remove(host: RecoveryHost, context: Context, *, attempt: str = "") -> None:
    """Stop this run's server and remove its folder.

    Args:
        host: Its machine.
        context: The run.
        attempt: Only if it is still this attempt's; without it, whichever attempt's.

    Raises:
        ActuatorError: If it cannot be done, or the folder is somebody else's.
    """
    program = host.program("pg_ctl")
    ended = await host.script(scripts.REMOVE, host.run_folder, program, context.rollback_id, attempt, timeout=_STOP)
    if not ended.ok:
        foreign = ended.returncode == _FOREIGN
        raise host.error(
            ended,
            "the recovered server cannot be removed",
            resolution=f"Find out whose {host.run_folder} is." if foreign else f"Remove {host.run_folder} by hand.",
            transient=not foreign,
        )


def _copying(base: BaseBackup, copy: str) -> list[list[str]]:
    """Return the commands that copy a base backup. Links are followed: a copied link would lead into the backup."""
    if base.form == "plain":
        return [["cp", "-RL", "--preserve=mode,timestamps", "--reflink=auto", "--", f"{base.location}/.", copy]]
    unpack = ["-I", "lz4"] if base.form.endswith("lz4") else []
    commands = [
        ["tar", *unpack, "-xf", f"{base.location}/{base.form}", "-C", copy],
        ["cp", "--", f"{base.location}/backup_manifest", copy],
        ["mkdir", "-p", f"{copy}/pg_wal"],
    ]
    if base.inside:
        found = base.form.replace("base.tar", "pg_wal.tar")
        # pg_basebackup streams WAL uncompressed or by gzip, whatever the backup's own compression is.
        pick = f'for f in "$1"/{found} "$1"/pg_wal.tar*; do [ -r "$f" ] && exec tar -xf "$f" -C "$2"; done; exit 1'
        commands.append(["sh", "-c", pick, "sh", base.location, f"{copy}/pg_wal"])
    return commands


def configuration(server: RecoveredServer, control: dict[str, str]) -> str:
    """Return the recovered server's whole postgresql.conf.

    Args:
        server: The server.
        control: What pg_controldata says of the copy.
    """
    pitr = server.host.pitr
    limits = {
        name: max(server.live.limits[name], int(control.get(f"{written} setting", "0")))
        for name, written in LIMITS.items()
    }
    fetch = pitr.restore_command or f'cp {shlex.quote(f"{pitr.archive}/%f")} "%p"'
    settings: dict[str, object] = {
        "listen_addresses": "",
        "unix_socket_directories": server.host.run_folder,
        "unix_socket_permissions": "0700",
        "port": 5432,
        "restore_command": fetch,
        "recovery_target_time": server.moment.strftime("%Y-%m-%d %H:%M:%S.%f+00"),
        # Not `latest`: an earlier recovery of this cluster may have left timelines of its own in the archive.
        "recovery_target_timeline": server.live.timeline,
        # While recovery is paused, the transactions that it stopped in the middle of keep their locks: those of a
        # migration would keep everybody from reading the very tables. At the end of recovery they are undone.
        "recovery_target_action": "promote",
        "default_transaction_read_only": "on",
        "autovacuum": "off",
        "max_logical_replication_workers": 0,  # a copy's subscriptions would take what is the live one's
        "hot_standby": "on",
        "archive_mode": "off",
        "fsync": "off",  # nobody needs the copy after a crash of its machine
        "shared_buffers": "128MB",
        "log_timezone": "UTC",
        "timezone": "UTC",
        "lc_messages": "C",
        "log_line_prefix": "%m [%p] ",
        **limits,
    }
    return "".join(f"{name} = {_setting(value)}\n" for name, value in settings.items())


def _setting(value: object) -> str:
    return "'{}'".format(str(value).replace("\\", "\\\\").replace("'", "''"))
