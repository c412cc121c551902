from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from bot.demo.estate import supervise

READY = "import os, signal, sys\nos.write(int(os.environ['READY_FD']), b'READY\\n')\n"
GOOD = READY + "signal.pause()\n"
STUBBORN = "import signal\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\n" + READY + "while True: signal.pause()\n"
BROKEN = "print('the port is taken')\nraise SystemExit(7)\n"
NEVER_READY = "import signal\nsignal.pause()\n"

Service = Callable[..., "Ctl"]


class Ctl:
    """Calls the service manager as an operator does: as a program."""

    def __init__(self, folder: Path, program: str) -> None:
        self.folder = folder
        self.pidfile = folder / "run" / "svc.pid"
        self.unit = folder / "svc.json"
        release = folder / "releases" / "v1"
        release.mkdir(parents=True)
        (folder / "current").symlink_to(release)
        (release / "program.py").write_text(program)
        unit = {
            "name": "svc",
            "argv": [sys.executable, "-S", "-E", str(folder / "current" / "program.py")],
            "link": str(folder / "current"),
            "pidfile": str(self.pidfile),
            "log": str(folder / "svc.log"),
            "start_timeout": 1,
            "stop_timeout": 0.3,
        }
        self.unit.write_text(json.dumps(unit))

    @property
    def argv(self) -> list[str]:
        """The manager's command without the verb."""
        return [sys.executable, "-S", "-E", supervise.__file__, str(self.unit)]

    def __call__(self, command: str) -> tuple[int, str]:
        """Run a command; a daemon that kept our pipes would make this time out."""
        done = subprocess.run([*self.argv, command], check=False, capture_output=True, text=True, timeout=15)
        return done.returncode, done.stdout + done.stderr

    def pid(self) -> int:
        """Return the process id that the pidfile names."""
        return int(self.pidfile.read_text().split()[0])


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Service]:
    """Make a supervised program; end it when the test is over."""
    made: list[Ctl] = []

    def make(program: str) -> Ctl:
        made.append(Ctl(tmp_path, program))
        return made[-1]

    yield make
    for ctl in made:
        assert ctl("stop")[0] == 0


def test_exit_codes_follow_the_life_of_the_service(service: Service) -> None:
    """Status is 3 before the start, 0 while it runs and 3 after the stop, and start and stop may be repeated."""
    ctl = service(GOOD)
    assert ctl("status") == (3, "svc is stopped\n")
    assert ctl("start")[0] == 0
    pid = ctl.pid()
    assert ctl("status") == (0, f"svc v1 is running (pid {pid})\n")
    assert ctl("start") == (0, f"svc v1 runs already (pid {pid})\n")
    assert ctl("stop") == (0, "svc v1 stopped by SIGTERM\n")
    assert ctl("stop") == (0, "svc is stopped already\n")
    assert ctl("status") == (3, "svc is stopped\n")


def test_restart_takes_the_release_the_link_points_at(service: Service) -> None:
    """The link decides the version at the next start; a running service keeps its own."""
    ctl = service(GOOD)
    ctl("start")
    newer = ctl.folder / "releases" / "v2"
    newer.mkdir()
    (newer / "program.py").write_text(GOOD)
    (ctl.folder / "current").unlink()
    (ctl.folder / "current").symlink_to(newer)
    assert "svc v1 is running" in ctl("status")[1]
    assert ctl("restart")[0] == 0
    assert "svc v2 is running" in ctl("status")[1]


def test_failed_start_quotes_the_log(service: Service) -> None:
    """A program that ends at its start is a failure with its exit code and its own words."""
    ctl = service(BROKEN)
    code, words = ctl("start")
    assert code == 1
    assert "svc v1 ended at its start with exit code 7" in words
    assert "the port is taken" in words
    assert ctl("status")[0] == 3


def test_program_that_is_never_ready_is_ended(service: Service) -> None:
    """A start that times out leaves nothing running behind."""
    ctl = service(NEVER_READY)
    code, words = ctl("start")
    assert (code, "was not ready within 1 s and was ended" in words) == (1, True)
    assert ctl("status") == (3, "svc is stopped\n")


