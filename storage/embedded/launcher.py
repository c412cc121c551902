"""Start, adopt and stop the bot's own PostgreSQL."""

from __future__ import annotations

import asyncio
import logging
import os
import re
import signal
from pathlib import Path
from types import TracebackType

from pydantic import SecretStr

from bot.domain.clock import Clock
from storage.embedded.binaries import find_binaries, reachable_binaries, version_of
from storage.embedded.cluster import create_cluster, render_settings
from storage.embedded.errors import EmbeddedPostgresError
from storage.embedded.folder import HOST, Folder
from storage.embedded.identity import Identity, choose_identity, require_passage
from storage.embedded.postmaster import (
    USER,
    Log,
    PidFile,
    Server,
    answers_on_socket,
    data_version,
    login_problem,
    read_pid_file,
)
from storage.embedded.processes import alive, serves, spawn

_log = logging.getLogger(__name__)

_POLL_SECONDS = 0.01
_WATCH_SECONDS = 1.0
_START_SECONDS = 120.0  # recovery after a crash replays at most max_wal_size
_ENDINGS = ((signal.SIGINT, 10.0), (signal.SIGQUIT, 8.0), (signal.SIGKILL, 5.0))  # fast, immediate, last resort
_LAST_WORDS_SECONDS = 2.0
_FATAL = re.compile(r"FATAL|PANIC|rror:")
_PORT_TAKEN = ("could not create any TCP/IP sockets", "could not create listen socket")
_OLD_BACKENDS = "is still in use"  # backends of a killed server are about to notice that it is gone


