"""A service's folder on a host, as it is unpacked from an artifact: whole, marked, and swapped by renaming.

The new folder is made beside the old one, with the artifact's files, what is carried over, and a marker. The
marker holds the artifact's digest and that of every file that came from it, so that a later look can tell whether
the folder is what the artifact made. Then the two folders change places: by one exchange where the host's `mv` can
do that (coreutils 9.5), else by two renames with a blink between them. The old folder stays beside under a dated
name.
"""

from __future__ import annotations

import posixpath
from collections.abc import Sequence

from actuators import servers_artifact
from actuators.processes import Finished
from actuators.redact import redact
from actuators.servers_hosts import Finding, named
from actuators.transport import HostError, Transport
from bot.domain.actuation import Verdict
from bot.domain.inventory import Host, ServerGroup
from bot.domain.plan import Backup

MARKER = ".rollback-artifact"
_UNPACK = 900.0
"""Seconds; an artifact of some gigabytes on a slow disk."""
_COMPARE = 300.0

_LANGUAGE = "LC_ALL=C; export LC_ALL\n"
_MAKE = """set -eu
umask 022
artifact=$1 digest=$2 final=$3 new=$4 kept=$5 strip=$6 marker=$7
shift 7
mine() { [ -f "$1/$marker" ] && [ "$(head -n 1 -- "$1/$marker")" = "artifact $digest" ]; }
# A run that died between the exchange and the renaming left the old folder under the new one's name.
place=$kept
free() {
  kept=$place number=1
  while [ -e "$kept" ]; do number=$((number + 1)); kept=$place-$number; done
}
# One that died between the two renames left no folder; what is carried over lies in the one that was moved away.
if [ ! -e "$final" ] && [ ! -L "$final" ]; then
  old=$(ls -dtc -- "${place%-*}"-* 2>/dev/null | head -n 1)
  if [ -n "$old" ] && [ -d "$old" ]; then mv -T -- "$old" "$final"; fi
fi
free
if mine "$final" && [ -d "$new" ] && ! mine "$new"; then mv -T -- "$new" "$kept"; free; fi
rm -rf -- "$new"
trap 'rm -rf -- "$new"' EXIT
trap 'exit 1' HUP INT TERM PIPE
mkdir -- "$new"
if [ "$(id -u)" = 0 ]; then
  tar -xzpof "$artifact" -C "$new" --strip-components="$strip"
  chown -R -- "$(stat -c %u:%g -- "$(if [ -e "$final" ]; then echo "$final"; else dirname -- "$final"; fi)")" "$new"
else
  tar -xzof "$artifact" -C "$new" --strip-components="$strip"
fi
[ -n "$(ls -A -- "$new")" ] || { echo "nothing is left of the artifact" >&2; exit 1; }
rm -f -- "$new/$marker"
(cd -- "$new" && find . -type f -exec sha256sum {} +) >"$new.sums"
for keep; do
  if [ -e "$final/$keep" ] || [ -L "$final/$keep" ]; then
    at=$(dirname -- "$new/$keep")
    [ -d "$at" ] || mkdir -- "$at" 2>/dev/null || mkdir -p -- "$at"
    rm -rf -- "$new/$keep"
    cp -a -- "$final/$keep" "$new/$keep"
  fi
done
{ echo "artifact $digest"; cat -- "$new.sums"; } >"$new/$marker"
rm -f -- "$new.sums"
if [ -e "$final" ]; then chmod --reference="$final" -- "$new"; fi
sync -- "$new/$marker" 2>/dev/null || :
trap '' HUP INT TERM PIPE
if [ ! -e "$final" ]; then
  mv -T -- "$new" "$final"
elif mv --exchange -T -- "$new" "$final" 2>/dev/null; then
  trap - EXIT
  mv -T -- "$new" "$kept"
else
  mv -T -- "$final" "$kept"
  mv -T -- "$new" "$final" || { mv -T -- "$kept" "$final"; exit 1; }
fi
trap - EXIT
restorecon -R -- "$final" 2>/dev/null || :
"""
_LOOK = """final=$1 marker=$2 digest=$3
if [ -L "$final" ]; then echo link; exit 0; fi
if [ ! -d "$final" ]; then ls -d -- "$final" >/dev/null || exit 44; echo other; exit 0; fi
cd -- "$final" || exit 1
[ -f "$marker" ] || { [ -x . ] || exit 1; echo unmarked; exit 0; }
[ "$(head -n 1 -- "$marker")" = "artifact $digest" ] || { head -n 1 -- "$marker"; exit 0; }
echo marked
[ "$(wc -l <"$marker")" -gt 1 ] || exit 0
# What finds no fault because it could not compare has not found the folder well.
if ! found=$(tail -n +2 -- "$marker" | sha256sum -c --quiet 2>/dev/null); then
  [ -n "$found" ] || { echo "its files cannot be compared with $marker" >&2; exit 1; }
  printf '%s\\n' "$found" | sed 's/: FAILED.*//'
fi
exit 0
"""
_LEFT = """set -eu
artifact=$1 final=$2 strip=$3
tar -tzf "$artifact" | sed 's,^\\./,,' | cut -d/ -f"$((strip + 1))" | sort -u
echo //
if [ -d "$final" ]; then ls -A -- "$final"; fi
echo //
tar -tvzf "$artifact" | awk '{ sum += $3 } END { printf "%.0f\\n", sum / 1024 }'
df -Pk -- "$(dirname -- "$final")" | awk 'END { print $4 }'
"""
_MISSING = 44


