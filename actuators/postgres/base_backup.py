"""A base backup and the archived WAL as they lie on their machine; read only."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import PurePosixPath

from actuators.postgres import wal
from actuators.postgres.recovery_host import RecoveryHost
from actuators.postgres.wal import Segment
from bot.domain.errors import ActuatorError
from bot.domain.plan import Backup

_LOOK = r"""
base=$1 bin=${2:+$2/} scratch=$3 archive=$4 run=$5
say() { printf '%s=%s\n' "$1" "$2"; }
say uid "$(id -u)"
say user "$(id -un)"
for program in postgres pg_ctl pg_controldata pg_verifybackup pg_dump pg_restore psql; do
  command -v "$bin$program" >/dev/null 2>&1 || say lacks "$program"
done
say version "$("${bin}postgres" --version 2>/dev/null)"
if [ ! -d "$scratch" ]; then say scratch missing
elif [ ! -w "$scratch" ] || [ ! -x "$scratch" ]; then say scratch denied
else say scratch ok; fi
say free "$(df -Pk "$scratch" 2>/dev/null | awk 'NR == 2 { print $4 }')"
[ -e "$run" ] && say left yes
[ -n "$archive" ] && { if [ -r "$archive" ] && [ -x "$archive" ]; then say archive ok
  elif [ -d "$archive" ]; then say archive denied; else say archive missing; fi; }
manifest=$base/backup_manifest
if [ ! -e "$base" ]; then say base missing
elif [ ! -d "$base" ]; then say base "no folder"
elif [ ! -x "$base" ] || [ ! -r "$base" ]; then say base denied
elif [ ! -e "$manifest" ]; then say base "no manifest"
elif [ ! -r "$manifest" ]; then say base denied
else
  say base ok
  say digest "$(sha256sum <"$manifest" | cut -d' ' -f1)"
  say ended "$(grep -o '"Last-Modified": "[^"]*"' "$manifest" | cut -d'"' -f4 | sort | tail -n 1)"
  say size "$(grep -o '"Size": [0-9]*' "$manifest" | awk '{ bytes += $2 } END { printf "%.0f", bytes }')"
  say label "$(grep -c '"Path": "backup_label"' "$manifest")"
  say tablespaces "$(grep -c '"Path": "pg_tblspc/' "$manifest")"
  say range "$(grep -o '"Timeline": [0-9]*, "Start-LSN": "[^"]*", "End-LSN": "[^"]*"' "$manifest" | tail -n 1)"
  system=$(grep -o '"System-Identifier": [0-9]*' "$manifest" | head -n 1 | cut -d' ' -f2)
  if [ -f "$base/PG_VERSION" ]; then
    say form plain
    say written "$(cat "$base/PG_VERSION")"
    [ -n "$system" ] || system=$("${bin}pg_controldata" -D "$base" 2>/dev/null |
      sed -n 's/^Database system identifier: *//p')
    for file in "$base"/pg_wal/*; do say wal "0 ${file##*/}"; done
    wrong=$("${bin}pg_verifybackup" -s -n -q "$base" 2>&1) || say wrong "$(printf %s "$wrong" | tail -n 1)"
  else
    for file in "$base"/base.tar "$base"/base.tar.*; do [ -r "$file" ] && say form "${file##*/}"; done
    for file in "$base"/pg_wal.tar "$base"/pg_wal.tar.*; do
      [ -r "$file" ] && tar -tf "$file" 2>/dev/null | while read -r name; do say wal "0 ${name##*/}"; done
    done
  fi
  say system "$system"
fi
exit 0
"""

# Names from the base backup's first segment on, whatever their timeline: the list stays short in a long archive.
_LIST = r"""
cd "$1" && find . -maxdepth 1 -type f -printf '%T@ %f\n' |
  awk -v first="$2" 'length($2) == 24 && substr($2, 9) >= first'
