from __future__ import annotations

import os
import stat
from typing import Any

import pytest
from pydantic import ValidationError

from actuators import config
from actuators.config import RestoreConfiguration
from bot.domain.actuation import Actuator, Presence, Verdict
from bot.domain.errors import ActuatorError
from tests.support.actuation import fails
from tests.support.estates import is_root
from tests.support.hosts import NEW_CONF, NEW_DATABASE, OLD_CONF, OLD_DATABASE, Estate, sha256
from tests.support.ssh import SshEstate

RESTORE = RestoreConfiguration(id="config", target="payments-app", backup="cfg")


def restore(**fields: Any) -> RestoreConfiguration:
    """Return a step with other fields."""
    return RestoreConfiguration.model_validate({**RESTORE.model_dump(), **fields})


def actuator() -> Actuator[Any]:
    """Return the registered actuator."""
    return config.register()[0].actuator


async def test_every_file_is_restored_on_every_host(estate: Estate) -> None:
    """Absent before, present after; the replaced files are kept, modes stay, and a repeat changes nothing."""
    context, total = estate.context(RESTORE), len(estate.folders)
    noun = "host" if total == 1 else "hosts"
    seen = await actuator().observe(RESTORE, context)
    different = f"0 of {total} {noun} as in the backup, {total} different in app.conf, database.yml"
    assert (seen.presence, seen.words) == (Presence.ABSENT, different)
    outcome = await actuator().apply(RESTORE, context)
    done = f"{total} of {total} {noun} got app.conf, database.yml back"
    assert outcome.words == f"{done}. Replaced files are kept as NAME.before-rb-0004."
    for folder in estate.folders.values():
        assert folder.read("etc/app.conf") == OLD_CONF
        assert folder.read("etc/database.yml") == OLD_DATABASE
        assert folder.read("etc/app.conf.before-rb-0004") == NEW_CONF
        assert folder.read("etc/database.yml.before-rb-0004") == NEW_DATABASE
        assert stat.S_IMODE((folder.root / "etc/app.conf").stat().st_mode) == 0o640
        assert stat.S_IMODE((folder.root / "etc/database.yml").stat().st_mode) == 0o600
    seen = await actuator().observe(RESTORE, context)
    assert (seen.presence, seen.words) == (Presence.PRESENT, f"{total} of {total} {noun} as in the backup")
    before = estate.only.files()
    again = await actuator().apply(RESTORE, context)
    assert again.words == f"{total} of {total} {noun} as in the backup"
    assert estate.only.files() == before
    assert estate.only.read("etc/app.conf.before-rb-0004") == NEW_CONF


async def test_checks_pass_and_change_nothing(estate: Estate) -> None:
    """A sound backup passes every check, with its lines of settings counted as the specification does."""
    before = estate.only.files()
    checks = await actuator().check(RESTORE, estate.context(RESTORE))
    assert {check.verdict for check in checks} == {Verdict.OK}
    words = {check.subject: check.words for check in checks}
    assert words["Configuration backup cfg"].endswith("have 2 files with 5 lines of settings")
    assert words["Validation of cfg"].endswith("accept 2 files")
    assert words[f"Folder {estate.only.base}/etc"].endswith("writable")
    assert estate.only.files() == before


async def test_a_refused_file_leaves_every_file_untouched(estate: Estate) -> None:
    """The validation command judges copies first: one refusal on one host, and no file is replaced on any."""
    last = list(estate.folders.values())[-1]
    last.write("backup/cfg/app.conf", "broken\n")
    before = {name: folder.files() for name, folder in estate.folders.items()}
    context = estate.context(RESTORE)
    assert "refuses app.conf: syntax error in line 1 of app.conf" in fails(await actuator().check(RESTORE, context))
    with pytest.raises(ActuatorError) as caught:
        await actuator().apply(RESTORE, context)
    assert "the validation command refuses app.conf: syntax error in line 1 of app.conf" in caught.value.brief
    assert caught.value.untouched == "No file was replaced on any host."
    assert caught.value.resolution
    for name, folder in estate.folders.items():
        assert (folder.read("etc/app.conf"), folder.read("etc/database.yml")) == (NEW_CONF, NEW_DATABASE)
        assert folder.files() == before[name]


async def test_validation_can_be_left_out_by_the_plan(one_ssh_host: SshEstate) -> None:
    """A step that says so restores without the validation command."""
    one_ssh_host.only.write("backup/cfg/app.conf", "broken\n")
    step = restore(validation=False)
    checks = await actuator().check(step, one_ssh_host.context(step))
    assert not any(check.subject.startswith("Validation") for check in checks)
    await actuator().apply(step, one_ssh_host.context(step))
    assert one_ssh_host.only.read("etc/app.conf") == "broken\n"


