from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from actuators.transport import HostError, Transport, open_group, remote_files
from bot.domain.inventory import Host, ServerGroup
from tests.support.estates import is_root, linux_only
from tests.support.hosts import Estate, Folder
from tests.support.ssh import SshEstate


class Way:
    """The way to one host, and what lies there."""

    def __init__(self, transport: Transport, host: Host, folder: Folder) -> None:
        self.transport = transport
        self.host = host
        self.folder = folder

    def path(self, name: str) -> str:
        """Return a path as the transport takes it."""
        return f"{self.folder.base}/{name}"

    async def write(self, name: str, data: bytes, *, mode: int = 0o600, keep: str | None = None) -> None:
        """Write a file."""
        kept = None if keep is None else self.path(keep)
        await self.transport.write_file_atomic(self.host, self.path(name), data, mode=mode, keep=kept)


@pytest.fixture
async def way(estate: Estate) -> AsyncIterator[Way]:
    """Give the way to the first host."""
    group = ServerGroup.model_validate(estate.group)
    async with open_group(group, "rb-1-step") as transport:
        yield Way(transport, group.hosts[0], estate.only)


async def test_a_file_is_replaced_with_the_mode_that_was_asked_for(way: Way) -> None:
    """The new content is there with its mode, any bytes come through, and nothing else is left in the folder."""
    before = way.folder.files()
    data = bytes(range(256)) * 300
    await way.write("etc/app.conf", data, mode=0o640)
    path = way.folder.root / "etc/app.conf"
    assert path.read_bytes() == data
    assert stat.S_IMODE(path.stat().st_mode) == 0o640
    assert await way.transport.read_file(way.host, way.path("etc/app.conf")) == data
    assert way.folder.files() == before


async def test_the_replaced_file_is_kept_once(way: Way) -> None:
    """The old file is kept; a repeat keeps it as it is, and another content gets a name of its own."""
    old = way.folder.read("etc/app.conf")
    await way.write("etc/app.conf", b"new", keep="etc/app.conf.before")
    assert way.folder.read("etc/app.conf.before") == old
    way.folder.write("etc/app.conf", "edited by hand")
    await way.write("etc/app.conf", b"new", keep="etc/app.conf.before")
    await way.write("etc/app.conf", b"new", keep="etc/app.conf.before-2")
    assert way.folder.read("etc/app.conf.before") == old
    assert way.folder.read("etc/app.conf.before-2") == "edited by hand"


async def test_a_crash_between_writing_and_renaming_is_made_good(way: Way) -> None:
    """A temporary file or link that a killed run left is replaced, and goes away."""
    for name in ("etc/app.conf", "current"):
        left = way.transport.temporary(way.host, way.path(name)).removeprefix(way.folder.base)
        way.folder.write(left.lstrip("/"), "half a fi")
    before = {name for name in way.folder.files() if not name.endswith(".tmp")}
    await way.write("etc/app.conf", b"whole")
    await way.transport.symlink_atomic(way.host, way.path("current"), way.path("releases/v2.3.1"))
    assert way.folder.read("etc/app.conf") == "whole"
    assert way.folder.release() == "v2.3.1"
    assert way.folder.files() == before


async def test_folders_on_the_way_are_made(way: Way) -> None:
    """A file in a folder that is not there yet gets it."""
    await way.write("etc/conf.d/x.conf", b"x")
    assert way.folder.read("etc/conf.d/x.conf") == "x"


async def test_a_link_is_switched_without_a_gap_and_made_where_there_is_none(way: Way) -> None:
    """The link is never away: its folder entry is replaced by a rename; a missing one is made."""
    link = way.path("current")
    assert await way.transport.read_link(way.host, link) == way.path("releases/v2.4.0")
    await way.transport.symlink_atomic(way.host, link, way.path("releases/v2.3.1"))
    assert await way.transport.read_link(way.host, link) == way.path("releases/v2.3.1")
    (way.folder.root / "current").unlink()
    assert await way.transport.read_link(way.host, link) is None
    await way.transport.symlink_atomic(way.host, link, way.path("releases/v2.3.1"))
    assert way.folder.release() == "v2.3.1"


