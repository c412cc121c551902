"""The bot's own machine as a host: for a service beside the bot, and for the demo."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from actuators import processes
from actuators.processes import Finished
from actuators.transport import local_files
from actuators.transport.base import SHORT, FileStat, HostError, temporary_name
from actuators.transport.local_files import told
from bot.domain.inventory import Host


class Local:
    """Commands as child processes, files through the operating system. There is no sudo: the bot's user must do.

    Args:
        token: A name unique to the step of the run, for temporary files.
    """

    def __init__(self, *, token: str) -> None:
        self._token = token

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
        """Run a command as a child process; its whole group ends with the caller's cancellation."""
        del sudo, leashed
        try:
            return await processes.run(argv, stdin=stdin, timeout=timeout)
        except (processes.ProgramMissingError, processes.ProgramTimeoutError) as error:
            raise HostError(
                host.name,
                error.brief,
                untouched=error.untouched,
                resolution=error.resolution,
                transient=error.transient,
                output=error.output,
            ) from None

    async def read_file(self, host: Host, path: str) -> bytes:
        """Return a file's content."""
        with told(host, f"read {path}"):
            return local_files.read(path)

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
        with told(host, f"write {path}"):
            local_files.write(path, data, temporary=self.temporary(host, path), mode=mode, owner=owner, keep=keep)

    async def stat(self, host: Host, path: str) -> FileStat | None:
        """Return what lies there, None if nothing does."""
        with told(host, f"look at {path}"):
            return local_files.stat(path)

    async def listdir(self, host: Host, path: str) -> tuple[str, ...]:
        """Return the paths of all regular files below a folder."""
        with told(host, f"list {path}"):
            return local_files.files_below(path)

    async def read_link(self, host: Host, path: str) -> str | None:
        """Return where a link points, None if there is none."""
        with told(host, f"read the link {path}"):
            return local_files.read_link(path)

    async def symlink_atomic(self, host: Host, link: str, target: str) -> None:
        """Make a link, or switch it over in one step."""
        with told(host, f"switch the link {link}"):
            local_files.symlink(link, target, temporary=self.temporary(host, link))

    async def digests(self, host: Host, paths: Sequence[str]) -> dict[str, str | None]:
        """Return the SHA-256 of each file; in a thread, since an artifact may be large."""
        with told(host, f"read {', '.join(paths)}"):
            return {path: await asyncio.to_thread(local_files.digest, path) for path in paths}

    async def writable(self, host: Host, folder: str) -> bool:
        """Return whether entries of the folder can be made and renamed."""
        del host
        return local_files.writable(folder)

    async def remove_folder(self, host: Host, path: str) -> None:
        """Remove a folder with all it holds, if it is there."""
        with told(host, f"remove {path}"):
            local_files.remove_folder(path)

    def temporary(self, host: Host, path: str) -> str:
        """Return the name beside `path` that this step uses until the real one is put in place."""
        return temporary_name(path, host=host.name, token=self._token)
