"""The embedded PostgreSQL under root and under an ordinary user."""

from __future__ import annotations

import os
import pwd
import shutil
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from bot.domain.clock import Clock
from storage.embedded import EmbeddedPostgres, EmbeddedPostgresError, find_binaries
from storage.embedded.identity import choose_identity
from storage.embedded.postmaster import login_problem, read_pid_file
from storage.embedded.processes import arguments

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can act for others")

_TEST = Path(__file__).with_name("test_embedded.py")
_RUN_AS = """
import os, sys
import concurrent.futures.thread, encodings.idna, multiprocessing.connection, multiprocessing.popen_fork
import psycopg, pytest

uid, gid, cut, *tests = int(sys.argv[1]), int(sys.argv[2]), *sys.argv[3:]

class Drop:
    def pytest_collection_finish(self, session):
        # Not earlier: the interpreter's own modules may lie in root's closed home.
        os.setgroups([]); os.setgid(gid); os.setuid(uid)

options = ["-q", "-p", "no:randomly", "-p", "no:cacheprovider", "-p", "no:hypothesispytest", "--confcutdir", cut]
raise SystemExit(pytest.main([*options, *tests], plugins=[Drop()]))
"""


def owner(pid: int) -> str:
    """Return the user a process runs as."""
    found = subprocess.run(["ps", "-o", "user=", "-p", str(pid)], capture_output=True, text=True, check=True)
    return found.stdout.strip()


def running(folder: Path) -> int:
    """Return the process of the folder's server."""
    found = read_pid_file(folder / "data")
    assert found is not None
    return found.pid


def belongs_to_root(program: Path) -> bool:
    """Return whether only root can change the program, and everybody can run it."""
    status = program.stat()
    return (status.st_uid, stat.S_IMODE(status.st_mode)) == (0, 0o755)


@as_root
@pytest.mark.slow
@pytest.mark.timeout(300)
def test_everything_holds_for_an_ordinary_user(home: Path) -> None:
    """What the embedded server promises, it promises without any right of root."""
    nobody = pwd.getpwnam("nobody")
    temporary = home / "tmp"
    temporary.mkdir()
    os.chown(temporary, nobody.pw_uid, nobody.pw_gid)
    project = Path(__file__).parents[3]
    account = (str(nobody.pw_uid), str(nobody.pw_gid))
    alone = f"{__file__}::{test_a_folder_of_somebody_else_is_told.__name__}"
    done = subprocess.run(
        [sys.executable, "-c", _RUN_AS, *account, str(_TEST.parent), str(_TEST), alone],
        cwd=project,
        env={
            "PATH": os.environ["PATH"],
            "HOME": str(temporary),
            "TMPDIR": str(temporary),
            "PYTHONPATH": str(project),
            "PYTHONDONTWRITEBYTECODE": "1",
        },
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert " skipped" not in done.stdout
    assert " passed" in done.stdout


@as_root
async def test_root_gets_a_server_that_is_not_root(home: Path, clock: Clock) -> None:
    """As root the server runs as an unprivileged user who owns the data and cannot read the password."""
    folder = home / "db"
    async with EmbeddedPostgres(folder, clock=clock) as server:
        user = choose_identity(folder, folder / "data").name
        assert user in {"postgres", "nobody"}
        assert owner(running(folder)) == user
        assert (folder / "data").owner() == user
        assert (folder / "password").owner() == "root"
        assert stat.S_IMODE(folder.stat().st_mode) == 0o711
        assert not await login_problem(server)


@as_root
async def test_roots_bot_in_a_users_folder_works_for_that_user(home: Path, clock: Clock) -> None:
    """In a user's folder root's bot leaves only files of that user, so that the user can go on without root."""
    folder = home / "db"
    folder.mkdir(mode=0o700)
    nobody = pwd.getpwnam("nobody")
    os.chown(folder, nobody.pw_uid, nobody.pw_gid)
    async with EmbeddedPostgres(folder, clock=clock):
        assert owner(running(folder)) == "nobody"
    assert {path.owner() for path in folder.rglob("*")} == {"nobody"}


@as_root
async def test_data_copied_by_root_is_given_back(home: Path, db: Path, clock: Clock) -> None:
    """Data that a restore by root left owned by root is given to the server's user again."""
    shutil.copytree(db, home / "restored")
    (home / "restored").chmod(0o711)
    assert (home / "restored" / "data" / "base").owner() == "root"
    async with EmbeddedPostgres(home / "restored", clock=clock) as server:
        assert not await login_problem(server)


@as_root
async def test_a_closed_parent_is_named_and_stays_closed(home: Path, clock: Clock) -> None:
    """A folder that the server's user cannot reach is an error with a way out, never a chmod."""
    (home / "closed").mkdir(mode=0o700)
    with pytest.raises(EmbeddedPostgresError, match=f"cannot enter {home}/closed") as caught:
        await EmbeddedPostgres(home / "closed" / "db", clock=clock).start()
    assert "every user can reach" in caught.value.resolution
    assert stat.S_IMODE((home / "closed").stat().st_mode) == 0o700


@as_root
async def test_programs_in_a_closed_home_are_copied_once(
    home: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Programs that the server's user cannot reach run from a copy that this user cannot change."""
    closed = home / "closed"
    closed.mkdir(mode=0o700)
    package = find_binaries().parents[1]
    for each in package.parent.glob(f"{package.name}*"):  # the package and its libraries
        shutil.copytree(each, closed / each.name, symlinks=True, ignore=shutil.ignore_patterns("include"))
    programs = closed / package.name / "pginstall" / "bin"
    monkeypatch.setattr("storage.embedded.launcher.find_binaries", lambda **_: programs)
    folder = home / "db"
    seen: list[list[Path]] = []
    for _ in range(2):
        async with EmbeddedPostgres(folder, clock=clock) as server:
            assert not await login_problem(server)
            program = Path(arguments(running(folder))[0])
            assert program.is_relative_to(folder / "programs")
            assert belongs_to_root(program)
        seen.append(list((folder / "programs").iterdir()))
    assert seen[0] == seen[1]
    assert len(seen[0]) == 1
    assert stat.S_IMODE(closed.stat().st_mode) == 0o700


async def test_a_folder_of_somebody_else_is_told(clock: Clock) -> None:
    """A user's bot does not start in a folder that is not the user's."""
    if os.geteuid() == 0:  # asked here, because the user's run gives root up only after collection
        pytest.skip("root may write everywhere")
    with pytest.raises(EmbeddedPostgresError, match="cannot be used"):
        await EmbeddedPostgres(Path("/var/lib/rollback-of-somebody-else"), clock=clock).start()
