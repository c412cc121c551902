"""What may help a configuration that cannot be restored: who may write, what differs, the context, sudo."""

from __future__ import annotations

from typing import Any

import pytest

from actuators import config, servers
from actuators.config import RestoreConfiguration
from actuators.config_access import Access, Place, obstacle
from actuators.config_drift import ShowDrift
from actuators.config_permissions import RestoreContext, ShowPermissions
from actuators.remedies import paths_named, shown, titled
from actuators.servers import LinkRelease, StopServers
from actuators.servers_versions import ShowVersions
from bot.domain.actuation import Fault, Presence, Registry, Verdict
from bot.domain.errors import ActuatorError
from tests.support import selinux
from tests.support.actuation import fails
from tests.support.estates import is_root
from tests.support.helping import remedies_of, run_remedy
from tests.support.hosts import NEW_CONF, OLD_CONF, OLD_DATABASE, Estate
from tests.support.ssh import SshEstate

RESTORE = RestoreConfiguration(id="config", target="payments-app", backup="cfg")
DRIFT = ShowDrift(id="drift", target="payments-app")
VERSIONS = ShowVersions(id="versions", target="payments-app")
REGISTRY = Registry(*servers.register(), *config.register())
DENIED = "Restoring failed on 1 of 1 hosts. app01: cannot write {}/etc/app.conf: Permission denied."

needs_root = pytest.mark.skipif(not is_root(), reason="only root can take its own rights away")


def permissions(estate: Estate, *names: str) -> ShowPermissions:
    """Return the diagnosis of some paths of the estate."""
    paths = tuple(f"{estate.only.base}/{name}" for name in names)
    return ShowPermissions(id="permissions", target="payments-app", paths=paths)


@needs_root
async def test_a_denied_write_is_explained(one_ssh_host: SshEstate) -> None:
    """Who the bot is, what sudo gives it, and whose folder it is: with what to change in the inventory."""
    one_ssh_host.servers["app01"].as_nobody = True
    context = one_ssh_host.context(RESTORE)
    with pytest.raises(ActuatorError, match="denied") as caught:
        await REGISTRY.actuator(RESTORE).apply(RESTORE, context)
    found = await remedies_of(REGISTRY, RESTORE, context, caught.value.brief)
    assert [remedy.id for remedy in found] == ["permissions", "drift-payments-app"]
    outcome = await run_remedy(REGISTRY, found[0], context)
    assert outcome.words.startswith(
        "1 of 1 host nobody may not write to /proc/self/cwd/etc (drwxr-xr-x root root). "
        "sudo works without a password for deploy on 1 of 1 hosts. With `sudo_if_denied: true`"
    )
    assert "uid=65534(nobody)" in outcome.output
    assert "-rw-r----- 1 root root" in outcome.output or "drwxr-xr-x" in outcome.output


@needs_root
async def test_the_step_can_be_tried_with_sudo_where_the_inventory_allows_it(one_ssh_host: SshEstate) -> None:
    """Only then there is a button; it does the same by sudo, and the failed step counts as done."""
    host = one_ssh_host.servers["app01"]
    host.as_nobody = host.sudo_elevates = True
    brief = DENIED.format(one_ssh_host.only.base)
    one_ssh_host.group["ssh"]["sudo_if_denied"] = True
    context = one_ssh_host.context(RESTORE)
    found = await remedies_of(REGISTRY, RESTORE, context, brief)
    assert [remedy.id for remedy in found] == ["permissions", "drift-payments-app", "with-sudo"]
    assert found[2].settles
    outcome = await run_remedy(REGISTRY, found[2], context)
    assert "got app.conf, database.yml back" in outcome.words
    assert one_ssh_host.only.read("etc/app.conf") == OLD_CONF
    assert (await REGISTRY.actuator(found[2].step).observe(found[2].step, context)).presence is Presence.PRESENT
    again = await remedies_of(REGISTRY, found[2].step, context, brief)
    assert [remedy.id for remedy in again] == ["permissions", "drift-payments-app"]


