"""The validation command: by which release, on what, and what it says of the files that stay."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
from pydantic import ValidationError

from actuators import config
from actuators.config import RestoreConfiguration
from actuators.config_valid import ValidConfiguration
from actuators.servers import LinkRelease
from bot.domain.actuation import Check, Context, Fault, Presence, Verdict
from bot.domain.errors import ActuatorError
from tests.support.actuation import fails, make_plan
from tests.support.hosts import NEW_CONF, OLD_CONF, Estate
from tests.support.ssh import SshEstate

RESTORE = RestoreConfiguration(id="config", target="payments-app", backup="cfg")
ACTUATOR = config.register()[0].actuator
LINK = LinkRelease(id="link", target="payments-app", release="v2.3.1")
_PICKY = """#!/bin/sh
# A release that does not know what a later one brought.
if grep -q "^feature" "$1"; then echo "unknown setting: feature" >&2; exit 1; fi
"""


def with_links(estate: Estate, *links: LinkRelease) -> Context:
    """Return the run of a plan that also switches releases; the release that comes back validates."""
    estate.group["validate_config"] = ["{release}/validate", "{file}"]
    context = estate.context(RESTORE)
    backups: list[dict[str, Any]] = [backup.model_dump() for backup in context.plan.backups]
    return dataclasses.replace(context, plan=make_plan(*links, RESTORE, backups=backups))


async def validation(context: Context) -> Check:
    """Return the check of the validation."""
    checks = await ACTUATOR.check(RESTORE, context)
    return next(check for check in checks if check.subject == "Validation of cfg")


async def test_the_release_that_comes_back_judges_the_files(estate: Estate) -> None:
    """`{release}` is the folder that the plan's servers.link names: what the failed release takes is no proof."""
    for folder in estate.folders.values():
        folder.write("releases/v2.4.0/validate", "#!/bin/sh\n", mode=0o755)
        folder.write("releases/v2.3.1/validate", _PICKY, mode=0o755)
    context = with_links(estate, LINK)
    assert (await validation(context)).words.endswith("accept 2 files")
    estate.only.write("backup/cfg/app.conf", "feature = on\n")
    found = await validation(context)
    assert found.verdict is Verdict.FAIL
    assert "refuses app.conf: unknown setting: feature" in found.words
    with pytest.raises(ActuatorError, match=r"refuses app\.conf: unknown setting"):
        await ACTUATOR.apply(RESTORE, context)
    assert estate.only.read("etc/app.conf") == NEW_CONF
    estate.only.write("backup/cfg/app.conf", OLD_CONF)
    await ACTUATOR.apply(RESTORE, context)
    assert estate.only.read("etc/app.conf") == OLD_CONF


async def test_what_the_deployment_brought_and_the_old_release_refuses_is_pointed_out(ssh_hosts: SshEstate) -> None:
    """Files that the backup does not know stay in force: those that what comes back would not take are named."""
    for folder in ssh_hosts.folders.values():
        folder.write("releases/v2.3.1/validate", _PICKY, mode=0o755)
        folder.write("etc/flags.conf", "feature = on\n")
        folder.write("etc/known.conf", "pool = 5\n")
    found = await validation(with_links(ssh_hosts, LINK))
    assert found.verdict is Verdict.WARN
    assert found.words.endswith("accept 2 files; refuse what would stay in place: flags.conf")
    assert "may not work with what the deployment brought" in found.resolution


async def test_a_release_that_is_not_unpacked_yet_judges_when_the_step_runs(one_ssh_host: SshEstate) -> None:
    """Before the release lies on the host nobody can ask it: the check says so, and the step asks it first."""
    context = with_links(one_ssh_host, LINK.model_copy(update={"release": "v2.2.9"}))
    found = await validation(context)
    assert found.verdict is Verdict.WARN
    assert found.words == (
        "1 of 1 host cannot be judged before /proc/self/cwd/releases/v2.2.9 is unpacked; "
        "the step itself asks it first"
    )
    with pytest.raises(ActuatorError, match=r"refuses app\.conf"):
        await ACTUATOR.apply(RESTORE, context)
    assert one_ssh_host.only.read("etc/app.conf") == NEW_CONF
    (one_ssh_host.only.root / "releases/v2.2.9").mkdir()
    one_ssh_host.only.write("releases/v2.2.9/validate", _PICKY, mode=0o755)
    await ACTUATOR.apply(RESTORE, context)
    assert one_ssh_host.only.read("etc/app.conf") == OLD_CONF