class ServiceFolder:
    """The folder that an artifact is unpacked into.

    Args:
        group: Where; its `current` is the folder.
        artifact: The artifact, with its digest.
        strip: Leading folders of the archive's paths that are dropped.
        keep: Paths within the folder that are carried over from the old one.
        kept: What is added to the old folder's name.
    """

    def __init__(self, group: ServerGroup, artifact: Backup, *, strip: int, keep: Sequence[str], kept: str) -> None:
        self._artifact = artifact
        self._digest = artifact.sha256 or ""
        self._final = posixpath.normpath(str(group.current))
        self._strip = strip
        self._keep = tuple(keep)
        self._kept = f"{self._final}{kept}"
        self.wanted = f"unpacked from {posixpath.basename(artifact.location)}"

    async def state(self, transport: Transport, host: Host) -> str:
        """Return what lies there, in words; `wanted` if it is what the artifact makes.

        Files that were carried over, and those that the service has added, are its own.

        Raises:
            HostError: If it cannot be seen.
        """
        finished = await self._script(
            transport, host, _LOOK, self._final, MARKER, self._digest, timeout=_COMPARE, missing_is_well=True
        )
        if finished.returncode == _MISSING:
            return "without the folder"
        first, _, rest = finished.out.partition("\n")
        match first.split():
            case ["link" | "other"]:
                return f"with a {'link' if first == 'link' else 'file'} in the folder's place"
            case ["unmarked"]:
                return "with a folder of unknown origin"
            case ["marked"]:
                changed = [line.removeprefix("./") for line in rest.splitlines() if not self._own(line)]
                return f"{self.wanted}, changed since in {named(changed)}" if changed else self.wanted
            case ["artifact", digest]:
                return f"unpacked from the artifact {digest[:12]}"
            case _:
                return "with a marker that cannot be read"

    async def ready(self, transport: Transport, host: Host) -> Finding:
        """Look whether the artifact is sound, and what would be left out of the new folder.

        Raises:
            HostError: If the artifact cannot be used, there is no room, or the folder's place cannot be written.
        """
        await servers_artifact.sound(transport, host, self._artifact, untouched="Nothing was unpacked.")
        parent = posixpath.dirname(self._final)
        if not await transport.writable(host, parent):
            raise HostError(
                host.name,
                f"the folder {parent} is not there or cannot be written.",
                untouched="Nothing was unpacked.",
                resolution="Give the login access to it, or set `sudo` for the group.",
            )
        now = await self.state(transport, host)
        self._must_be_folder(host, now)
        finished = await self._script(
            transport, host, _LEFT, self._artifact.location, self._final, str(self._strip), timeout=_COMPARE
        )
        inside, outside, room = (part.split("\n") for part in finished.out.split("//\n"))
        needed, free = (int(line) for line in room if line)
        if needed >= free:
            raise HostError(
                host.name,
                f"unpacking needs {needed // 1024} MB in {parent}, and {free // 1024} MB are free.",
                untouched="Nothing was unpacked.",
                resolution="Make room there: the old folder is kept beside the new one.",
            )
        carried = {path.split("/")[0] for path in self._keep}
        left = sorted({name for name in outside if name} - set(inside) - carried - {MARKER})
        if left and now != self.wanted:
            words = f"have {named(left)} in the folder, which the artifact does not hold"
            why = "They will be missing until somebody brings them back: name in `keep` what the service needs."
            return Finding(words, Verdict.WARN, why)
        return Finding(f"are {now}")

    async def replace(self, transport: Transport, host: Host) -> str:
        """Let the folder be what the artifact makes, and return what was done in words.

        Raises:
            HostError: If it cannot be; the folder is the old one then.
        """
        now = await self.state(transport, host)
        if now == self.wanted:
            return f"{self.wanted} already"
        self._must_be_folder(host, now)
        await servers_artifact.sound(transport, host, self._artifact, untouched="The folder is as it was.")
        new = transport.temporary(host, self._final)
        arguments = (self._artifact.location, self._digest, self._final, new, self._kept, str(self._strip), MARKER)
        await self._script(transport, host, _MAKE, *arguments, *self._keep, timeout=_UNPACK)
        found = await self.state(transport, host)
        if found == self.wanted:
            return self.wanted
        raise HostError(
            host.name,
            f"the folder {self._final} was replaced, and is now {found}.",
            untouched=f"The old folder is {self._kept}.",
            resolution="Look at it on the host: something else writes there.",
        )

    def _own(self, line: str) -> bool:
        """Return whether a file is carried over, so that its content is not the artifact's."""
        path = line.removeprefix("./")
        return any(path == keep or path.startswith(f"{keep}/") for keep in self._keep)

    def _must_be_folder(self, host: Host, state: str) -> None:
        if "in the folder's place" not in state:
            return
        raise HostError(
            host.name,
            f"{self._final} is no folder.",
            untouched="It is as it was.",
            resolution="Where a link decides which release runs, use servers.link; else move what lies there away.",
        )

    async def _script(
        self,
        transport: Transport,
        host: Host,
        script: str,
        *arguments: str,
        timeout: float,  # noqa: ASYNC109 - it also ends the command on the host
        missing_is_well: bool = False,
    ) -> Finished:
        argv = ["sh", "-c", _LANGUAGE + script, "sh", *arguments]
        finished = await transport.run(host, argv, sudo=True, timeout=timeout)
        if finished.ok or (missing_is_well and finished.returncode == _MISSING):
            return finished
        complaint = redact(finished.complaint())
        raise HostError(
            host.name,
            f"{self._final}: {complaint.splitlines()[-1]}",
            untouched="The folder is whole, as a rule the old one; the next look tells, and a repeat tidies up.",
            resolution="Check the room on the disk and the access to the folder and its parent.",
            output=complaint,
        )
