from __future__ import annotations

import asyncio
from typing import Any

import pytest
from pydantic import ValidationError

from actuators import servers
from actuators.servers import LinkRelease
from bot.domain.actuation import Actuator, Presence, Verdict
from bot.domain.errors import ActuatorError
from tests.support.actuation import fails
from tests.support.estates import ASYNCSSH, SUDO, is_root
from tests.support.hosts import Estate, Folder, Signal, artifact, gone, sha256
from tests.support.ssh import SshEstate

LINK = LinkRelease(id="link", target="payments-app", release="v2.3.1")
UNPACK = LinkRelease(id="link", target="payments-app", release="v2.3.1", backup="build")


def actuator() -> Actuator[Any]:
    """Return the registered actuator."""
    return next(entry.actuator for entry in servers.register() if entry.model is LinkRelease)


def without_release(folder: Folder) -> None:
    """Remove the release's folder."""
    (folder.root / "releases/v2.3.1/app").unlink()
    (folder.root / "releases/v2.3.1").rmdir()


async def test_the_link_is_switched_on_every_host(estate: Estate) -> None:
    """Absent before, present after, told host by host, harmless when repeated; the old release stays."""
    context, total = estate.context(LINK), len(estate.folders)
    noun = "host" if total == 1 else "hosts"
    seen = await actuator().observe(LINK, context)
    assert (seen.presence, seen.words) == (Presence.ABSENT, f"0 of {total} {noun} on v2.3.1, {total} on v2.4.0")
    outcome = await actuator().apply(LINK, context)
    assert outcome.words == f"{total} of {total} {noun} on v2.3.1"
    seen = await actuator().observe(LINK, context)
    assert (seen.presence, seen.words) == (Presence.PRESENT, f"{total} of {total} {noun} on v2.3.1")
    assert (await actuator().apply(LINK, context)).words.endswith("on v2.3.1 already")
    for folder in estate.folders.values():
        assert folder.release() == "v2.3.1"
        assert folder.has("releases/v2.4.0/app")


async def test_checks_pass_and_change_nothing(estate: Estate) -> None:
    """A group that can be switched passes every check, and stays as it was."""
    before = estate.only.files()
    checks = await actuator().check(UNPACK, estate.context(UNPACK))
    assert {check.verdict for check in checks} == {Verdict.OK}
    assert [check.subject for check in checks][-2:] == ["Release v2.3.1 on payments-app", "Link on payments-app"]
    assert (estate.only.files(), estate.only.release()) == (before, "v2.4.0")


async def test_a_release_that_is_gone_is_unpacked_from_its_artifact(estate: Estate) -> None:
    """The artifact is checked by its digest, unpacked whole beside, put in place, and the link switched to it."""
    for folder in estate.folders.values():
        without_release(folder)
    context = estate.context(UNPACK, digests={"build": sha256(artifact())})
    checks = await actuator().check(UNPACK, context)
    assert checks[-2].words.endswith("have the artifact of v2.3.1 to unpack")
    outcome = await actuator().apply(UNPACK, context)
    assert outcome.words.endswith("on v2.3.1, unpacked from its artifact")
    for folder in estate.folders.values():
        assert folder.read("releases/v2.3.1/app") == "v2.3.1"
        assert folder.release() == "v2.3.1"
        assert sorted(path.name for path in (folder.root / "releases").iterdir()) == ["v2.3.1", "v2.4.0"]


@pytest.mark.parametrize("folder_in_archive", ["", "v2.3.1/", "payments_v2.3.1/"])
async def test_an_artifact_holds_the_release_at_its_top_or_in_a_folder_of_its_name(
    one_ssh_host: SshEstate, folder_in_archive: str
) -> None:
    """Both habits of packing end in the same release folder."""
    folder = one_ssh_host.only
    without_release(folder)
    (folder.root / "artifacts/v2.3.1.tar.gz").write_bytes(artifact(folder=folder_in_archive))
    await actuator().apply(UNPACK, one_ssh_host.context(UNPACK))
    assert folder.read("releases/v2.3.1/app") == "v2.3.1"


async def test_an_archive_with_one_other_folder_is_taken_as_it_is(one_ssh_host: SshEstate) -> None:
    """A release that consists of one folder keeps that folder."""
    folder = one_ssh_host.only
    without_release(folder)
    (folder.root / "artifacts/v2.3.1.tar.gz").write_bytes(artifact(folder="bin/"))
    await actuator().apply(UNPACK, one_ssh_host.context(UNPACK))
    assert folder.read("releases/v2.3.1/bin/app") == "v2.3.1"


