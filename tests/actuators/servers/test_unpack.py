from __future__ import annotations

import asyncio
import ctypes
import io
import os
import shutil
import sys
import tarfile
from collections.abc import Mapping
from typing import Any

import pytest
from pydantic import ValidationError

from actuators import servers
from actuators.servers_folder import MARKER
from actuators.servers_unpack import UnpackArtifact
from bot.domain.actuation import Actuator, Context, Presence, Verdict
from bot.domain.errors import ActuatorError
from tests.support.actuation import fails
from tests.support.estates import ASYNCSSH, SUDO
from tests.support.hosts import Estate, Signal, artifact, gone, sha256
from tests.support.ssh import SshEstate

UNPACK = UnpackArtifact(
    id="unpack", target="payments-app", backup="build", strip=1, keep=("data", "etc/local.conf")
)
KEPT = "app.before-rb-0004-20240115"
DONE = "unpacked from v2.3.1.tar.gz"


def actuator() -> Actuator[Any]:
    """Return the registered actuator."""
    return next(entry.actuator for entry in servers.register() if entry.model is UnpackArtifact)


def deployed(estate: Estate) -> None:
    """Let the service of every host be a folder without a link, with the failed release in it."""
    estate.group["current"] = f"{estate.only.base}/app"
    for folder in estate.folders.values():
        (folder.root / "app/data").mkdir(parents=True)
        (folder.root / "app/etc").mkdir()
        folder.write("app/app", "v2.4.0")
        folder.write("app/new", "only in v2.4.0")
        folder.write("app/data/orders", "1, 2, 3")
        folder.write("app/etc/local.conf", "here", mode=0o640)
        (folder.root / "app").chmod(0o750)


def run_of(estate: Estate, step: UnpackArtifact = UNPACK, *, digest: str | None = None) -> Context:
    """Return the context of a run with the artifact pinned."""
    return estate.context(step, digests={"build": digest or sha256(artifact())})


def packed(members: Mapping[str, str]) -> bytes:
    """Return an artifact of some files; one that ends with a slash is a folder, and `->` makes a link."""
    data = io.BytesIO()
    with tarfile.open(fileobj=data, mode="w:gz") as tar:
        for name, content in members.items():
            member = tarfile.TarInfo(name)
            if content.startswith("->"):
                member.type, member.linkname = tarfile.SYMTYPE, content[2:]
            member.size = 0 if member.issym() else len(content)
            member.mode = 0o755
            tar.addfile(member, io.BytesIO(content.encode()))
    return data.getvalue()


async def test_the_folder_is_replaced_whole_on_every_host(estate: Estate) -> None:
    """Absent before, present after; what is named is carried over, the mode stays, and the old folder beside it."""
    deployed(estate)
    context, total = run_of(estate), len(estate.folders)
    noun = "host" if total == 1 else "hosts"
    seen = await actuator().observe(UNPACK, context)
    assert seen.presence is Presence.ABSENT
    assert seen.words == f"0 of {total} {noun} {DONE}, {total} with a folder of unknown origin"
    outcome = await actuator().apply(UNPACK, context)
    assert outcome.words == f"{total} of {total} {noun} {DONE}"
    seen = await actuator().observe(UNPACK, context)
    assert (seen.presence, seen.words) == (Presence.PRESENT, f"{total} of {total} {noun} {DONE}")
    for folder in estate.folders.values():
        assert folder.read("app/app") == "v2.3.1"
        assert not folder.has("app/new")
        assert folder.read("app/data/orders") == "1, 2, 3"
        assert (folder.root / "app/etc/local.conf").stat().st_mode & 0o777 == 0o640
        assert (folder.root / "app").stat().st_mode & 0o777 == 0o750
        assert folder.read(f"{KEPT}/new") == "only in v2.4.0"
        left = {path.name for path in folder.root.iterdir() if "app." in path.name}
        assert left == {KEPT}


@pytest.mark.skipif(not hasattr(ctypes.CDLL(None), "renameat2"), reason="this C library has no renameat2")
async def test_where_mv_can_exchange_there_is_no_moment_without_the_folder(one_ssh_host: SshEstate) -> None:
    """With a `mv --exchange` the folders change places by one call of the kernel; the old one is put aside then."""
    deployed(one_ssh_host)
    call = (
        "import ctypes,sys;a,b=map(str.encode,sys.argv[1:]);sys.exit(-ctypes.CDLL(None).renameat2(-100,a,-100,b,2))"
    )
    script = (
        '#!/bin/sh\n[ "$1" = --exchange ] || { echo "$*" >>moved; exec /bin/mv "$@"; }\n'
        f'exec {sys.executable} -c "{call}" "$4" "$5"\n'
    )
    one_ssh_host.only.write("bin/mv", script, mode=0o755)
    await actuator().apply(UNPACK, run_of(one_ssh_host))
    assert one_ssh_host.only.read("app/app") == "v2.3.1"
    assert one_ssh_host.only.read(f"{KEPT}/new") == "only in v2.4.0"
    (moved,) = one_ssh_host.only.log("moved")
    assert moved.endswith(f".tmp /proc/self/cwd/{KEPT}")


