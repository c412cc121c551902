"""One command on a host over SSH, from its start to its end.

How a command ends when the caller is cancelled, the time is up, or the connection is cut:

* A command is *leashed*: a tiny watcher is started on the host beside it, in its process group, that waits on the
  channel's input. While the command runs the bot keeps that input open. When it closes it (or sshd does, because
  the connection is gone), the watcher ends the whole group by SIGTERM, and two seconds later by SIGKILL. It runs
  under the same sudo as the command, so it can end what root started.
* A command that reads data has no watcher: it sees the end of its input instead. Our scripts that do so compare a
  digest before they change anything.
* Left behind is: what made itself a session of its own (a daemon, on purpose), a command run with ``leashed=False``
  (``systemctl``: systemd finishes the job by itself), and everything on a host that vanished from the network
  without closing the connection until its sshd notices (``ClientAliveInterval``).
"""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Sequence
from contextlib import suppress

import asyncssh

from actuators.processes import OUTPUT_LIMIT, Collector, Finished

_LEASH = """exec 3<&0 </dev/null
( ( read -r nothing <&3
    kill -0 $$ || exit 0
    trap '' TERM
    whom=$$
    read -r pid name state parent group rest </proc/$$/stat && read -r leader <"/proc/$group/comm" &&
      case $leader in *sshd* | dropbear*) ;; *) whom=0 ;; esac
    kill -TERM $whom
    sleep 2
    kill -KILL $whom
  ) >/dev/null 2>&1 & )
exec "$@" 3<&-
"""
"""`$$` is the command itself after the last exec, and 0 its group. When the command has ended by itself, the group
is left alone: a daemon that it started may be a member. A server that gives its commands no group of their own is
spared, too."""

_DRAIN = 0.5
"""Seconds to wait for the output's end once the command is gone: a daemon that it left may hold the channel."""
_ENDING = 4.0
"""Seconds that a leashed command has to end, SIGKILL included."""


def leash(argv: Sequence[str]) -> list[str]:
    """Return the command together with its watcher."""
    return ["sh", "-c", _LEASH, "sh", *argv]


class Session(asyncssh.SSHClientSession[bytes]):
    """Follows one command. Its end is its exit status: the channel may stay open in a daemon that it left."""

    def __init__(self) -> None:
        loop = asyncio.get_running_loop()
        self.stdout = Collector(limit=OUTPUT_LIMIT * 10)
        self.stderr = Collector()
        self.returncode: int | None = None
        self.over: asyncio.Future[None] = loop.create_future()
        self.closed: asyncio.Future[None] = loop.create_future()

    def data_received(self, data: bytes, datatype: asyncssh.DataType) -> None:
        """Take output."""
        (self.stderr if datatype == asyncssh.EXTENDED_DATA_STDERR else self.stdout).feed(data)

    def exit_status_received(self, status: int) -> None:
        """Take the exit code."""
        self.returncode = status
        _settle(self.over)

    def exit_signal_received(self, signal_name: str, core_dumped: bool, msg: str, lang: str) -> None:  # noqa: FBT001 - asyncssh's interface
        """Take the signal that ended the command, as a negative code."""
        del core_dumped, msg, lang
        known = getattr(signal, f"SIG{signal_name}", signal.SIGKILL)
        self.returncode = -int(known)
        _settle(self.over)

    def connection_lost(self, exc: Exception | None) -> None:
        """Note that nothing more will come."""
        del exc
        _settle(self.over)
        _settle(self.closed)


async def execute(
    connection: asyncssh.SSHClientConnection,
    command: str,
    *,
    stdin: bytes | None,
    timeout: float,  # noqa: ASYNC109 - the end of the time also ends the command on the host
) -> Finished | None:
    """Run a command line on an open connection.

    Args:
        connection: The connection.
        command: The quoted command line.
        stdin: What the command reads. Without it the input stays open and empty while the command runs.
        timeout: Seconds it may take.

    Returns:
        How it ended; None if the connection ended first.

    Raises:
        TimeoutError: If the time was up; the command was ended.
        asyncssh.Error: If the command could not be started.
    """
    session = Session()
    channel, _ = await connection.create_session(lambda: session, command, encoding=None)
    try:
        if stdin is not None:
            # A command that has ended already takes no more; its exit code tells why.
            with suppress(OSError):
                channel.write(stdin)
                channel.write_eof()
        await asyncio.wait({session.over}, timeout=timeout)
        if not session.over.done():
            raise TimeoutError
        if session.returncode is not None:
            await asyncio.wait({session.closed}, timeout=_DRAIN)
    finally:
        await _leave(channel, session)
    if session.returncode is None:
        return None
    stdout, stderr = session.stdout.finish(), session.stderr.finish()
    truncated = session.stdout.truncated or session.stderr.truncated
    return Finished(returncode=session.returncode, stdout=stdout, stderr=stderr, truncated=truncated)


async def _leave(channel: asyncssh.SSHClientChannel[bytes], session: Session) -> None:
    """Let go of the channel; a command that still runs sees its input end, and is waited for."""
    try:
        if not session.over.done():
            with suppress(OSError):
                channel.write_eof()
            await asyncio.wait({session.over}, timeout=_ENDING)
    finally:
        channel.abort()


def _settle(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)