"""

_TEXTS = frozenset({"lacks", "wal"})
_FORMS = re.compile(r"^(?:plain|base\.tar(?:\.(?:gz|bz2|zst|lz4))?)$")
_RANGE = re.compile(r'"Timeline": (\d+), "Start-LSN": "([0-9A-F]+/[0-9A-F]+)", "End-LSN": "([0-9A-F]+/[0-9A-F]+)"')


@dataclass(frozen=True)
class Findings:
    """What was found on the machine.

    Attributes:
        facts: Single answers by name; see the script.
        lacks: Programs that are not there.
        inside: Names of the WAL segments in the backup itself.
    """

    facts: dict[str, str]
    lacks: tuple[str, ...]
    inside: tuple[str, ...]

    def number(self, name: str) -> int:
        """Return a numeric answer, 0 if there is none."""
        text = self.facts.get(name, "")
        return int(text) if text.isdigit() else 0


@dataclass(frozen=True)
class BaseBackup:
    """A base backup that can be read.

    Attributes:
        location: Its folder.
        digest: The SHA-256 of its manifest in hex; the manifest holds a checksum of every file.
        ended: The earliest moment that recovery can stop at: no file of it was written to later. By the server's
            clock.
        size: Bytes of its files, unpacked.
        form: ``plain``, or the name of the tar file.
        timeline: Where recovery begins.
        start: The position that recovery begins at, e.g. ``0/2000028``.
        system: The cluster's own number; empty where neither manifest nor files tell before they are unpacked.
        inside: Names of the WAL segments that it holds itself.
    """

    location: str
    digest: str
    ended: datetime
    size: int
    form: str
    timeline: int
    start: str
    system: str
    inside: tuple[str, ...]

    def first(self, segment_size: int) -> Segment:
        """Return the segment that recovery begins with."""
        return wal.holding(self.start, self.timeline, segment_size)


def inside(backup: Backup, host: RecoveryHost) -> str:
    """Return the backup's folder.

    Raises:
        ActuatorError: If it does not lie in the inventory's folder of base backups.
    """
    path, folder = PurePosixPath(backup.location), PurePosixPath(host.pitr.base_backups)
    if ".." not in path.parts and folder in path.parents:
        return str(path)
    raise ActuatorError(
        f"Backup {backup.id} does not lie in the folder of base backups, {folder}: {backup.location}.",
        untouched="Nothing was touched.",
        resolution="Correct `location` in the plan, or `base_backups` of the target's `pitr`.",
    )


async def look(backup: Backup, host: RecoveryHost) -> Findings:
    """Look at the machine, the base backup and the folders.

    Raises:
        ActuatorError: If it cannot be reached, or the backup lies elsewhere.
    """
    pitr = host.pitr
    finished = await host.script(
        _LOOK,
        *(inside(backup, host), pitr.bin_dir or "", pitr.scratch, pitr.archive or "", host.run_folder),
    )
    if not finished.ok:
        raise host.error(finished, "it cannot be looked at", resolution="Try the login by hand.", transient=True)
    pairs = [line.partition("=")[::2] for line in finished.out.splitlines()]
    segments = [value.split(" ", 1)[-1] for key, value in pairs if key == "wal"]
    return Findings(
        facts={key: value for key, value in pairs if key not in _TEXTS},
        lacks=tuple(value for key, value in pairs if key == "lacks"),
        inside=tuple(segments),
    )


def judge(backup: Backup, findings: Findings) -> BaseBackup:
    """Return the base backup, if it can be one and is the one that the plan means.

    Raises:
        ActuatorError: If not.
    """
    facts, where = findings.facts, backup.location
    problem, resolution = "", "Name another base backup in the plan; without one, fix forward."
    found = _RANGE.search(facts.get("range", ""))
    if facts["base"] != "ok":
        problem = {
            "missing": f"is missing: there is no {where}",
            "no folder": f"is no folder: {where}",
            "no manifest": f"has no backup_manifest: {where}",
            "denied": f"may not be read: permission denied at {where}",
        }[facts["base"]]
        if facts["base"] == "denied":
            resolution = f"Let {facts['user']} read it: chmod -R g+rX {where}, and chgrp to a group of that user."
    elif backup.sha256 is not None and facts["digest"] != backup.sha256:
        problem = (
            f"is not the one that the plan means: its manifest has the digest {facts['digest'][:12]}..., the plan "
            f"says {backup.sha256[:12]}..."
        )
        resolution = "Find out who changed the backup or the plan before anything is recovered."
    elif not _FORMS.match(facts.get("form", "")):
        problem = f"has neither PG_VERSION nor base.tar in {where}"
    elif findings.number("label") != 1 or found is None or not facts["ended"]:
        problem = f"has a manifest without backup_label, times or WAL range: {where}/backup_manifest"
    elif findings.number("tablespaces"):
        problem = "holds tablespaces of its own, which would be recovered over the live ones"
        resolution = "Restore a dump instead, or recover the cluster on another machine by hand."
    elif "wrong" in facts:
        problem = f"is damaged: {facts['wrong']}"
    if problem or found is None:
        raise ActuatorError(
            f"Backup {backup.id} {problem}.", untouched="Nothing was touched.", resolution=resolution
        )
    return BaseBackup(
        location=where,
        digest=facts["digest"],
        ended=datetime.strptime(facts["ended"], "%Y-%m-%d %H:%M:%S %Z").replace(tzinfo=UTC),
        size=findings.number("size"),
        form=facts["form"],
        timeline=int(found[1]),
        start=found[2],
        system=facts["system"],
        inside=findings.inside,
    )


async def archived(base: BaseBackup, host: RecoveryHost, *, segment_size: int) -> dict[int, float] | None:
    """Return when each segment from the base backup on was last written to, by number; None: nobody can list them.

    Those inside of the backup count, and as old ones.

    Raises:
        ActuatorError: If the archive cannot be listed.
    """
    if host.pitr.archive is None:
        return None
    first = base.first(segment_size)
    finished = await host.script(_LIST, host.pitr.archive, first.name(segment_size)[8:])
    if not finished.ok:
        raise host.error(
            finished,
            f"the archive {host.pitr.archive} cannot be listed",
            resolution="Correct `archive` of the target's `pitr`, or let its user read the folder.",
        )
    if finished.truncated:
        return None
    lines = [line.split(" ", 1) for line in finished.out.splitlines()]
    rows = [("0", name) for name in base.inside] + [(line[0], line[1]) for line in lines]
    segments = ((wal.read_name(name, segment_size), float(time)) for time, name in rows)
    return {segment.number: time for segment, time in segments if segment is not None}