async def test_a_relative_link_is_read_as_an_absolute_path(way: Way) -> None:
    """A link that says `releases/v2.4.0` leads to the folder beside it."""
    (way.folder.root / "current").unlink()
    (way.folder.root / "current").symlink_to("releases/v2.4.0")
    assert await way.transport.read_link(way.host, way.path("current")) == way.path("releases/v2.4.0")


async def test_a_folder_in_the_links_place_stays(way: Way) -> None:
    """What is no link is not replaced by one."""
    (way.folder.root / "current").unlink()
    (way.folder.root / "current").mkdir()
    with pytest.raises(HostError, match="it is there and is no link"):
        await way.transport.symlink_atomic(way.host, way.path("current"), way.path("releases/v2.3.1"))
    assert (way.folder.root / "current").is_dir()
    assert not [name for name in way.folder.files() if name.endswith(".tmp")]


async def test_looking_tells_what_is_there_and_what_is_not(way: Way) -> None:
    """Files, folders, links and nothing are told apart; digests are those of the contents."""
    transport, host = way.transport, way.host
    file = await transport.stat(host, way.path("etc/app.conf"))
    folder = await transport.stat(host, way.path("etc"))
    link = await transport.stat(host, way.path("current"))
    assert file is not None
    assert folder is not None
    assert link is not None
    assert (file.is_file, file.permissions, file.size) == (True, 0o640, len(way.folder.read("etc/app.conf")))
    assert (folder.is_folder, link.is_link, link.is_file) == (True, True, False)
    for missing in ("etc/none", "etc/app.conf/none"):
        assert await transport.stat(host, way.path(missing)) is None
    assert await transport.listdir(host, way.path("backup")) == ("cfg/app.conf", "cfg/database.yml")
    digests = await transport.digests(host, [way.path("etc/app.conf"), way.path("etc/none")])
    expected = hashlib.sha256((way.folder.root / "etc/app.conf").read_bytes()).hexdigest()
    assert digests == {way.path("etc/app.conf"): expected, way.path("etc/none"): None}
    assert await transport.writable(host, way.path("etc"))
    assert not await transport.writable(host, way.path("none"))


async def test_what_cannot_be_read_is_told_with_the_hosts_name(way: Way) -> None:
    """Reading what is not there, or what is no file, names host and path."""
    for name in ("etc/none", "etc"):
        with pytest.raises(HostError) as caught:
            await way.transport.read_file(way.host, way.path(name))
        assert caught.value.brief.startswith(f"app01: cannot read {way.path(name)}: ")
        assert caught.value.resolution


async def test_a_file_that_is_too_large_for_a_configuration_is_refused(way: Way) -> None:
    """Nothing beyond eight megabytes is read into memory."""
    with (way.folder.root / "etc/huge").open("wb") as file:
        file.truncate(8 * 1024 * 1024 + 1)
    with pytest.raises(HostError, match="larger than 8388608 bytes"):
        await way.transport.read_file(way.host, way.path("etc/huge"))


async def test_removing_a_folder_twice_is_harmless(way: Way) -> None:
    """A folder is removed with all it holds; a missing one is fine."""
    for _ in range(2):
        await way.transport.remove_folder(way.host, way.path("backup"))
    assert not way.folder.has("backup")


async def test_data_that_did_not_arrive_whole_is_not_put_in_place(one_ssh_host: SshEstate) -> None:
    """A connection cut in the middle looks like the end of the data: the file stays, and no part is left."""
    group = ServerGroup.model_validate(one_ssh_host.group)
    folder, host = one_ssh_host.only, group.hosts[0]
    old, before = folder.read("etc/app.conf"), folder.files()
    digest = hashlib.sha256(b"the whole file").hexdigest()
    path = f"{folder.base}/etc/app.conf"
    async with open_group(group, "t") as transport:
        argv = ["sh", "-c", remote_files._WRITE, "sh", path, f"{path}.tmp", digest, "0600", "", f"{path}.kept"]
        finished = await transport.run(host, argv, stdin=b"the whole")
    assert not finished.ok
    assert "the data did not arrive whole" in finished.err
    assert folder.read("etc/app.conf") == old
    assert folder.files() == before