@pytest.mark.parametrize(
    ("links", "words"),
    [
        ((), "the plan has no servers.link of the group"),
        (
            (LINK, LINK.model_copy(update={"id": "other", "release": "v2.2.0"})),
            "the plan has more than one servers.link of the group",
        ),
    ],
)
async def test_a_plan_that_does_not_say_which_release_comes_back_is_refused(
    one_ssh_host: SshEstate, links: tuple[LinkRelease, ...], words: str
) -> None:
    """Without one release to ask there is no validation, and without it nothing is replaced."""
    context = with_links(one_ssh_host, *links)
    assert words in fails(await ACTUATOR.check(RESTORE, context))
    with pytest.raises(ActuatorError, match=words):
        await ACTUATOR.apply(RESTORE, context)
    assert one_ssh_host.only.read("etc/app.conf") == NEW_CONF


STILL_VALID = ValidConfiguration(id="valid", target="payments-app")
VALID = next(entry.actuator for entry in config.register() if entry.model is ValidConfiguration)


async def in_place(context: Context, step: ValidConfiguration = STILL_VALID) -> Check:
    """Return the check of what is in place."""
    return (await VALID.check(step, context))[-1]


async def test_a_release_that_does_not_take_todays_configuration_is_not_rolled_back_to(
    ssh_hosts: SshEstate,
) -> None:
    """Old code under new settings may spread the fault: the check stops the rollback before anything is touched."""
    for folder in ssh_hosts.folders.values():
        folder.write("releases/v2.3.1/validate", _PICKY, mode=0o755)
    context = with_links(ssh_hosts, LINK)
    found = await in_place(context)
    assert (found.verdict, found.words) == (Verdict.OK, "3 of 3 hosts restore every file in place")
    last = list(ssh_hosts.folders.values())[-1]
    last.write("etc/flags.conf", "feature = on\n")
    found = await in_place(context)
    assert found.verdict is Verdict.FAIL
    assert "of what is in place now, the validation command refuses flags.conf: unknown setting" in found.words
    assert "fix forward" in found.resolution
    with pytest.raises(ActuatorError, match=r"refuses flags\.conf") as caught:
        await VALID.apply(STILL_VALID, context)
    assert "fix forward" in caught.value.resolution
    (last.root / "etc/flags.conf").unlink()
    outcome = await VALID.apply(STILL_VALID, context)
    assert outcome.words == "3 of 3 hosts accept 2 files in place"
    assert (await VALID.observe(STILL_VALID, context)).presence is Presence.ABSENT


async def test_what_the_plan_does_not_restore_is_judged_before_the_approval(one_ssh_host: SshEstate) -> None:
    """Without a restoring step every file in place is judged, kept ones left out; with `files`, just these."""
    folder = one_ssh_host.only
    folder.write("etc/app.conf.before-rb-0001", "feature = on\n")
    assert (await in_place(one_ssh_host.context(STILL_VALID))).words == "1 of 1 host accept 2 files in place"
    folder.write("etc/database.yml", "broken\n")
    assert (await in_place(one_ssh_host.context(STILL_VALID))).verdict is Verdict.FAIL
    only = STILL_VALID.model_copy(update={"files": ("app.conf",)})
    assert (await in_place(one_ssh_host.context(only), only)).words == "1 of 1 host accept 1 file in place"


async def test_a_validation_in_place_that_cannot_be_done_is_refused(one_ssh_host: SshEstate) -> None:
    """No command, no folder, no file: nobody may take that for valid; a release that is still packed is told."""
    link = LINK.model_copy(update={"release": "v2.2.9"})
    found = await in_place(with_links(one_ssh_host, link))
    assert found.verdict is Verdict.WARN
    assert "cannot be judged before /proc/self/cwd/releases/v2.2.9 is unpacked" in found.words
    one_ssh_host.group["validate_config"] = []
    assert "has no validation command" in fails([await in_place(one_ssh_host.context(STILL_VALID))])
    one_ssh_host.group["validate_config"] = ["true", "{file}"]
    one_ssh_host.group["config"] = f"{one_ssh_host.only.base}/units"
    (one_ssh_host.only.root / "units/payments.service").unlink()
    assert "there is no file in" in fails([await in_place(one_ssh_host.context(STILL_VALID))])
    one_ssh_host.group["config"] = None
    assert "names no folder" in fails([await in_place(one_ssh_host.context(STILL_VALID))])
    await one_ssh_host.servers["app01"].stop()
    one_ssh_host.group["config"] = f"{one_ssh_host.only.base}/etc"
    assert (await in_place(one_ssh_host.context(STILL_VALID))).verdict is Verdict.FAIL
    offered = await VALID.remedies(STILL_VALID, Fault("refuses flags.conf"), one_ssh_host.context(STILL_VALID))  # type: ignore[attr-defined]
    assert [remedy.id for remedy in offered] == ["drift-payments-app"]


@pytest.mark.parametrize("name", ["../x", "/etc/passwd"])
def test_judged_files_are_plain_paths_below_the_folder(name: str) -> None:
    """A path that could leave the folder is refused by the plan."""
    with pytest.raises(ValidationError):
        ValidConfiguration(id="valid", target="payments-app", files=(name,))