async def test_a_second_time_leaves_everything(estate: Estate) -> None:
    """What is unpacked already is left alone, files that the service has added included."""
    deployed(estate)
    await actuator().apply(UNPACK, run_of(estate))
    estate.only.write("app/log", "written by the service")
    estate.only.write("app/data/orders", "1, 2, 3, 4")
    before = estate.only.files()
    assert (await actuator().apply(UNPACK, run_of(estate))).words.endswith(f"{DONE} already")
    assert estate.only.files() == before


async def test_a_file_that_was_changed_is_seen_and_put_right(one_ssh_host: SshEstate) -> None:
    """A folder whose files are not the artifact's any more is not done; each old folder gets a name of its own."""
    deployed(one_ssh_host)
    context = run_of(one_ssh_host)
    await actuator().apply(UNPACK, context)
    one_ssh_host.only.write("app/app", "patched by hand")
    seen = await actuator().observe(UNPACK, context)
    assert seen.presence is Presence.ABSENT
    assert seen.words == f"0 of 1 host {DONE}, 1 {DONE}, changed since in app"
    await actuator().apply(UNPACK, context)
    assert one_ssh_host.only.read("app/app") == "v2.3.1"
    assert one_ssh_host.only.read(f"{KEPT}-2/app") == "patched by hand"
    assert one_ssh_host.only.has(f"{KEPT}/new")


async def test_another_artifact_that_was_unpacked_before_is_told(one_ssh_host: SshEstate) -> None:
    """A marker of another artifact says which one, and is no reason to stop."""
    deployed(one_ssh_host)
    one_ssh_host.only.write(f"app/{MARKER}", f"artifact {'ab' * 32}\n")
    seen = await actuator().observe(UNPACK, run_of(one_ssh_host))
    assert seen.words == f"0 of 1 host {DONE}, 1 unpacked from the artifact abababababab"
    one_ssh_host.only.write(f"app/{MARKER}", "who knows\n")
    seen = await actuator().observe(UNPACK, run_of(one_ssh_host))
    assert seen.words == f"0 of 1 host {DONE}, 1 with a marker that cannot be read"
    await actuator().apply(UNPACK, run_of(one_ssh_host))
    assert one_ssh_host.only.read("app/app") == "v2.3.1"


async def test_a_folder_that_is_gone_is_made(one_ssh_host: SshEstate) -> None:
    """Without an old folder there is nothing to keep."""
    deployed(one_ssh_host)
    shutil.rmtree(one_ssh_host.only.root / "app")
    seen = await actuator().observe(UNPACK, run_of(one_ssh_host))
    assert seen.words == f"0 of 1 host {DONE}, 1 without the folder"
    await actuator().apply(UNPACK, run_of(one_ssh_host))
    assert one_ssh_host.only.read("app/app") == "v2.3.1"
    assert not one_ssh_host.only.has(KEPT)


async def test_checks_pass_and_change_nothing(estate: Estate) -> None:
    """The approver hears what the new folder would not have; what is carried over is not missed."""
    deployed(estate)
    before = estate.only.files()
    found = (await actuator().check(UNPACK, run_of(estate)))[-1]
    assert found.verdict is Verdict.WARN
    assert "have etc, new in the folder, which the artifact does not hold" not in found.words
    assert "have new in the folder, which the artifact does not hold" in found.words
    assert "name in `keep`" in found.resolution
    for folder in estate.folders.values():
        (folder.root / "app/new").unlink()
    found = (await actuator().check(UNPACK, run_of(estate)))[-1]
    assert found.verdict is Verdict.OK
    assert found.words.endswith("are with a folder of unknown origin")
    assert estate.only.files() == before - {"app/new"}


async def test_the_artifact_must_be_pinned(one_ssh_host: SshEstate) -> None:
    """An artifact without a digest in the plan is refused before any host is contacted."""
    deployed(one_ssh_host)
    context = one_ssh_host.context(UNPACK)
    assert "does not pin the artifact build by its digest" in fails(await actuator().check(UNPACK, context))
    assert (await actuator().observe(UNPACK, context)).presence is Presence.UNKNOWN
    with pytest.raises(ActuatorError, match="does not pin"):
        await actuator().apply(UNPACK, context)
    assert one_ssh_host.servers["app01"].connections == []