async def test_sudo_that_the_inventory_does_not_allow_is_refused(estate: Estate) -> None:
    """A step cannot help itself to sudo: the inventory's owner decides, and is told where."""
    step = RESTORE.model_copy(update={"with_sudo": True})
    sudo = (estate.group["ssh"] or {}).get("sudo", False)
    if sudo:
        assert fails(await REGISTRY.actuator(step).check(step, estate.context(step))) == ""
        return
    with pytest.raises(ActuatorError, match="does not let the bot use sudo on payments-app"):
        await REGISTRY.actuator(step).apply(step, estate.context(step))
    assert "sudo_if_denied: true" in fails(await REGISTRY.actuator(step).check(step, estate.context(step)))
    assert (await REGISTRY.actuator(step).observe(step, estate.context(step))).presence is Presence.UNKNOWN
    assert estate.only.read("etc/app.conf") == NEW_CONF


def test_a_step_without_sudo_has_the_digest_that_it_had() -> None:
    """The field stands in a plan only where it is used, so that approvals given before it still hold."""
    assert "with_sudo" not in RESTORE.model_dump(mode="json")
    assert RESTORE.model_copy(update={"with_sudo": True}).model_dump(mode="json")["with_sudo"] is True


async def test_the_security_context_is_put_right_on_exactly_the_files_that_are_wrong(ssh_hosts: SshEstate) -> None:
    """Where SELinux is enforcing, restorecon runs on the file that was denied, if its context is wrong."""
    for folder in ssh_hosts.folders.values():
        selinux.enforce(folder, "database.yml")
    selinux.enforce(ssh_hosts.folders["app02"], "app.conf", "database.yml")
    context = ssh_hosts.context(RESTORE)
    found = await remedies_of(REGISTRY, RESTORE, context, DENIED.format(ssh_hosts.only.base))
    relabel = found[-1]
    assert isinstance(relabel.step, RestoreContext)
    assert relabel.step.paths == ("/proc/self/cwd/etc/app.conf",)
    assert not relabel.settles
    actuator = REGISTRY.actuator(relabel.step)
    seen = await actuator.observe(relabel.step, context)
    assert seen.presence is Presence.ABSENT
    assert seen.words.startswith("2 of 3 hosts labelled as the policy says, 1 with another context of")
    (check,) = await actuator.check(relabel.step, context)
    assert check.verdict is Verdict.OK
    outcome = await run_remedy(REGISTRY, relabel, context)
    assert outcome.words == "2 of 3 hosts labelled as the policy says, 1 labelled anew"
    assert (await actuator.observe(relabel.step, context)).presence is Presence.PRESENT
    assert ssh_hosts.folders["app02"].read("mislabelled") == "database.yml\n"
    outcome = await run_remedy(REGISTRY, found[0], context)
    assert outcome.words.startswith("3 of 3 hosts the modes let root write; SELinux is enforcing")


async def test_without_selinux_there_is_no_context_to_put_right(one_ssh_host: SshEstate) -> None:
    """The button is there only where it can help; a step that is run all the same fails and changes nothing."""
    context = one_ssh_host.context(RESTORE)
    found = await remedies_of(REGISTRY, RESTORE, context, DENIED.format(one_ssh_host.only.base))
    assert [remedy.id for remedy in found] == ["permissions", "drift-payments-app"]
    step = RestoreContext(id="x", target="payments-app", paths=(f"{one_ssh_host.only.base}/etc/app.conf",))
    assert (await REGISTRY.actuator(step).observe(step, context)).presence is Presence.UNKNOWN
    assert "SELinux is not enforcing" in fails(await REGISTRY.actuator(step).check(step, context))
    with pytest.raises(ActuatorError, match="SELinux is not enforcing here") as caught:
        await REGISTRY.actuator(step).apply(step, context)
    assert "Not done on app01" in caught.value.untouched


