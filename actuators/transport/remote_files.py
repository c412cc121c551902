"""File operations as small POSIX shell scripts on a host.

SFTP knows no sudo and no atomic replacement with an owner, so scripts do the work: each is one command, takes its
values as arguments (never as part of its text) and needs a shell, coreutils (or busybox) and nothing else.
"""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Sequence

from actuators.processes import Finished
from actuators.transport.base import (
    LARGEST_FILE,
    SHORT,
    FileStat,
    HostError,
    absolute_link,
    temporary_name,
)
from bot.domain.inventory import Host

_MISSING = 44
"""Exit code of our scripts for "there is nothing"; no tool in them uses it."""
_DIGEST_TIMEOUT = 600.0

_READ = """[ -f "$1" ] || { cat -- "$1"; exit 1; }
size=$(wc -c < "$1") || exit 1
[ "$size" -le "$2" ] || { echo "$1 is larger than $2 bytes" >&2; exit 1; }
exec cat -- "$1"
"""
_STAT = """[ -e "$1" ] || [ -L "$1" ] || {
  said=$(ls -d -- "$1" 2>&1)
  case $said in *"No such file"* | *"Not a directory"*) exit 44 ;; esac
  printf '%s\\n' "$said" >&2
  exit 1
}
exec stat -c '%f %s %u %g' -- "$1"
"""
_LIST = """set -eu
cd -- "$1"
exec find . -type f -print0
"""
_LINK_OF = """[ -L "$1" ] || exit 44
exec readlink -- "$1"
"""
_SYMLINK = """set -eu
if [ -e "$1" ] && [ ! -L "$1" ]; then echo "it is there and is no link" >&2; exit 1; fi
rm -f -- "$3"
ln -s -- "$2" "$3"
mv -fT -- "$3" "$1" || { rm -f -- "$3"; exit 1; }
"""
_DIGESTS = """for file; do
  if [ -f "$file" ]; then sha256sum < "$file" || exit 1; continue; fi
  if [ ! -e "$file" ] && [ ! -L "$file" ]; then
    # The shell cannot tell what is not there from what it may not see.
    said=$(ls -d -- "$file" 2>&1)
    case $said in *"No such file"* | *"Not a directory"*) ;; *) printf '%s\\n' "$said" >&2; exit 1 ;; esac
  fi
  echo "none -"
done
"""
# The digest is compared on the host before anything is put in place: a connection that is cut looks to `cat` like
# the end of the data.
_WRITE = """set -eu
path=$1 new=$2 digest=$3 mode=$4 owner=$5 keep=$6
folder=$(dirname -- "$path")
[ -d "$folder" ] || (umask 022; mkdir -- "$folder" 2>/dev/null || mkdir -p -- "$folder")
umask 077
rm -f -- "$new"
trap 'rm -f -- "$new"' EXIT
trap 'exit 1' HUP INT TERM PIPE
set -C
cat > "$new"
set +C
[ "$(sha256sum < "$new")" = "$digest  -" ] || { echo "the data did not arrive whole" >&2; exit 1; }
[ -z "$owner" ] || [ "$(stat -c %u:%g -- "$new")" = "$owner" ] || chown -- "$owner" "$new"
chmod -- "$mode" "$new"
if [ -e "$path" ]; then
  chcon --reference="$path" -- "$new" 2>/dev/null || :
  if [ -n "$keep" ]; then
    place=$keep number=1
    while [ -e "$place" ] && ! cmp -s -- "$path" "$place"; do
      number=$((number + 1))
      place=$keep-$number
    done
    [ -e "$place" ] || ln -- "$path" "$place" 2>/dev/null || cp -p -- "$path" "$place"
  fi
else
  restorecon -- "$new" 2>/dev/null || :
fi
sync -- "$new" 2>/dev/null || :
mv -fT -- "$new" "$path"
"""