@pytest.mark.parametrize(
    ("data", "digest", "words"),
    [
        (artifact(content="another"), sha256(artifact()), "is not the one of the plan: its SHA-256 begins with"),
        (artifact()[:60], sha256(artifact()[:60]), "is damaged or empty"),
        (None, sha256(artifact()), "v2.3.1.tar.gz is not there."),
    ],
)
async def test_an_artifact_that_cannot_be_trusted_is_refused(
    one_ssh_host: SshEstate, data: bytes | None, digest: str, words: str
) -> None:
    """Missing, damaged or another artifact: check and apply say which, and the folder stays."""
    deployed(one_ssh_host)
    file = one_ssh_host.only.root / "artifacts/v2.3.1.tar.gz"
    file.unlink()
    if data is not None:
        file.write_bytes(data)
    before, context = one_ssh_host.only.files(), run_of(one_ssh_host, digest=digest)
    assert words in fails(await actuator().check(UNPACK, context))
    with pytest.raises(ActuatorError) as caught:
        await actuator().apply(UNPACK, context)
    assert words in caught.value.brief
    assert one_ssh_host.only.files() == before
    assert one_ssh_host.only.read("app/app") == "v2.4.0"


@pytest.mark.parametrize("kind", ["link", "file"])
async def test_what_is_no_folder_is_never_replaced(one_ssh_host: SshEstate, kind: str) -> None:
    """A link or a file where the folder belongs is refused by check and apply, and stays."""
    app = one_ssh_host.only.root / "app"
    one_ssh_host.group["current"] = f"{one_ssh_host.only.base}/app"
    if kind == "link":
        app.symlink_to("releases/v2.4.0")
    else:
        app.write_text("what")
    context = run_of(one_ssh_host)
    assert "app is no folder." in fails(await actuator().check(UNPACK, context))
    assert f"1 with a {kind} in the folder's place" in (await actuator().observe(UNPACK, context)).words
    with pytest.raises(ActuatorError, match="is no folder"):
        await actuator().apply(UNPACK, context)
    assert app.is_symlink() is (kind == "link")


async def test_an_archive_that_is_empty_after_stripping_replaces_nothing(one_ssh_host: SshEstate) -> None:
    """If no file is left of the archive, the folder stays, and nothing lies beside it."""
    deployed(one_ssh_host)
    step = UnpackArtifact(id="unpack", target="payments-app", backup="build", strip=3)
    before = one_ssh_host.only.files()
    with pytest.raises(ActuatorError, match="nothing is left of the artifact"):
        await actuator().apply(step, run_of(one_ssh_host, step))
    assert one_ssh_host.only.files() == before


async def test_an_archive_cannot_write_outside_of_its_folder(one_ssh_host: SshEstate) -> None:
    """Members that climb out or go through a link end nowhere but in the new folder, or stop the step."""
    deployed(one_ssh_host)
    data = packed({"v/app": "v2.3.1", "v/out": "->/proc/self/cwd/etc", "v/out/app.conf": "evil"})
    (one_ssh_host.only.root / "artifacts/v2.3.1.tar.gz").write_bytes(data)
    good = one_ssh_host.only.read("etc/app.conf")
    context = run_of(one_ssh_host, digest=sha256(data))
    with pytest.raises(ActuatorError):
        await actuator().apply(UNPACK, context)
    assert one_ssh_host.only.read("etc/app.conf") == good
    assert one_ssh_host.only.read("app/app") == "v2.4.0"


@pytest.mark.parametrize("died", ["unpacking", "swapping", "renaming"])
async def test_a_crash_is_made_good(one_ssh_host: SshEstate, died: str) -> None:
    """Whatever a killed run left behind, the next one ends with the new folder and the old one beside it."""
    deployed(one_ssh_host)
    root, context = one_ssh_host.only.root, run_of(one_ssh_host)
    beside = root / ".app.rb-0004-unpack.app01.tmp"
    if died == "unpacking":
        beside.mkdir()
        (beside / "half").write_text("half")
    elif died == "swapping":
        # Between the two renames: the old folder has its new name, and there is none in its place.
        (root / "app").rename(root / KEPT)
    else:
        # After the exchange: the old folder lies where the new one was made.
        shutil.copytree(root / "app", root / "old")
        await actuator().apply(UNPACK, context)
        shutil.rmtree(root / KEPT)
        (root / "old").rename(beside)
        one_ssh_host.only.write("app/app", "patched")
    await actuator().apply(UNPACK, context)
    assert one_ssh_host.only.read("app/app") == "v2.3.1"
    assert one_ssh_host.only.read("app/data/orders") == "1, 2, 3"
    assert one_ssh_host.only.read(f"{KEPT}/new") == "only in v2.4.0"
    assert not beside.exists()