@pytest.mark.parametrize(
    ("command", "verdict", "words"),
    [
        ([], Verdict.WARN, "without a validation command"),
        (["true"], Verdict.FAIL, "the validation command has no {file}"),
        (["no-such-validator", "{file}"], Verdict.FAIL, "no-such-validator"),
    ],
)
async def test_a_validation_that_cannot_be_done_is_pointed_out(
    estate: Estate, command: list[str], verdict: Verdict, words: str
) -> None:
    """No command is a warning; a command that cannot judge a file beforehand, or is not there, is a failure."""
    estate.group["validate_config"] = command
    checks = await actuator().check(RESTORE, estate.context(RESTORE))
    assert checks[-1].verdict is verdict
    assert words in checks[-1].words
    if verdict is Verdict.FAIL:
        with pytest.raises(ActuatorError):
            await actuator().apply(RESTORE, estate.context(RESTORE))
        assert estate.only.read("etc/app.conf") == NEW_CONF


async def test_only_the_named_files_are_restored(estate: Estate) -> None:
    """With `files`, the others of the backup are left."""
    step = restore(files=["app.conf"])
    await actuator().apply(step, estate.context(step))
    assert estate.only.read("etc/app.conf") == OLD_CONF
    assert estate.only.read("etc/database.yml") == NEW_DATABASE
    assert (await actuator().observe(step, estate.context(step))).presence is Presence.PRESENT


async def test_a_backup_may_be_one_file(estate: Estate) -> None:
    """A backup that is a file is restored under its own name."""
    step = restore(backup="one")
    await actuator().apply(step, estate.context(step, digests={"one": sha256(OLD_CONF.encode())}))
    assert estate.only.read("etc/app.conf") == OLD_CONF
    assert estate.only.read("etc/database.yml") == NEW_DATABASE


async def test_a_file_that_the_deployment_removed_comes_back(estate: Estate) -> None:
    """A file that is not there is made, with the backup's mode."""
    (estate.only.root / "etc/app.conf").unlink()
    (estate.only.root / "backup/cfg/app.conf").chmod(0o604)
    await actuator().apply(RESTORE, estate.context(RESTORE))
    assert estate.only.read("etc/app.conf") == OLD_CONF
    assert stat.S_IMODE((estate.only.root / "etc/app.conf").stat().st_mode) == 0o604
    assert not estate.only.has("etc/app.conf.before-rb-0004")


@pytest.mark.skipif(not is_root(), reason="only root can give files to others")
async def test_the_owner_of_the_replaced_file_is_kept(estate: Estate) -> None:
    """Owner and group stay those of the file that was there."""
    os.chown(estate.only.root / "etc/app.conf", 12345, 12346)
    await actuator().apply(RESTORE, estate.context(RESTORE))
    state = (estate.only.root / "etc/app.conf").stat()
    assert (state.st_uid, state.st_gid) == (12345, 12346)


async def test_files_that_the_backup_does_not_know_are_pointed_out(estate: Estate) -> None:
    """Files that came with the deployment stay, and the approver reads of them."""
    estate.only.write("etc/new.conf", "x")
    checks = await actuator().check(RESTORE, estate.context(RESTORE))
    folder = next(check for check in checks if check.subject.startswith("Folder"))
    assert folder.verdict is Verdict.WARN
    assert "not in the backup, and left: new.conf" in folder.words


async def test_a_crash_before_the_files_are_in_place_is_made_good(estate: Estate) -> None:
    """Copies and temporary files of a killed run are replaced, and none is left at the end."""
    trial = estate.only.root / "etc/.restore.rb-0004-config.app01.tmp"
    trial.mkdir()
    (trial / "app.conf").write_text("half")
    estate.only.write("etc/.app.conf.rb-0004-config.app01.tmp", "half")
    await actuator().apply(RESTORE, estate.context(RESTORE))
    assert sorted(path.name for path in (estate.only.root / "etc").iterdir()) == [
        "app.conf",
        "app.conf.before-rb-0004",
        "database.yml",
        "database.yml.before-rb-0004",
    ]


