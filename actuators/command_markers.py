"""What a run of an allow-listed command notes on its host: that it began, and how it ended.

A marker is a small file in a folder that the inventory names. It is written as the login, never by sudo, and put in
place in one step. One that tells of a beginning and of no end means that nobody knows what came of the command.
"""

from __future__ import annotations

import posixpath
from dataclasses import dataclass

from actuators.transport import HostError, Transport
from bot.domain.inventory import Host

_MISSING = 44
_MOST = 8192
_READ = """[ -d "$1" ] && [ -x "$1" ] || { echo "the folder $1 is not there, or cannot be entered" >&2; exit 1; }
[ -e "$1/$2" ] || exit 44
exec head -c "$3" -- "$1/$2"
"""
_WRITE = """set -eu
umask 077
new=$1/.$2.tmp
rm -f -- "$new"
set -C
printf '%s\\n' "$3" > "$new"
set +C
sync -- "$new" 2>/dev/null || :
mv -fT -- "$new" "$1/$2"
sync -- "$1" 2>/dev/null || :
"""
_FORGET = """set -eu
rm -f -- "$1/$2"
sync -- "$1" 2>/dev/null || :
"""


@dataclass(frozen=True)
class Marker:
    """What is noted of one run of a command on one host.

    Attributes:
        digest: SHA-256 of what was run, in hex.
        code: The exit code; None: it began, and noted no end.
        output: The last lines that it said, redacted.
    """

    digest: str
    code: int | None = None
    output: str = ""

    def text(self) -> str:
        """Return the file's content."""
        first = f"began {self.digest}" if self.code is None else f"ended {self.digest} {self.code}"
        return f"{first}\n{self.output}"[: _MOST // 4]


@dataclass(frozen=True)
class Markers:
    """The markers of one step of one run.

    Attributes:
        transport: The way to the hosts.
        folder: Where they lie.
        token: A name unique to the step of the run.
    """

    transport: Transport
    folder: str
    token: str

    async def read(self, host: Host) -> Marker | None:
        """Return what is noted on a host; None if nothing is.

        Raises:
            HostError: If it cannot be read, or is no marker of ours.
        """
        text = await self._script(host, "read", _READ, str(_MOST), missing_is_well=True)
        if text is None:
            return None
        first, _, output = text.partition("\n")
        match first.split():
            case ["began", digest]:
                return Marker(digest)
            case ["ended", digest, code] if code.removeprefix("-").isdecimal():
                return Marker(digest, int(code), output.strip())
            case _:
                raise HostError(
                    host.name,
                    f"{self.path(host)} is no marker of this bot.",
                    untouched="It was left alone.",
                    resolution="Look at the file on the host, and move it away if it is not needed.",
                )

    async def write(self, host: Host, marker: Marker) -> None:
        """Note something in one step.

        Raises:
            HostError: If it cannot be written; the earlier note stays.
        """
        await self._script(host, "write", _WRITE, marker.text())

    async def forget(self, host: Host) -> None:
        """Take back that a command began: nothing of it was run.

        Raises:
            HostError: If the note cannot be removed.
        """
        await self._script(host, "remove", _FORGET)

    async def writable(self, host: Host) -> None:
        """Make sure, without writing anything, that markers can be written.

        Raises:
            HostError: If they cannot.
        """
        test = '[ -d "$1" ] && [ -w "$1" ] && [ -x "$1" ] || { echo "the login cannot write there" >&2; exit 1; }'
        await self._script(host, "write to", test)

    def path(self, host: Host) -> str:
        """Return the file of a host; hosts may share a folder."""
        return posixpath.join(self.folder, f"{self.token}.{host.name}")

    async def _script(
        self, host: Host, doing: str, script: str, *more: str, missing_is_well: bool = False
    ) -> str | None:
        name = posixpath.basename(self.path(host))
        argv = ["sh", "-c", f"LC_ALL=C; export LC_ALL\n{script}", "sh", self.folder, name, *more]
        finished = await self.transport.run(host, argv)
        if finished.returncode == _MISSING and missing_is_well:
            return None
        if finished.ok:
            return finished.out
        raise HostError(
            host.name,
            f"cannot {doing} the marker {self.path(host)}: {finished.complaint().splitlines()[-1]}",
            untouched="The marker is as it was.",
            resolution=f"Give the login a folder {self.folder} of its own on the host (mode 0700).",
            output=finished.complaint(),
        )