@needs_root
@pytest.mark.parametrize(
    ("change", "path", "words"),
    [
        (
            "chmod 700 backup",
            "backup/cfg/app.conf",
            "nobody may not pass through /proc/self/cwd/backup (drwx------ root",
        ),
        (
            "chmod 777 etc && chmod 600 etc/app.conf",
            "etc/app.conf",
            "nobody may not read /proc/self/cwd/etc/app.conf (-rw",
        ),
        (
            "chmod 700 backup/cfg/app.conf",
            "backup/cfg/app.conf",
            "nobody may not read /proc/self/cwd/backup/cfg/app.conf",
        ),
        ("true", "nowhere/app.conf", "there is no folder /proc/self/cwd/nowhere, or nobody may not see it"),
        ("chmod 777 etc", "etc/new.conf", "nothing that was looked at keeps nobody from writing"),
    ],
)
async def test_what_is_in_the_way_is_named(one_ssh_host: SshEstate, change: str, path: str, words: str) -> None:
    """The first folder that cannot be passed, the folder that cannot be written, the file that cannot be read."""
    one_ssh_host.servers["app01"].as_nobody = True
    for command in change.split(" && "):
        verb, *arguments = command.split()
        if verb == "chmod":
            (one_ssh_host.only.root / arguments[1]).chmod(int(arguments[0], 8))
    step = permissions(one_ssh_host, path)
    outcome = await REGISTRY.actuator(step).apply(step, one_ssh_host.context(step))
    assert outcome.words.startswith(f"1 of 1 host {words}")


async def test_a_sudo_that_asks_for_a_password_is_what_is_in_the_way(ssh_hosts: SshEstate) -> None:
    """Where the group uses sudo and sudo refuses, that is the finding, host by host."""
    ssh_hosts.group["ssh"]["sudo"] = True
    ssh_hosts.folders["app03"].write("sudo-refuses", "")
    await ssh_hosts.servers["app02"].stop()
    step = permissions(ssh_hosts, "etc/app.conf")
    outcome = await REGISTRY.actuator(step).apply(step, ssh_hosts.context(step))
    assert "1 sudo without a password is refused to deploy: sudo: a password is required" in outcome.words
    assert "1 unreachable" in outcome.words
    checks = await REGISTRY.actuator(step).check(step, ssh_hosts.context(step))
    assert [check.verdict for check in checks] == [Verdict.FAIL]


async def test_drift_is_shown_per_host_without_secrets(ssh_hosts: SshEstate) -> None:
    """Every backup of the plan against every file in place; secrets masked, unreachable hosts told apart."""
    done = ssh_hosts.folders["app01"]
    done.write("etc/app.conf", OLD_CONF)
    done.write("etc/database.yml", OLD_DATABASE)
    done.write("etc/feature.conf", "new = yes\n")
    await ssh_hosts.servers["app03"].stop()
    outcome = await REGISTRY.actuator(DRIFT).apply(DRIFT, ssh_hosts.context(DRIFT))
    assert outcome.words == (
        "cfg: 0 of 3 hosts as in the backup, 1 as in the backup, with feature.conf beside it, "
        "1 different in app.conf, database.yml, 1 unreachable; "
        "one: 1 of 3 hosts as in the backup, 1 different in app.conf, 1 unreachable"
    )
    assert outcome.facts == {"differing": ["app.conf", "database.yml"]}
    assert "app.conf (cfg) on app02:" in outcome.output
    assert "-pool = 5" in outcome.output
    assert "+pool = 20" in outcome.output
    assert "hunter" not in outcome.output
    (check,) = await REGISTRY.actuator(DRIFT).check(DRIFT, ssh_hosts.context(DRIFT))
    assert check.verdict is Verdict.WARN


