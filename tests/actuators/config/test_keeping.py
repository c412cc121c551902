"""What stays as it was when files are restored: owner, mode, context, the previous file, what readers see."""

from __future__ import annotations

import asyncio
import os
import stat
import struct
import threading
from pathlib import Path
from typing import Self

import pytest

from actuators import config
from actuators.config import RestoreConfiguration
from bot.domain.actuation import Check, Presence, Registry, Verdict
from bot.domain.errors import ActuatorError
from tests.support import selinux
from tests.support.actuation import fails
from tests.support.estates import is_root
from tests.support.helping import remedies_of
from tests.support.hosts import NEW_CONF, OLD_CONF, OLD_DATABASE, Estate
from tests.support.ssh import SshEstate

RESTORE = RestoreConfiguration(id="config", target="payments-app", backup="cfg")
REGISTRY = Registry(*config.register())
ACTUATOR = REGISTRY.actuator(RESTORE)
CONTEXT = "security.selinux"
LABEL = b"system_u:object_r:payments_conf_t:s0\0"

needs_root = pytest.mark.skipif(not is_root(), reason="only root can give files to others, or label them")


def labelled(path: Path) -> None:
    """Give a file a security context, as a kernel with SELinux keeps it."""
    try:
        os.setxattr(path, CONTEXT, LABEL)
    except OSError as error:
        pytest.skip(f"this file system takes no security context: {error.strerror}")


def folder_check(checks: tuple[Check, ...]) -> Check:
    """Return the check of the folder that files go to."""
    return next(check for check in checks if check.subject.startswith("Folder"))


@needs_root
async def test_owner_mode_and_context_stay_those_of_the_replaced_file(estate: Estate) -> None:
    """Whoever owned the file owns the restored one, with its mode, special bits included, and its context."""
    for folder in estate.folders.values():
        path = folder.root / "etc/app.conf"
        os.chown(path, 12345, 12346)
        path.chmod(0o2640)
        labelled(path)
    await ACTUATOR.apply(RESTORE, estate.context(RESTORE))
    for folder in estate.folders.values():
        path = folder.root / "etc/app.conf"
        state = path.stat()
        assert folder.read("etc/app.conf") == OLD_CONF
        assert (state.st_uid, state.st_gid, stat.S_IMODE(state.st_mode)) == (12345, 12346, 0o2640)
        assert os.getxattr(path, CONTEXT) == LABEL
        kept = folder.root / "etc/app.conf.before-rb-0004"
        assert (kept.stat().st_uid, os.getxattr(kept, CONTEXT)) == (12345, LABEL)
        assert CONTEXT not in os.listxattr(folder.root / "etc/database.yml")


@needs_root
async def test_a_context_that_could_not_be_kept_is_a_failure_with_a_remedy(one_ssh_host: SshEstate) -> None:
    """Where the host refuses the label, the step does not pass for done: the way to put it right is offered."""
    labelled(one_ssh_host.only.root / "etc/app.conf")
    one_ssh_host.only.write("bin/chcon", "#!/bin/sh\nexit 1\n", mode=0o755)
    context = one_ssh_host.context(RESTORE)
    with pytest.raises(ActuatorError, match="restored with another SELinux context: none, and it was") as caught:
        await ACTUATOR.apply(RESTORE, context)
    assert "restorecon -v /proc/self/cwd/etc/app.conf" in caught.value.resolution
    selinux.enforce(one_ssh_host.only, "app.conf")
    found = await remedies_of(REGISTRY, RESTORE, context, caught.value.brief)
    assert [remedy.id for remedy in found] == ["permissions", "drift-payments-app", "restorecon"]


async def test_a_new_file_is_labelled_by_its_own_name(one_ssh_host: SshEstate) -> None:
    """A file that was not there is labelled as the policy says of it, not of the name that it was written under."""
    (one_ssh_host.only.root / "etc/app.conf").unlink()
    selinux.enforce(one_ssh_host.only, "app.conf", "database.yml")
    await ACTUATOR.apply(RESTORE, one_ssh_host.context(RESTORE))
    assert one_ssh_host.only.read("mislabelled") == "database.yml\n"
    (one_ssh_host.only.root / "etc/app.conf").unlink()
    one_ssh_host.only.write("bin/restorecon", "#!/bin/sh\necho 'no such policy' >&2\nexit 1\n", mode=0o755)
    with pytest.raises(ActuatorError, match="as restorecon fails: no such policy"):
        await ACTUATOR.apply(RESTORE, one_ssh_host.context(RESTORE))


