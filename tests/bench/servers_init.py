"""A process that starts and stops the services of many hosts, as an init system does on each.

``python -m tests.bench.servers_init FOLDER PORT SECONDS NAME=ADDRESS ...`` makes a pipe ``FOLDER/NAME/ctl`` for
each host. A line written to it, ``start PIPE`` or ``stop PIPE``, is carried out and answered into that pipe when
the service answers, or when it is gone. Services are forked, so that starting one costs the machine nothing worth
speaking of: on real hosts that work is done by as many machines. Each takes its seconds to start and to end.
"""

from __future__ import annotations

import json
import os
import selectors
import signal
import socket
import sys
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

LARGEST = 4096


@dataclass
class Service:
    """The service of one host.

    Attributes:
        folder: The host's folder.
        address: Where it listens.
        port: Where it listens.
        seconds: How long it takes to start, and to end.
        pid: Its process; 0 without one.
        waiting: The pipes that are answered when what was asked last is so.
    """

    folder: Path
    address: str
    port: int
    seconds: float
    pid: int = 0
    waiting: tuple[str, ...] = ()

    def start(self, ready: int) -> None:
        """Start it; a line with its folder goes to `ready` once it listens."""
        if self.pid:
            os.write(ready, f"{self.folder}\n".encode())
            return
        version = (self.folder / "current").readlink().name
        self.pid = os.fork()
        if self.pid == 0:
            self._serve(version, ready)
        (self.folder / "pid").write_text(f"{self.pid}\n")

    def stop(self) -> None:
        """Ask it to end."""
        if self.pid:
            os.kill(self.pid, signal.SIGTERM)
        else:
            self.answer()

    def gone(self) -> None:
        """Note that it has ended."""
        self.pid = 0
        (self.folder / "pid").unlink(missing_ok=True)
        self.answer()

    def answer(self) -> None:
        """Tell whoever waits."""
        for pipe in self.waiting:
            with suppress(OSError):
                handle = os.open(pipe, os.O_WRONLY | os.O_NONBLOCK)
                os.write(handle, b"done\n")
                os.close(handle)
        self.waiting = ()

    def _serve(self, version: str, ready: int) -> None:
        """Be the service, in a process of its own; never returns."""

        def end(number: int, frame: FrameType | None) -> None:
            del number, frame
            signal.sigtimedwait([], self.seconds)
            os._exit(0)

        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGTERM, end)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        # What a service does before it answers; a signal to end cuts it short.
        signal.sigtimedwait([], self.seconds)
        body = json.dumps({"status": "healthy", "version": version}).encode()
        head = f"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n"
        with socket.create_server((self.address, self.port), backlog=16) as listening:
            os.write(ready, f"{self.folder}\n".encode())
            while True:
                connection, _ = listening.accept()
                with connection, suppress(OSError):
                    connection.settimeout(5)
                    connection.recv(LARGEST)
                    connection.sendall(head.encode() + b"Connection: close\r\n\r\n" + body)


def main() -> None:
    """Serve until SIGTERM, then end every service."""
    folder, port, seconds = Path(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3])
    named = [argument.partition("=") for argument in sys.argv[4:]]
    services = {name: Service(folder / name, address, port, seconds) for name, _, address in named}
    by_folder = {str(service.folder): service for service in services.values()}
    chosen = selectors.DefaultSelector()
    heard, ready = os.pipe()
    woken, wake = socket.socketpair()
    wake.setblocking(False)  # noqa: FBT003 - as the library has it
    signal.set_wakeup_fd(wake.fileno())
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.signal(signal.SIGTERM, lambda *_: _end(services))
    chosen.register(heard, selectors.EVENT_READ, heard)
    chosen.register(woken, selectors.EVENT_READ, None)
    for service in services.values():
        os.mkfifo(service.folder / "ctl")
        # Opened for both ways, so that it never comes to its end.
        chosen.register(os.open(service.folder / "ctl", os.O_RDWR), selectors.EVENT_READ, service)
    (folder / "listening").touch()
    while True:
        for key, _ in chosen.select():
            if key.data is None:
                woken.recv(LARGEST)
                _reap(services)
            elif key.data is heard:
                for line in os.read(heard, LARGEST).decode().splitlines():
                    by_folder[line].answer()
            else:
                _obey(key.data, os.read(key.fd, LARGEST).decode(), ready)


def _obey(service: Service, asked: str, ready: int) -> None:
    for line in asked.splitlines():
        verb, pipe = line.split()
        service.waiting = (*service.waiting, pipe)
        if verb == "start":
            service.start(ready)
        else:
            service.stop()


def _reap(services: dict[str, Service]) -> None:
    while True:
        try:
            pid, _ = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return
        if not pid:
            return
        for service in services.values():
            if service.pid == pid:
                service.gone()


def _end(services: dict[str, Service]) -> None:
    for service in services.values():
        if service.pid:
            with suppress(ProcessLookupError):
                os.kill(service.pid, signal.SIGKILL)
    os._exit(0)


if __name__ == "__main__":
    main()