async def test_a_crash_while_unpacking_is_made_good(estate: Estate) -> None:
    """What a killed run had unpacked in part is thrown away, and the release is unpacked anew."""
    without_release(estate.only)
    left = estate.only.root / "releases/.v2.3.1.rb-0004-link.app01.tmp"
    left.mkdir()
    (left / "half").write_text("half")
    await actuator().apply(UNPACK, estate.context(UNPACK))
    assert estate.only.read("releases/v2.3.1/app") == "v2.3.1"
    assert not estate.only.has("releases/v2.3.1/half")
    assert not left.exists()


@pytest.mark.parametrize(
    ("data", "digest", "words"),
    [
        (artifact()[:60], None, "is damaged or empty"),
        (b"", None, "is damaged or empty"),
        (artifact(content="another"), sha256(artifact()), "is not the one of the plan: its SHA-256 begins with"),
        (None, None, "is not there, and neither is the artifact"),
    ],
)
async def test_an_artifact_that_cannot_be_trusted_is_refused(
    estate: Estate, data: bytes | None, digest: str | None, words: str
) -> None:
    """Missing, damaged or another artifact: check and apply say which, and link and releases stay."""
    without_release(estate.only)
    file = estate.only.root / "artifacts/v2.3.1.tar.gz"
    file.unlink()
    if data is not None:
        file.write_bytes(data)
    context = estate.context(UNPACK, digests={} if digest is None else {"build": digest})
    assert words in fails(await actuator().check(UNPACK, context))
    before = estate.only.files()
    with pytest.raises(ActuatorError) as caught:
        await actuator().apply(UNPACK, context)
    assert words in caught.value.brief
    assert "app01" in caught.value.untouched
    assert (estate.only.files(), estate.only.release()) == (before, "v2.4.0")


async def test_a_missing_release_without_an_artifact_is_refused(estate: Estate) -> None:
    """Without the folder and without a backup in the step there is nothing to switch to."""
    without_release(estate.only)
    context = estate.context(LINK)
    found = fails(await actuator().check(LINK, context))
    assert f"the release folder {estate.only.base}/releases/v2.3.1 is not there." in found
    assert "Name an artifact backup in the step" in found
    with pytest.raises(ActuatorError, match="is not there"):
        await actuator().apply(LINK, context)
    assert estate.only.release() == "v2.4.0"


async def test_a_folder_in_the_links_place_is_refused(estate: Estate) -> None:
    """A folder where the link belongs fails the check, is seen as absent, and is never replaced."""
    (estate.only.root / "current").unlink()
    (estate.only.root / "current").mkdir()
    context = estate.context(LINK)
    assert "is no link" in fails(await actuator().check(LINK, context))
    seen = await actuator().observe(LINK, context)
    assert seen.presence is Presence.ABSENT
    assert "with something else in the link's place" in seen.words
    with pytest.raises(ActuatorError, match="is no link"):
        await actuator().apply(LINK, context)
    assert (estate.only.root / "current").is_dir()


async def test_a_link_to_a_release_that_is_gone_is_not_taken_for_done(estate: Estate) -> None:
    """A link with the right name and no folder behind it is absent, and is repaired from the artifact."""
    await actuator().apply(UNPACK, estate.context(UNPACK))
    without_release(estate.only)
    seen = await actuator().observe(UNPACK, estate.context(UNPACK))
    assert seen.presence is Presence.ABSENT
    assert "1 on v2.3.1 whose folder is gone" in seen.words
    await actuator().apply(UNPACK, estate.context(UNPACK))
    assert (await actuator().observe(UNPACK, estate.context(UNPACK))).presence is Presence.PRESENT


async def test_hosts_on_different_releases_are_counted(ssh_hosts: SshEstate) -> None:
    """A mixed group is told with every release and every host that cannot be asked."""
    (ssh_hosts.folders["app02"].root / "current").unlink()
    (ssh_hosts.folders["app02"].root / "current").symlink_to("releases/v2.3.1")
    context = ssh_hosts.context(LINK)
    seen = await actuator().observe(LINK, context)
    assert (seen.presence, seen.words) == (Presence.ABSENT, "1 of 3 hosts on v2.3.1, 2 on v2.4.0")
    await ssh_hosts.servers["app03"].stop()
    seen = await actuator().observe(LINK, context)
    assert seen.presence is Presence.UNKNOWN
    assert seen.words.startswith("1 of 3 hosts on v2.3.1, 1 on v2.4.0, 1 unreachable. app03: ")
    with pytest.raises(ActuatorError) as caught:
        await actuator().apply(LINK, context)
    assert caught.value.untouched == "Done on app01, app02. Not done on app03."