class Reader:
    """Reads a file over and over in a thread of its own.

    Args:
        path: The file.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._stop = threading.Event()
        self._begun = threading.Event()
        self._thread = threading.Thread(target=self._read)
        self.seen: set[bytes | str] = set()

    def _read(self) -> None:
        while not self._stop.is_set():
            try:
                self.seen.add(self._path.read_bytes())
            except OSError as error:
                self.seen.add(str(error))
            self._begun.set()

    async def __aenter__(self) -> Self:
        self._thread.start()
        await asyncio.to_thread(self._begun.wait, 10)
        return self

    async def __aexit__(self, *_: object) -> None:
        self._stop.set()
        await asyncio.to_thread(self._thread.join, 10)


async def test_a_reader_sees_the_old_file_or_the_new_one(estate: Estate) -> None:
    """Whoever reads all the time never finds a part, a mixture, or no file."""
    old, new = "old = 1\n" * 250_000, "new = 2\n" * 250_000
    estate.only.write("etc/app.conf", new)
    estate.only.write("backup/cfg/app.conf", old)
    async with Reader(estate.only.root / "etc/app.conf") as reader:
        await ACTUATOR.apply(RESTORE, estate.context(RESTORE))
        await asyncio.to_thread((estate.only.root / "etc/app.conf").read_bytes)
    reader.seen.add((estate.only.root / "etc/app.conf").read_bytes())
    assert reader.seen == {old.encode(), new.encode()}


async def test_a_second_run_does_not_overwrite_what_the_first_kept(estate: Estate) -> None:
    """What was in place before the rollback is kept for good; a later state gets a name of its own."""
    context = estate.context(RESTORE)
    await ACTUATOR.apply(RESTORE, context)
    for _ in range(2):
        estate.only.write("etc/app.conf", "edited by hand\n")
        await ACTUATOR.apply(RESTORE, context)
    assert estate.only.read("etc/app.conf") == OLD_CONF
    assert estate.only.read("etc/app.conf.before-rb-0004") == NEW_CONF
    assert estate.only.read("etc/app.conf.before-rb-0004-2") == "edited by hand\n"
    assert not estate.only.has("etc/app.conf.before-rb-0004-3")


async def test_files_of_sub_folders_are_restored_too(estate: Estate) -> None:
    """The backup's folder is listed to the bottom; a folder that the deployment removed is made again."""
    folder = estate.only
    # The path of the one host itself: mkdir -p goes from folder to folder, so /proc/self/cwd would not stay.
    estate.group |= {"hosts": estate.group["hosts"][:1], "config": f"{folder.root}/etc"}
    for sub in ("backup/cfg/conf.d/deep", "backup/cfg/gone", "etc/conf.d/deep"):
        (folder.root / sub).mkdir(parents=True)
    folder.write("backup/cfg/conf.d/deep/x.conf", "x = old\n")
    folder.write("etc/conf.d/deep/x.conf", "x = new\n", mode=0o604)
    folder.write("backup/cfg/gone/y.conf", "y = old\n")
    context = estate.context(RESTORE)
    assert fails(await ACTUATOR.check(RESTORE, context)) == ""
    await ACTUATOR.apply(RESTORE, context)
    assert folder.read("etc/conf.d/deep/x.conf") == "x = old\n"
    assert stat.S_IMODE((folder.root / "etc/conf.d/deep/x.conf").stat().st_mode) == 0o604
    assert folder.read("etc/conf.d/deep/x.conf.before-rb-0004") == "x = new\n"
    assert folder.read("etc/gone/y.conf") == "y = old\n"
    assert folder.read("etc/database.yml") == OLD_DATABASE
    assert (await ACTUATOR.observe(RESTORE, context)).presence is Presence.PRESENT


@needs_root
async def test_a_file_that_cannot_be_replaced_is_found_by_the_check(one_ssh_host: SshEstate) -> None:
    """No right to a sub folder, an owner that cannot be kept, or no regular file: told before anything is tried."""
    folder, host = one_ssh_host.only, one_ssh_host.servers["app01"]
    host.as_nobody = True
    (folder.root / "etc").chmod(0o777)
    for name in ("app.conf", "database.yml"):
        (folder.root / "etc" / name).chmod(0o644)
    context = one_ssh_host.context(RESTORE)
    said = fails(await ACTUATOR.check(RESTORE, context))
    assert "app01: /proc/self/cwd/etc/app.conf belongs to root:root, which nobody cannot keep." in said
    assert "Set `sudo` for the group" in said
    for name in ("app.conf", "database.yml"):
        os.chown(folder.root / "etc" / name, 65534, 65534)
    (folder.root / "backup/cfg/sub").mkdir()
    folder.write("backup/cfg/sub/x.conf", "x\n")
    (folder.root / "etc/sub").mkdir(mode=0o755)
    said = fails(await ACTUATOR.check(RESTORE, context))
    assert "app01: nobody may not write to /proc/self/cwd/etc/sub (drwxr-xr-x root root)." in said
    (folder.root / "etc/sub").rmdir()
    said = fails(await ACTUATOR.check(RESTORE, context))
    assert "app01: /proc/self/cwd/etc/sub/x.conf belongs to root:root, which nobody cannot keep." in said
    os.chown(folder.root / "etc", 65534, 65534)
    assert fails(await ACTUATOR.check(RESTORE, context)) == ""
    (folder.root / "etc/app.conf").unlink()
    (folder.root / "etc/app.conf").symlink_to("database.yml")
    assert "/proc/self/cwd/etc/app.conf is no regular file." in fails(await ACTUATOR.check(RESTORE, context))


async def test_an_access_control_list_that_would_be_lost_is_pointed_out(one_ssh_host: SshEstate) -> None:
    """Beyond owner, mode and context nothing is taken over, so the approver reads what would be missing."""
    entries = ((1, 6, -1), (2, 4, 12345), (4, 4, -1), (16, 4, -1), (32, 0, -1))
    packed = b"".join(struct.pack("<HHi", *entry) for entry in entries)
    for folder in one_ssh_host.folders.values():
        try:
            os.setxattr(folder.root / "etc/app.conf", "system.posix_acl_access", struct.pack("<I", 2) + packed)
        except OSError as error:
            pytest.skip(f"this file system takes no access control list: {error.strerror}")
    found = folder_check(await ACTUATOR.check(RESTORE, one_ssh_host.context(RESTORE)))
    assert found.verdict is Verdict.WARN
    assert found.words.endswith("which the restored file will not have: app.conf")
    assert "getfacl" in found.resolution