async def test_drift_needs_something_to_compare_with(estate: Estate) -> None:
    """Without a configuration backup of the group there is nothing to show, and the check says so."""
    context = estate.context(DRIFT)
    bare = context.plan.model_copy(update={"backups": context.plan.backups[:1]})
    context = type(context)(**{**vars(context), "plan": bare})
    assert "no configuration backup of payments-app" in fails(await REGISTRY.actuator(DRIFT).check(DRIFT, context))
    with pytest.raises(ActuatorError, match="nothing to compare with"):
        await REGISTRY.actuator(DRIFT).apply(DRIFT, context)


async def test_versions_are_told_host_by_host(ssh_hosts: SshEstate) -> None:
    """The link and the service of each host: what was left behind is seen at a glance."""
    (ssh_hosts.folders["app02"].root / "current").unlink()
    (ssh_hosts.folders["app02"].root / "current").symlink_to("/proc/self/cwd/releases/v2.3.1")
    ssh_hosts.folders["app01"].write("silent", "")
    await ssh_hosts.servers["app03"].stop()
    context = ssh_hosts.context(VERSIONS)
    outcome = await REGISTRY.actuator(VERSIONS).apply(VERSIONS, context)
    assert outcome.words.startswith(
        "0 of 3 hosts on v2.3.1, running, 1 on v2.4.0, state not known (the status command"
    )
    assert "1 on v2.3.1, stopped, 1 unreachable" in outcome.words
    assert "app03: 127.0.1.3:" in outcome.output
    (check,) = await REGISTRY.actuator(VERSIONS).check(VERSIONS, context)
    assert check.verdict is Verdict.WARN


@pytest.mark.parametrize(
    "step",
    [StopServers(id="stop", target="payments-app"), LinkRelease(id="l", target="payments-app", release="v2.3.1")],
)
async def test_steps_on_servers_know_what_may_help(one_ssh_host: SshEstate, step: Any) -> None:
    """Any failure leads to what runs where; a denied one to who may do what, and to sudo where that is allowed."""
    one_ssh_host.group["ssh"]["sudo_if_denied"] = True
    context = one_ssh_host.context(step)
    assert [r.id for r in await remedies_of(REGISTRY, step, context, "bind: in use")] == ["versions-payments-app"]
    denied = f"app01: cannot switch the link {one_ssh_host.only.base}/current: Permission denied."
    found = await remedies_of(REGISTRY, step, context, denied)
    assert [remedy.id for remedy in found] == ["versions-payments-app", "permissions", "with-sudo"]
    assert isinstance(found[1].step, ShowPermissions)
    assert found[1].step.paths == (f"{one_ssh_host.only.base}/current",)
    unknown = step.model_copy(update={"target": "nowhere"})
    assert await remedies_of(REGISTRY, unknown, context, denied) == ()


async def test_diagnoses_work_on_every_way_to_a_host(estate: Estate) -> None:
    """On the bot's own machine, over SSH with sudo and behind a real sshd alike."""
    total = len(estate.folders)
    step = permissions(estate, "etc/app.conf")
    outcome = await REGISTRY.actuator(step).apply(step, estate.context(step))
    assert outcome.words.startswith(f"{total} of {total} host")
    assert f"{estate.only.base}/etc" in outcome.output
    assert [c.verdict for c in await REGISTRY.actuator(step).check(step, estate.context(step))] == [Verdict.OK]
    outcome = await REGISTRY.actuator(DRIFT).apply(DRIFT, estate.context(DRIFT))
    assert f"{total} different in app.conf, database.yml" in outcome.words
    outcome = await REGISTRY.actuator(VERSIONS).apply(VERSIONS, estate.context(VERSIONS))
    assert f"{total} on v2.4.0, stopped" in outcome.words