@pytest.mark.skipif(not is_root(), reason="only root can give files to others")
async def test_owner_and_group_are_set(way: Way) -> None:
    """The file belongs to whom it is to belong to."""
    await way.transport.write_file_atomic(
        way.host, way.path("etc/app.conf"), b"x", mode=0o600, owner=(12345, 12346)
    )
    state = (way.folder.root / "etc/app.conf").stat()
    assert (state.st_uid, state.st_gid) == (12345, 12346)


@linux_only
@pytest.mark.skipif(not is_root(), reason="only root can run the host's commands as somebody without rights")
async def test_a_refused_access_over_ssh_says_so_and_changes_nothing(one_ssh_host: SshEstate) -> None:
    """Without the right to a folder or file, the error says "denied", and what to do about it."""
    group = ServerGroup.model_validate(one_ssh_host.group)
    folder, host = one_ssh_host.only, group.hosts[0]
    one_ssh_host.servers["app01"].as_nobody = True
    before, path = folder.files(), f"{folder.base}/etc/app.conf"
    folder.write("closed", "x", mode=0o600)
    async with open_group(group, "t") as transport:
        assert not await transport.writable(host, f"{folder.base}/etc")
        with pytest.raises(HostError) as writing:
            await transport.write_file_atomic(host, path, b"x", mode=0o600)
        with pytest.raises(HostError) as reading:
            await transport.read_file(host, f"{folder.base}/closed")
        with pytest.raises(HostError) as linking:
            await transport.symlink_atomic(host, f"{folder.base}/current", f"{folder.base}/releases/v2.3.1")
    for caught in (writing, reading, linking):
        assert "denied" in caught.value.brief
        assert "sudo" in caught.value.resolution
    assert folder.files() == before | {"closed"}
    assert folder.release() == "v2.4.0"


@linux_only
@pytest.mark.skipif(not is_root(), reason="only root can run the host's commands as somebody without rights")
async def test_a_digest_behind_a_closed_folder_is_not_told_as_nothing(one_ssh_host: SshEstate) -> None:
    """What lies where the login may not look is an error, and never a file that is not there."""
    group = ServerGroup.model_validate(one_ssh_host.group)
    folder, host = one_ssh_host.only, group.hosts[0]
    one_ssh_host.servers["app01"].as_nobody = True
    (folder.root / "shut").mkdir()
    folder.write("shut/file", "x")
    (folder.root / "shut").chmod(0o700)
    async with open_group(group, "t") as transport:
        with pytest.raises(HostError, match="Permission denied"):
            await transport.digests(host, [f"{folder.base}/shut/file"])
        none = f"{folder.base}/etc/none"
        assert await transport.digests(host, [none]) == {none: None}


@pytest.mark.skipif(is_root(), reason="no file is closed to root")
async def test_a_refused_access_on_this_machine_says_so_and_changes_nothing(place: Path) -> None:
    """Without the right to a folder, the error says "denied", and what to do about it."""
    group = ServerGroup.model_validate(
        {
            "service": "x",
            "hosts": [{"name": "app01"}],
            "manager": {"kind": "systemd", "unit": "x"},
            "releases": "/r",
            "current": "/c",
        }
    )
    closed = place / "closed"
    closed.mkdir(mode=0o500)
    async with open_group(group, "t") as transport:
        with pytest.raises(HostError, match="Permission denied"):
            await transport.write_file_atomic(group.hosts[0], f"{closed}/x", b"x", mode=0o600)
    assert os.listdir(closed) == []  # noqa: PTH208 - names are enough