async def test_an_unexpected_release_is_a_warning(one_ssh_host: SshEstate) -> None:
    """A host on neither the deployed nor the restored version is pointed out before anything happens."""
    one_ssh_host.only.root.joinpath("releases/v1.0").mkdir()
    (one_ssh_host.only.root / "current").unlink()
    (one_ssh_host.only.root / "current").symlink_to("releases/v1.0")
    checks = await actuator().check(LINK, one_ssh_host.context(LINK))
    assert (checks[-1].verdict, checks[-1].words) == (Verdict.WARN, "1 of 1 host on v1.0")


@pytest.mark.parametrize("estate", [ASYNCSSH, SUDO], indirect=True)
async def test_cancelling_while_unpacking_leaves_nothing_behind(estate: Estate) -> None:
    """A cancelled step ends tar on the host, removes what it had unpacked, and leaves the link."""
    folder = estate.only
    without_release(folder)
    pipe = Signal(folder.root / "begun")
    before = folder.files()
    # A tar that says when it has begun, and then takes its time.
    folder.write(
        "bin/tar", f'#!/bin/sh\n[ $1 = -tzf ] && exec /bin/tar "$@"\necho $$ >{folder.root}/begun\nexec sleep 100\n'
    )
    (folder.root / "bin/tar").chmod(0o755)
    async with asyncio.TaskGroup() as tasks:
        task = tasks.create_task(actuator().apply(UNPACK, estate.context(UNPACK)))
        pid = int(await pipe.line())
        task.cancel()
    pipe.close()
    assert await gone(pid)
    assert folder.release() == "v2.4.0"
    assert folder.files() - {"bin/tar"} == before


@pytest.mark.parametrize("release", ["../etc", "a/b", "", ".hidden", "v1;rm", "-x"])
def test_a_release_is_a_plain_name(release: str) -> None:
    """A release that is a path or begins like an option is refused by the plan."""
    with pytest.raises(ValidationError):
        LinkRelease(id="link", target="payments-app", release=release)


async def test_a_backup_of_another_kind_is_refused(one_ssh_host: SshEstate) -> None:
    """The step's backup must be an artifact of the plan."""
    for backup, words in (("cfg", "is a configuration backup"), ("none", "The plan has no backup none.")):
        step = LinkRelease(id="link", target="payments-app", release="v2.3.1", backup=backup)
        context = one_ssh_host.context(step)
        assert words in fails(await actuator().check(step, context))
        assert (await actuator().observe(step, context)).presence is Presence.UNKNOWN
        with pytest.raises(ActuatorError, match=words):
            await actuator().apply(step, context)


@pytest.mark.skipif(not is_root(), reason="only root can be somebody without rights")
async def test_a_release_that_may_not_be_seen_is_not_taken_for_gone(one_ssh_host: SshEstate) -> None:
    """Where the way to the releases is closed it is unknown what lies there, and nothing is switched."""
    one_ssh_host.servers["app01"].as_nobody = True
    (one_ssh_host.only.root / "releases").chmod(0o700)
    seen = await actuator().observe(LINK, one_ssh_host.context(LINK))
    assert seen.presence is Presence.UNKNOWN
    assert "Permission denied" in seen.words
    with pytest.raises(ActuatorError, match="Permission denied"):
        await actuator().apply(LINK, one_ssh_host.context(LINK))
    assert one_ssh_host.only.release() == "v2.4.0"


async def test_a_link_that_cannot_be_read_is_an_error(one_ssh_host: SshEstate) -> None:
    """A host whose tools fail is not readable, and never without a link."""
    one_ssh_host.only.write("bin/readlink", "#!/bin/sh\necho broken >&2\nexit 1\n", mode=0o755)
    seen = await actuator().observe(LINK, one_ssh_host.context(LINK))
    assert seen.presence is Presence.UNKNOWN
    assert "app01: cannot look at /proc/self/cwd/current: broken" in seen.words


async def test_a_file_in_the_releases_place_is_refused(one_ssh_host: SshEstate) -> None:
    """A release is a folder; what else bears its name is left alone, and so is the link."""
    without_release(one_ssh_host.only)
    one_ssh_host.only.write("releases/v2.3.1", "a file")
    with pytest.raises(ActuatorError, match=r"v2\.3\.1 is no folder"):
        await actuator().apply(LINK, one_ssh_host.context(LINK))
    assert one_ssh_host.only.release() == "v2.4.0"


async def test_switching_takes_two_commands_a_host(one_ssh_host: SshEstate) -> None:
    """One look at all there is to see, and one switch."""
    await actuator().apply(LINK, one_ssh_host.context(LINK))
    assert len(one_ssh_host.servers["app01"]._children) == 2