async def test_a_crash_between_keeping_and_replacing_is_made_good(estate: Estate) -> None:
    """A file that was kept and not yet replaced is not kept a second time."""
    os.link(estate.only.root / "etc/app.conf", estate.only.root / "etc/app.conf.before-rb-0004")
    await actuator().apply(RESTORE, estate.context(RESTORE))
    assert estate.only.read("etc/app.conf.before-rb-0004") == NEW_CONF
    assert not estate.only.has("etc/app.conf.before-rb-0004-2")


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        ("missing", "backup/cfg is not there"),
        ("no files", "backup/cfg holds no file"),
        ("empty file", "backup/cfg/app.conf is empty"),
        ("wrong digest", "is not the one of the plan (its digest differs)"),
        ("missing file", "backup/cfg/none.conf is not there"),
    ],
)
async def test_a_backup_that_cannot_be_trusted_is_refused(estate: Estate, spoil: str, words: str) -> None:
    """A missing, empty or other backup is told on check and apply, and the configuration stays."""
    backup = estate.only.root / "backup/cfg"
    step, digests = RESTORE, {}
    if spoil in {"missing", "no files"}:
        for name in ("app.conf", "database.yml"):
            (backup / name).unlink()
    if spoil == "missing":
        backup.rmdir()
    if spoil == "empty file":
        estate.only.write("backup/cfg/app.conf", "")
    if spoil == "wrong digest":
        digests = {"cfg": sha256(b"another")}
    if spoil == "missing file":
        step = restore(files=["app.conf", "none.conf"])
    context = estate.context(step, digests=digests)
    assert words in fails(await actuator().check(step, context))
    with pytest.raises(ActuatorError) as caught:
        await actuator().apply(step, context)
    assert words in caught.value.brief
    assert caught.value.untouched == "No file was replaced on any host."
    assert estate.only.read("etc/app.conf") == NEW_CONF
    if spoil.startswith("missing"):
        assert (await actuator().observe(step, context)).presence is Presence.UNKNOWN


async def test_the_digest_of_a_folder_is_that_of_its_listing(estate: Estate) -> None:
    """The plan's SHA-256 of a folder is the digest of what `sha256sum` prints for its sorted files."""
    listing = f"{sha256(OLD_CONF.encode())}  app.conf\n{sha256(OLD_DATABASE.encode())}  database.yml\n"
    context = estate.context(RESTORE, digests={"cfg": sha256(listing.encode())})
    await actuator().apply(RESTORE, context)
    assert estate.only.read("etc/app.conf") == OLD_CONF


async def test_a_folder_that_cannot_be_written_fails_the_check(estate: Estate) -> None:
    """Without the folder of the configuration nothing can be put in place, and the check says so."""
    estate.group["config"] = f"{estate.only.base}/none"
    checks = await actuator().check(RESTORE, estate.context(RESTORE))
    assert f"the folder {estate.only.base}/none is not there or cannot be written." in fails(checks)
    estate.group["config"] = None
    assert "names no folder for the configuration" in fails(
        await actuator().check(RESTORE, estate.context(RESTORE))
    )


@pytest.mark.skipif(not is_root(), reason="only root can run the host's commands as somebody without rights")
async def test_a_refused_access_leaves_everything(one_ssh_host: SshEstate) -> None:
    """Without the right to write, the check fails, and acting replaces nothing."""
    one_ssh_host.servers["app01"].as_nobody = True
    context, before = one_ssh_host.context(RESTORE), one_ssh_host.only.files()
    assert "is not there or cannot be written" in fails(await actuator().check(RESTORE, context))
    with pytest.raises(ActuatorError, match="denied"):
        await actuator().apply(RESTORE, context)
    assert one_ssh_host.only.files() == before
    assert one_ssh_host.only.read("etc/app.conf") == NEW_CONF


async def test_a_host_that_fails_in_the_middle_is_named(ssh_hosts: SshEstate) -> None:
    """Where a file cannot be replaced on one host, the others are done, and the error says which is which."""
    place = ssh_hosts.folders["app02"].root / "etc/database.yml"
    place.unlink()
    place.mkdir()
    with pytest.raises(ActuatorError) as caught:
        await actuator().apply(RESTORE, ssh_hosts.context(RESTORE))
    assert "app02: /proc/self/cwd/etc/database.yml is no regular file." in caught.value.brief
    assert caught.value.untouched == "Done on app01, app03. Not done on app02."
    assert ssh_hosts.folders["app03"].read("etc/app.conf") == OLD_CONF


@pytest.mark.parametrize("name", ["../x", "/etc/passwd", "a/../b", "", ".", "..", "a//b"])
def test_files_are_plain_paths_below_the_backup(name: str) -> None:
    """A path that could leave the folder is refused by the plan."""
    with pytest.raises(ValidationError):
        restore(files=[name])