class RemoteFiles(ABC):
    """The file operations of a transport that can run commands.

    Args:
        token: A name unique to the step of the run, for temporary files.
    """

    def __init__(self, *, token: str) -> None:
        self._token = token

    @abstractmethod
    async def run(
        self,
        host: Host,
        argv: Sequence[str],
        *,
        sudo: bool = False,
        stdin: bytes | None = None,
        timeout: float = SHORT,  # noqa: ASYNC109 - see the protocol
        leashed: bool = True,
    ) -> Finished:
        """Run a command on the host."""

    async def read_file(self, host: Host, path: str) -> bytes:
        """Return a file's content."""
        return (await self._script(host, f"read {path}", _READ, path, str(LARGEST_FILE))).stdout

    async def write_file_atomic(
        self,
        host: Host,
        path: str,
        data: bytes,
        *,
        mode: int,
        owner: tuple[int, int] | None = None,
        keep: str | None = None,
    ) -> None:
        """Put a file in place in one step."""
        await self._script(
            host,
            f"write {path}",
            _WRITE,
            path,
            self.temporary(host, path),
            hashlib.sha256(data).hexdigest(),
            f"{mode:04o}",
            "" if owner is None else f"{owner[0]}:{owner[1]}",
            keep or "",
            stdin=data,
        )

    async def stat(self, host: Host, path: str) -> FileStat | None:
        """Return what lies there, None if nothing does."""
        finished = await self._script(host, f"look at {path}", _STAT, path, missing_is_well=True)
        if finished.returncode == _MISSING:
            return None
        mode, size, uid, gid = finished.out.split()
        return FileStat(mode=int(mode, 16), size=int(size), uid=int(uid), gid=int(gid))

    async def listdir(self, host: Host, path: str) -> tuple[str, ...]:
        """Return the paths of all regular files below a folder."""
        found = await self._script(host, f"list {path}", _LIST, path)
        return tuple(sorted(name.removeprefix("./") for name in found.out.split("\0") if name))

    async def read_link(self, host: Host, path: str) -> str | None:
        """Return where a link points, None if there is none."""
        finished = await self._script(host, f"read the link {path}", _LINK_OF, path, missing_is_well=True)
        return None if finished.returncode == _MISSING else absolute_link(path, finished.out.removesuffix("\n"))

    async def symlink_atomic(self, host: Host, link: str, target: str) -> None:
        """Make a link, or switch it over in one step."""
        await self._script(host, f"switch the link {link}", _SYMLINK, link, target, self.temporary(host, link))

    async def digests(self, host: Host, paths: Sequence[str]) -> dict[str, str | None]:
        """Return the SHA-256 of each file, computed on the host."""
        doing = f"read {', '.join(paths)}"
        finished = await self._script(host, doing, _DIGESTS, *paths, timeout=_DIGEST_TIMEOUT)
        found = [line.split()[0] for line in finished.out.splitlines()]
        return {path: None if digest == "none" else digest for path, digest in zip(paths, found, strict=True)}

    async def writable(self, host: Host, folder: str) -> bool:
        """Return whether entries of the folder can be made and renamed."""
        test = '[ -d "$1" ] && [ -w "$1" ] && [ -x "$1" ] || exit 44'
        doing = f"look at {folder}"
        return (await self._script(host, doing, test, folder, missing_is_well=True)).returncode == 0

    async def remove_folder(self, host: Host, path: str) -> None:
        """Remove a folder with all it holds, if it is there."""
        await self._script(host, f"remove {path}", 'exec rm -rf -- "$1"', path)

    def temporary(self, host: Host, path: str) -> str:
        """Return the name beside `path` that this step uses until the real one is put in place."""
        return temporary_name(path, host=host.name, token=self._token)

    async def _script(
        self,
        host: Host,
        doing: str,
        script: str,
        *arguments: str,
        stdin: bytes | None = None,
        timeout: float = SHORT,  # noqa: ASYNC109 - see the protocol
        missing_is_well: bool = False,
    ) -> Finished:
        # Messages are compared in places, so they are asked for in one language.
        argv = ["sh", "-c", f"LC_ALL=C; export LC_ALL\n{script}", "sh", *arguments]
        finished = await self.run(host, argv, sudo=True, stdin=stdin, timeout=timeout)
        if finished.ok or (missing_is_well and finished.returncode == _MISSING):
            return finished
        complaint = finished.complaint()
        raise HostError(
            host.name,
            f"cannot {doing}: {complaint.splitlines()[-1]}",
            untouched="The file is as it was.",
            resolution=(
                "Give the login access to it or set `sudo` for the group, and check its security context (`ls -Z`)."
                if "denied" in complaint or "not permitted" in complaint
                else "Check the path in the inventory, and look at it on the host."
            ),
            output=complaint,
        )