async def test_attributes_mounts_and_lists_are_read(one_ssh_host: SshEstate) -> None:
    """What a mode does not show: an immutable file, a read-only file system, access control lists, AppArmor."""
    folder, step = one_ssh_host.only, permissions(one_ssh_host, "etc/app.conf")
    folder.write(
        "bin/lsattr", '#!/bin/sh\ncase $3 in *app.conf) echo "----i---------e------- $3" ;; esac\n', mode=0o755
    )
    folder.write(
        "bin/getfacl", "#!/bin/sh\nprintf 'user::rw-\\nuser:deploy:r--\\ngroup::r--\\nmask::r--\\n'\n", mode=0o755
    )
    outcome = await REGISTRY.actuator(step).apply(step, one_ssh_host.context(step))
    assert "/proc/self/cwd/etc/app.conf is immutable (chattr +i)" in outcome.words
    assert "ACL user:deploy:r--; ACL mask::r--; immutable or append-only" in outcome.output
    assert "user::rw-" not in outcome.output


@needs_root
async def test_a_read_only_file_system_and_a_useless_sudo_are_named(one_ssh_host: SshEstate) -> None:
    """The finding says what no right can change; where sudo gives nothing, nobody is sent there."""
    one_ssh_host.servers["app01"].as_nobody = True
    folder, step = one_ssh_host.only, permissions(one_ssh_host, "etc/app.conf")
    folder.write("bin/findmnt", "#!/bin/sh\necho ro,relatime\n", mode=0o755)
    folder.write("sudo-refuses", "")
    outcome = await REGISTRY.actuator(step).apply(step, one_ssh_host.context(step))
    assert "nobody may not write to /proc/self/cwd/etc (on a read-only file system)" in outcome.words
    assert outcome.words.endswith("the rights themselves must be given to it.")
    assert "sudo: sudo: a password is required" in outcome.output


@pytest.mark.parametrize(
    ("enforcing", "apparmor", "words"),
    [
        ("Enforcing", False, "SELinux is enforcing, so look at the contexts"),
        ("Permissive", True, "AppArmor is on, so look at its profiles (aa-status)"),
        ("none", False, "nothing that was looked at keeps root from writing"),
    ],
)
def test_what_modes_do_not_explain_a_security_module_may(enforcing: str, apparmor: bool, words: str) -> None:  # noqa: FBT001 - a table of cases
    """Where every mode allows it, the kernel's security module is named as what to look at."""
    known = {"may": "rwx", "is": "folder"}
    places = {path: Place(path, dict(known)) for path in ("/", "/etc")}
    access = Access("deploy", "root", True, "", enforcing, apparmor, places, ())  # noqa: FBT003 - see above
    assert words in obstacle(access, ["/etc"], written=["/etc"])


async def test_a_failure_that_is_none_of_rights_leads_to_the_drift_only(one_ssh_host: SshEstate) -> None:
    """A refused validation has nothing to do with permissions; a group without a folder has nothing to show."""
    context = one_ssh_host.context(RESTORE)
    found = await remedies_of(REGISTRY, RESTORE, context, "the validation command refuses app.conf: syntax error")
    assert [remedy.id for remedy in found] == ["drift-payments-app"]
    one_ssh_host.group["config"] = None
    assert await remedies_of(REGISTRY, RESTORE, one_ssh_host.context(RESTORE), "Permission denied") == ()
    unknown = RESTORE.model_copy(update={"target": "nowhere"})
    assert await remedies_of(REGISTRY, unknown, context, "Permission denied") == ()


def test_paths_are_taken_from_a_failure_as_far_as_they_belong_there() -> None:
    """A temporary name counts as its folder; what lies elsewhere is none of the step's."""
    said = "cannot write /etc/pay/.app.conf.rb-1.app01.tmp: denied; /etc/pay/db.yml, /etc/passwd (see /etc/pay)."
    assert paths_named(Fault(said), below=["/etc/pay/"]) == ("/etc/pay", "/etc/pay/db.yml")


def test_details_are_bounded_and_without_secrets() -> None:
    """A finding fits a chat, however much there is to see."""
    text = shown([f"line {number}" for number in range(100)] + ["password = hunter2"], most=10)
    assert text.endswith("line 9\n... and 91 more lines")
    assert shown(["password = hunter2", "x" * 500]).splitlines() == ["password = ***", "x" * 299 + "…"]
    assert titled("y" * 80) == "y" * 59 + "…"