class EmbeddedPostgres:
    """The PostgreSQL server of one data folder.

    It outlives the bot: a bot that was killed finds it again. One bot at a time holds the folder.

    Args:
        folder: The data folder; created if it is new. If the bot runs as root, an unprivileged account must be able
            to reach it.
        clock: The source of time; a real one, because a real server is waited for.
        port: The TCP port on loopback; without it a free one, kept for next time.
    """

    def __init__(self, folder: Path, *, clock: Clock, port: int | None = None) -> None:
        self._folder = Folder(folder)
        self._clock = clock
        self._port = port

    async def start(self) -> Server:
        """Make the server run and return how to reach it.

        A healthy server of the folder is adopted; one that does not answer is stopped and started anew. Calling it
        again while holding the folder does the same, so a supervisor may call it whenever the server is gone.

        Raises:
            FolderInUseError: If another bot works on the folder.
            EmbeddedPostgresError: If the server cannot be started; says why and what to do.
        """
        held = self._folder.held
        try:
            self._folder.prepare()
            self._folder.acquire()
            return await self._start()
        except OSError as error:
            if not held:
                self._folder.release()
            raise EmbeddedPostgresError(
                f"The bot's data folder {self._folder.path} cannot be used: {error.strerror or error}"
                f"{f' ({error.filename})' if error.filename else ''}.",
                untouched="No database was started.",
                resolution="Make the folder readable and writable for the bot's user, or give it another one.",
            ) from error
        except BaseException:
            if not held:
                self._folder.release()
            raise

    async def running(self) -> Server | None:
        """Return the server of the folder if it runs, without holding the folder: for a command beside the bot."""
        found = read_pid_file(self._folder.data) if self._folder.path.is_dir() else None
        if found is None or found.status != "ready" or not serves(found.pid, self._folder.data):
            return None
        bin_dir = find_binaries(major=data_version(self._folder.data))
        return self._server(found.port, bin_dir=bin_dir, password=SecretStr(self._folder.password()))

    async def keep(self) -> None:
        """Start the server again whenever it ends, until cancelled: killed for want of memory, or by a mistake."""
        while True:
            await self._clock.sleep(_WATCH_SECONDS)
            running = read_pid_file(self._folder.data)
            if running is not None and await asyncio.to_thread(serves, running.pid, self._folder.data):
                continue
            _log.warning("the bot's PostgreSQL has ended and is started again")
            try:
                await self.start()
            except EmbeddedPostgresError as error:
                _log.error("the bot's PostgreSQL cannot be started, trying again: %s", error)

    async def stop(self) -> None:
        """Stop the server of this folder, if one runs, and give the folder back.

        Raises:
            FolderInUseError: If another bot works on the folder.
            EmbeddedPostgresError: If the server does not end.
        """
        if not self._folder.path.is_dir():
            return
        self._folder.acquire()
        try:
            running = read_pid_file(self._folder.data)
            if running and serves(running.pid, self._folder.data):
                await self._end(running.pid)
        finally:
            self._folder.release()

    async def __aenter__(self) -> Server:
        return await self.start()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()

    async def _start(self) -> Server:
        folder = self._folder
        major = data_version(folder.data)
        if major is None and folder.data.exists() and any(folder.data.iterdir()):
            raise EmbeddedPostgresError(
                f"{folder.data} holds files, but is no PostgreSQL data folder.",
                untouched="Nothing in it was changed, nothing was started.",
                resolution="Give the bot another data folder, or move these files away.",
            )
        bin_dir = find_binaries(major=major)
        if major is None and folder.data.exists():
            folder.data.rmdir()
        password = SecretStr(folder.password())
        running = read_pid_file(folder.data)
        if running:
            adopted = await self._adopt(running, bin_dir=bin_dir, password=password)
            if adopted:
                return adopted
        identity = choose_identity(folder.path, folder.data)
        require_passage(folder.path, identity)
        usable = await asyncio.to_thread(reachable_binaries, bin_dir, folder=folder.path, identity=identity)
        self._own(identity)
        version = version_of(usable)[0]
        if major is None:
            secret = password.get_secret_value()
            await create_cluster(folder, bin_dir=usable, major=version, identity=identity, password=secret)
        port = await self._launch(usable, major=version, identity=identity)
        server = self._server(port, bin_dir=bin_dir, password=password)
        await self._require_login(server)
        _log.info("PostgreSQL %s.%s started on port %s", *version_of(bin_dir), port)
        return server

    def _own(self, identity: Identity) -> None:
        for path in (self._folder.log, self._folder.sockets):
            path.mkdir(mode=0o700, exist_ok=True)
            identity.give(path)
        if self._folder.data.exists():
            identity.give(self._folder.data)
        # No server of this folder runs now. PostgreSQL leaves a socket's lock file alone when the process number in
        # it is somebody else's today, and then refuses to start.
        for left in self._folder.sockets.glob(".s.PGSQL.*"):
            left.unlink(missing_ok=True)

    def _server(self, port: int, *, bin_dir: Path, password: SecretStr) -> Server:
        return Server(
            host=HOST, port=port, user=USER, password=password, bin_dir=bin_dir, data_dir=self._folder.data
        )

    async def _adopt(self, running: PidFile, *, bin_dir: Path, password: SecretStr) -> Server | None:
        """Return the server that runs already, or end what is left of it and return None."""
        if not serves(running.pid, self._folder.data):
            self._clear(running)
            return None
        if running.status != "ready":
            await self._settled(running.pid)
        ready = read_pid_file(self._folder.data)
        if ready and ready.status == "ready" and self._port in {None, ready.port}:
            server = self._server(ready.port, bin_dir=bin_dir, password=password)
            problem = await login_problem(server)
            if not problem:
                _log.info("PostgreSQL on port %s adopted (process %s)", ready.port, ready.pid)
                return server
            if "authentication failed" in problem:
                raise self._login_error(problem)
            _log.warning("PostgreSQL (process %s) does not answer and is restarted: %s", ready.pid, problem)
        if serves(running.pid, self._folder.data):
            await self._end(running.pid)
        return None

    def _clear(self, running: PidFile) -> None:
        """Remove a pid file whose server is gone; PostgreSQL does not when the number is another process's now."""
        if answers_on_socket(running):
            raise EmbeddedPostgresError(
                f"A PostgreSQL outside of this machine's or container's view serves {self._folder.data}.",
                untouched="It and its data were left alone.",
                resolution="Stop the bot that started it (another container with the same volume?), or give this "
                "one a data folder of its own.",
            )
        (self._folder.data / "postmaster.pid").unlink(missing_ok=True)

    async def _settled(self, pid: int) -> None:
        """Wait until a server that starts or stops has done so."""
        deadline = self._clock.monotonic() + _START_SECONDS
        while serves(pid, self._folder.data) and self._clock.monotonic() < deadline:
            found = read_pid_file(self._folder.data)
            if found and found.status == "ready":
                return
            await self._clock.sleep(_POLL_SECONDS)

    async def _launch(self, bin_dir: Path, *, major: int, identity: Identity) -> int:
        """Start the server and return its port once it is ready."""
        folder = self._folder
        deadline = self._clock.monotonic() + _START_SECONDS
        log = Log(folder.log)
        while True:
            port = folder.port(self._port)
            folder.write(folder.settings, render_settings(folder, port=port, major=major), mode=0o644)
            log.mark()
            pid = self._spawn(bin_dir, identity=identity)
            try:
                ready = await self._ready(pid, deadline=deadline)
            except BaseException:
                if alive(pid):
                    os.kill(pid, signal.SIGINT)
                raise
            if ready:
                folder.remember_port(ready.port)
                return ready.port
            said = await self._last_words(log)
            in_time = self._clock.monotonic() < deadline
            if in_time and self._port is None and any(words in said for words in _PORT_TAKEN):
                folder.forget_port()
            elif not (in_time and _OLD_BACKENDS in said):
                raise self._start_error(said)
            await self._clock.sleep(10 * _POLL_SECONDS)

    def _spawn(self, bin_dir: Path, *, identity: Identity) -> int:
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW
        output = os.open(self._folder.log / "start.log", flags, 0o600)
        try:
            if identity.switched:
                os.fchown(output, identity.uid, identity.gid)
            argv = [str(bin_dir / "postgres"), "-D", str(self._folder.data)]
            return spawn(argv, identity=identity, output=output)
        finally:
            os.close(output)

    async def _ready(self, pid: int, *, deadline: float) -> PidFile | None:
        while alive(pid):
            found = read_pid_file(self._folder.data)
            if found and found.pid == pid and found.status == "ready":
                return found
            if self._clock.monotonic() > deadline:
                await self._end(pid)
                return None
            await self._clock.sleep(_POLL_SECONDS)
        return None

    async def _last_words(self, log: Log) -> str:
        """Return what a server that ended said; its log process may write the reason a moment after its end."""
        deadline = self._clock.monotonic() + _LAST_WORDS_SECONDS
        said = log.since_mark()
        while not _FATAL.search(said) and self._clock.monotonic() < deadline:
            await self._clock.sleep(_POLL_SECONDS)
            said = log.since_mark()
        return said

    async def _end(self, pid: int) -> None:
        for number, patience in _ENDINGS:
            try:
                os.kill(pid, number)
                os.kill(pid, signal.SIGCONT)  # a suspended one hears nothing else
            except ProcessLookupError:
                return
            deadline = self._clock.monotonic() + patience
            while self._clock.monotonic() < deadline:
                if not serves(pid, self._folder.data):
                    _log.info("PostgreSQL (process %s) stopped by %s", pid, number.name)
                    return
                await self._clock.sleep(_POLL_SECONDS)
        raise EmbeddedPostgresError(
            f"The bot's PostgreSQL (process {pid}) does not end, not even by SIGKILL.",
            untouched="No second server was started on its data.",
            resolution="Look at the process and the disk it waits for; restart the machine if need be.",
        )

    async def _require_login(self, server: Server) -> None:
        problem = await login_problem(server)
        if problem:
            raise self._login_error(problem)

    def _login_error(self, problem: str) -> EmbeddedPostgresError:
        return EmbeddedPostgresError(
            f"The bot's PostgreSQL runs, but the bot cannot log in: {problem}.",
            untouched="The server and its data were left as they are.",
            resolution=f"Put the right password back into {self._folder.path / 'password'}; the server's log is in "
            f"{self._folder.log}.",
        )

    def _start_error(self, said: str) -> EmbeddedPostgresError:
        last = [line for line in said.strip().splitlines() if line.strip()][-3:]
        return EmbeddedPostgresError(
            f"The bot's PostgreSQL did not start: {'; '.join(last) or 'it said nothing'}.",
            untouched=f"The data in {self._folder.data} was left as it is.",
            resolution=f"Remove the cause; the whole log is in {self._folder.log}.",
        )