async def test_what_cannot_be_compared_is_not_taken_for_well(one_ssh_host: SshEstate) -> None:
    """Where the host cannot compute digests nobody knows what the folder holds, and no fault found is no proof."""
    deployed(one_ssh_host)
    await actuator().apply(UNPACK, run_of(one_ssh_host))
    one_ssh_host.only.write("app/app", "patched by hand")
    one_ssh_host.only.write("bin/sha256sum", "#!/bin/sh\nexit 137\n", mode=0o755)
    seen = await actuator().observe(UNPACK, run_of(one_ssh_host))
    assert seen.presence is Presence.UNKNOWN
    assert "cannot be compared" in seen.words


async def test_a_crash_between_the_renames_is_made_good_on_another_day(one_ssh_host: SshEstate) -> None:
    """What is carried over is found in the folder that was moved away, whatever the date in its name."""
    deployed(one_ssh_host)
    root = one_ssh_host.only.root
    (root / "app").rename(root / "app.before-rb-0004-20240114")
    await actuator().apply(UNPACK, run_of(one_ssh_host))
    assert one_ssh_host.only.read("app/data/orders") == "1, 2, 3"
    assert one_ssh_host.only.read(f"{KEPT}/new") == "only in v2.4.0"


@pytest.mark.parametrize("estate", [ASYNCSSH, SUDO], indirect=True)
async def test_cancelling_while_unpacking_leaves_nothing_behind(estate: Estate) -> None:
    """A cancelled step ends tar on the host, removes what it had unpacked, and leaves the folder."""
    deployed(estate)
    folder = estate.only
    pipe = Signal(folder.root / "begun")
    folder.write(
        "bin/tar", f'#!/bin/sh\n[ $1 = -tzf ] && exec /bin/tar "$@"\necho $$ >{folder.root}/begun\nexec sleep 100\n'
    )
    (folder.root / "bin/tar").chmod(0o755)
    before = folder.files()
    async with asyncio.TaskGroup() as tasks:
        task = tasks.create_task(actuator().apply(UNPACK, run_of(estate)))
        pid = int(await pipe.line())
        task.cancel()
    pipe.close()
    assert await gone(pid)
    assert folder.files() == before


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
async def test_the_owner_is_that_of_the_old_folder(one_ssh_host: SshEstate) -> None:
    """Where the commands run as root, all files get the owner of the folder that they replace."""
    deployed(one_ssh_host)
    os.chown(one_ssh_host.only.root / "app", 1234, 2345)
    await actuator().apply(UNPACK, run_of(one_ssh_host))
    found = (one_ssh_host.only.root / "app/app").stat()
    assert (found.st_uid, found.st_gid) == (1234, 2345)


async def test_a_full_disk_is_told_before(one_ssh_host: SshEstate) -> None:
    """Less room than the artifact needs fails the check."""
    deployed(one_ssh_host)
    one_ssh_host.only.write("bin/df", "#!/bin/sh\necho header\necho /dev/x 10 10 0 100% /\n", mode=0o755)
    found = fails(await actuator().check(UNPACK, run_of(one_ssh_host)))
    assert "unpacking needs 0 MB" in found
    assert "0 MB are free" in found


async def test_a_place_that_cannot_be_written_fails_the_check(one_ssh_host: SshEstate) -> None:
    """A folder whose parent is not there is found out beforehand."""
    one_ssh_host.group["current"] = f"{one_ssh_host.only.base}/none/app"
    found = fails(await actuator().check(UNPACK, run_of(one_ssh_host)))
    assert "the folder /proc/self/cwd/none is not there or cannot be written" in found


async def test_somebody_who_writes_at_the_same_time_is_found_out(one_ssh_host: SshEstate) -> None:
    """The folder is looked at once more after the swap."""
    deployed(one_ssh_host)
    script = '#!/bin/sh\necho other >"/proc/self/cwd/app/app"\n'
    one_ssh_host.only.write("bin/restorecon", script, mode=0o755)
    with pytest.raises(ActuatorError, match="was replaced, and is now") as caught:
        await actuator().apply(UNPACK, run_of(one_ssh_host))
    assert "changed since in app" in caught.value.brief


@pytest.mark.parametrize("keep", ["/etc", "../x", "", "a/../b"])
def test_what_is_carried_over_lies_within(keep: str) -> None:
    """A path that leads out of the folder is refused by the plan."""
    with pytest.raises(ValidationError):
        UnpackArtifact(id="unpack", target="payments-app", backup="build", keep=(keep,))


def test_the_step_says_what_it_does() -> None:
    """Without a title the step has words of its own."""
    assert UNPACK.words() == "Unpack build on payments-app"


async def test_hosts_that_are_down_fail_the_check(one_ssh_host: SshEstate) -> None:
    """What cannot be reached is not looked at any further."""
    await one_ssh_host.servers["app01"].stop()
    (found,) = await actuator().check(UNPACK, run_of(one_ssh_host))
    assert found.verdict is Verdict.FAIL