def test_program_that_breaks_the_ready_pipe_is_ended(service: Service) -> None:
    """A program that closes the pipe in silence fails the start and does not hang it."""
    ctl = service("import os, signal\nos.close(int(os.environ['READY_FD']))\nsignal.pause()\n")
    code, words = ctl("start")
    assert (code, "closed READY_FD without saying READY and was ended" in words) == (1, True)
    assert ctl("status")[0] == 3


def test_missing_program_is_a_failure_in_words(service: Service) -> None:
    """A dangling link is reported, not traced."""
    ctl = service(GOOD)
    (ctl.folder / "releases" / "v1" / "program.py").unlink()
    code, words = ctl("start")
    assert code == 1
    assert "program.py" in words
    assert "Traceback" not in words


def test_stubborn_program_is_killed(service: Service) -> None:
    """What ignores SIGTERM for the stop timeout gets SIGKILL."""
    ctl = service(STUBBORN)
    ctl("start")
    assert ctl("stop") == (0, "svc v1 stopped by SIGKILL\n")


def test_killed_program_leaves_a_stale_pidfile_that_fools_nobody(service: Service) -> None:
    """After a kill -9 the status is stopped, says why, and a start works."""
    ctl = service(GOOD)
    ctl("start")
    pid = ctl.pid()
    os.kill(pid, signal.SIGKILL)
    while ctl("status")[0] == 0:  # the kernel may still be at it
        pass
    assert ctl("status") == (3, f"svc is stopped (its pidfile is stale: pid {pid} is gone)\n")
    assert ctl("start")[0] == 0
    assert ctl.pid() != pid


def test_recycled_process_id_is_not_taken_for_the_service(service: Service) -> None:
    """A pidfile that names a living stranger means stopped, and stop does the stranger no harm."""
    ctl = service(GOOD)
    ctl.pidfile.parent.mkdir()
    with subprocess.Popen([sys.executable, "-S", "-c", "input()"], stdin=subprocess.PIPE) as stranger:
        ctl.pidfile.write_text(f"{stranger.pid}\nv1\n")
        assert ctl("status")[0] == 3
        assert ctl("stop") == (0, "svc is stopped already\n")
        assert ctl("start")[0] == 0
        assert stranger.poll() is None
        stranger.communicate(b"\n", timeout=10)
        assert stranger.returncode == 0


def test_manager_killed_in_the_middle_of_a_start_loses_no_program(service: Service) -> None:
    """The program is in the pidfile before it runs, so a killed manager leaves none that cannot be found."""
    ctl = service("")
    fifo = ctl.folder / "up"
    os.mkfifo(fifo)
    program = f"import signal\nopen({str(fifo)!r}, 'w').close()\nsignal.pause()\n"
    (ctl.folder / "releases" / "v1" / "program.py").write_text(program)
    with subprocess.Popen([*ctl.argv, "start"]) as manager:
        with fifo.open():  # returns when the program is there
            manager.kill()
        manager.wait(10)
    assert ctl("status")[0] == 0
    assert ctl("stop") == (0, "svc v1 stopped by SIGTERM\n")


def test_two_starts_at_once_start_one_program(service: Service) -> None:
    """Of simultaneous starts one starts the program and the others find it running."""
    ctl = service(GOOD)
    managers = [subprocess.Popen([*ctl.argv, "start"], stdout=subprocess.PIPE, text=True) for _ in range(4)]
    words = [manager.communicate(timeout=15)[0] for manager in managers]
    assert [manager.returncode for manager in managers] == [0, 0, 0, 0]
    assert sorted("started" in text for text in words) == [False, False, False, True]
    assert {text.rpartition("(")[2] for text in words} == {f"pid {ctl.pid()})\n"}


def test_service_is_given_no_secret_of_its_starter(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    """The environment of whoever starts the service does not reach it."""
    monkeypatch.setenv("SLACK_BOT_TOKEN", "xoxb-not-for-the-service")
    ctl = service("import os\nprint(sorted(os.environ), flush=True)\n" + GOOD)
    ctl("start")
    ctl("stop")
    names = (ctl.folder / "svc.log").read_text()
    assert "READY_FD" in names
    assert "SLACK_BOT_TOKEN" not in names


def test_wrong_command_shows_the_usage(service: Service) -> None:
    """An unknown verb does nothing and ends with 2."""
    assert service(GOOD)("reload") == (2, "usage: supervise UNIT start|stop|restart|status\n")
