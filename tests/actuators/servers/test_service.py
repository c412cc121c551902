from __future__ import annotations

from typing import Any

import pytest

from actuators import servers
from actuators.servers import StartServers, StopServers
from actuators.servers_hosts import ServersStep
from bot.domain.actuation import Actuator, Presence, Verdict
from bot.domain.errors import ActuatorError
from bot.domain.plan import Step
from tests.support.actuation import FakeClock, fails
from tests.support.estates import ASYNCSSH, SUDO
from tests.support.hosts import Estate
from tests.support.ssh import SshEstate

START = StartServers(id="start", target="payments-app")
STOP = StopServers(id="stop", target="payments-app")


def actuator(step: Step) -> Actuator[Any]:
    """Return the registered actuator of a step."""
    return next(entry.actuator for entry in servers.register() if entry.model is type(step))


def with_systemd(estate: Estate, unit: str = "payments.service") -> None:
    """Let the group's service be a systemd unit."""
    estate.group["manager"] = {"kind": "systemd", "unit": unit}


async def test_a_service_is_started_and_stopped_on_every_host(estate: Estate) -> None:
    """Each step is absent before, present after, told host by host, and harmless when repeated."""
    total = len(estate.folders)
    noun = "host" if total == 1 else "hosts"
    for step, wanted, before in ((START, "running", "stopped"), (STOP, "stopped", "running")):
        context, does = estate.context(step), actuator(step)
        seen = await does.observe(step, context)
        assert (seen.presence, seen.words) == (Presence.ABSENT, f"0 of {total} {noun} {wanted}, {total} {before}")
        outcome = await does.apply(step, context)
        assert outcome.words == f"{total} of {total} {noun} {wanted}"
        assert outcome.facts == {"hosts": dict.fromkeys(estate.folders, wanted)}
        seen = await does.observe(step, context)
        assert (seen.presence, seen.words) == (Presence.PRESENT, f"{total} of {total} {noun} {wanted}")
        again = await does.apply(step, context)
        assert again.words == f"{total} of {total} {noun} {wanted} already"
    for folder in estate.folders.values():
        assert folder.log() == ["start", "stop"]


async def test_checks_pass_and_change_nothing(estate: Estate) -> None:
    """All checks of a sound group are OK, name hosts and state, and leave every file as it was."""
    before = {name: folder.files() for name, folder in estate.folders.items()}
    for step in (START, STOP):
        checks = await actuator(step).check(step, estate.context(step))
        assert {check.verdict for check in checks} == {Verdict.OK}
        assert checks[0].subject == "Hosts of payments-app"
        assert checks[-1].words.endswith("stopped")
    assert {name: folder.files() for name, folder in estate.folders.items()} == before


async def test_progress_counts_hosts(estate: Estate) -> None:
    """Progress goes from none to all hosts."""
    await actuator(START).apply(START, estate.context(START))
    total = len(estate.folders)
    assert [(p.done, p.total, p.unit) for p in estate.reports.seen] == [
        (n, total, "hosts") for n in range(total + 1)
    ]


async def test_a_failure_on_one_host_stops_none_of_the_others(ssh_hosts: SshEstate) -> None:
    """The error names the hosts that are done and those that are not, with the service's last words redacted."""
    ssh_hosts.folders["app02"].write("refuses", "")
    context = ssh_hosts.context(START)
    with pytest.raises(ActuatorError) as caught:
        await actuator(START).apply(START, context)
    error = caught.value
    assert error.brief.startswith("Starting the service failed on 1 of 3 hosts. app02: the service did not start: ")
    assert error.untouched == "Done on app01, app03. Not done on app02."
    assert error.resolution
    assert not error.transient
    assert error.output == "app02:\nbind: address in use, password=***"
    seen = await actuator(START).observe(START, context)
    assert (seen.presence, seen.words) == (Presence.ABSENT, "2 of 3 hosts running, 1 stopped")
    (ssh_hosts.folders["app02"].root / "refuses").unlink()
    assert (await actuator(START).apply(START, context)).words == "2 of 3 hosts running already, 1 running"


async def test_an_unreachable_host_makes_the_state_unknown(ssh_hosts: SshEstate) -> None:
    """One host that cannot be asked makes it unknown; acting does the others and fails as a passing fault."""
    await ssh_hosts.servers["app03"].stop()
    context = ssh_hosts.context(STOP)
    seen = await actuator(STOP).observe(STOP, context)
    assert seen.presence is Presence.UNKNOWN
    assert seen.words.startswith("2 of 3 hosts stopped, 1 unreachable. app03: 127.0.1.3:")
    assert seen.facts == {"hosts": {"app01": "stopped", "app02": "stopped", "app03": "unreachable"}}
    with pytest.raises(ActuatorError) as caught:
        await actuator(STOP).apply(STOP, context)
    assert caught.value.transient
    assert caught.value.untouched == "Done on app01, app02. Not done on app03."


async def test_checks_name_every_host_that_fails(ssh_hosts: SshEstate) -> None:
    """A host that is down and one whose service tells nothing each fail a check; the others are looked at."""
    await ssh_hosts.servers["app03"].stop()
    ssh_hosts.folders["app01"].write("silent", "")
    hosts, service = await actuator(STOP).check(STOP, ssh_hosts.context(STOP))
    assert hosts.verdict is Verdict.FAIL
    assert hosts.words.startswith("app03: 127.0.1.3:")
    assert hosts.words.endswith("cannot be reached: Connection refused. Nothing was changed.")
    assert service.verdict is Verdict.FAIL
    assert service.words.startswith("app01: the status command gives no answer (exit code 4)")
    assert "0 when the service runs and 3 when it is stopped" in service.resolution


async def test_a_manager_without_an_answer_is_unknown(estate: Estate) -> None:
    """A status that is neither running nor stopped is never taken for one of them, and nothing is started."""
    estate.only.write("silent", "")
    seen = await actuator(STOP).observe(STOP, estate.context(STOP))
    assert seen.presence is Presence.UNKNOWN
    assert "1 not readable" in seen.words
    with pytest.raises(ActuatorError, match="gives no answer"):
        await actuator(START).apply(START, estate.context(START))
    assert estate.only.log() == []


async def test_a_lying_start_command_is_found_out(estate: Estate) -> None:
    """A start that succeeds while the service does not run is a failure."""
    estate.group["manager"]["start"] = ["true"]
    with pytest.raises(
        ActuatorError, match="the command to start the service succeeded, and the service is stopped"
    ):
        await actuator(START).apply(START, estate.context(START))


@pytest.mark.parametrize("estate", [SUDO], indirect=True)
async def test_refused_sudo_is_a_failed_check_and_acts_on_nothing(estate: Estate) -> None:
    """Where sudo wants a password, the check says so before, and acting leaves the host alone."""
    estate.folders["app02"].write("sudo-refuses", "")
    checks = await actuator(START).check(START, estate.context(START))
    assert [check.verdict for check in checks] == [Verdict.OK, Verdict.FAIL, Verdict.OK]
    assert checks[1].words.startswith("app02: sudo without a password is refused to deploy: ")
    assert "NOPASSWD" in fails(checks)
    with pytest.raises(ActuatorError, match="app02: sudo without a password is refused"):
        await actuator(START).apply(START, estate.context(START))
    assert estate.folders["app02"].log() == []
    assert estate.folders["app01"].log() == ["start"]


@pytest.mark.parametrize("estate", [ASYNCSSH, SUDO], indirect=True)
async def test_a_systemd_unit_is_waited_for(estate: Estate) -> None:
    """A unit on its way is looked at until it has arrived, on the injected clock."""
    with_systemd(estate)
    clock = FakeClock()
    for step, wanted in ((STOP, "stopped"), (START, "running")):
        context = estate.context(step, clock=clock)
        await actuator(step).apply(step, context)
        seen = await actuator(step).observe(step, context)
        assert (seen.presence, seen.words) == (Presence.PRESENT, f"3 of 3 hosts {wanted}")
    assert clock.monotonic() > 0
    assert estate.only.log() == ["stop -- payments.service", "start -- payments.service"]


@pytest.mark.parametrize("estate", [SUDO], indirect=True)
async def test_systemctl_runs_by_sudo_exactly_as_a_sudoers_file_allows_it(estate: Estate) -> None:
    """A sudoers file needs to allow whoami and the two systemctl commands, and no shell, for stop and start."""
    with_systemd(estate)
    for step in (STOP, START):
        context = estate.context(step, clock=FakeClock())
        await actuator(step).check(step, context)
        await actuator(step).apply(step, context)
    allowed = {"whoami", "systemctl stop -- payments.service", "systemctl start -- payments.service"}
    assert set(estate.only.log("sudo.log")) == {f"-n -- {command}" for command in allowed}


@pytest.mark.parametrize("estate", [ASYNCSSH], indirect=True)
async def test_a_unit_that_is_not_there_fails_the_check(estate: Estate) -> None:
    """An unknown unit is never taken for a stopped one."""
    with_systemd(estate, "none.service")
    checks = await actuator(STOP).check(STOP, estate.context(STOP))
    assert "the unit none.service is not-found. Nothing was changed." in fails(checks)
    assert (await actuator(STOP).observe(STOP, estate.context(STOP))).presence is Presence.UNKNOWN


async def test_no_more_hosts_than_the_limit_are_worked_on_at_once(ssh_hosts: SshEstate) -> None:
    """With a limit of one, hosts are done one after the other, in the inventory's order."""
    step = StartServers(id="start", target="payments-app", limit=1)
    order: list[str] = []
    ssh_hosts.reports.on_report = lambda progress: order.append(progress.words)
    await actuator(step).apply(step, ssh_hosts.context(step))
    assert [words.split()[3] for words in order[1:]] == ["app01", "app02", "app03"]


@pytest.mark.parametrize("step", [START, STOP])
async def test_a_group_that_cannot_be_opened_is_a_finding_and_no_crash(
    one_ssh_host: SshEstate, step: ServersStep
) -> None:
    """Without a usable key, checking fails, observing is unknown, and acting is an error; each says why."""
    one_ssh_host.group["ssh"]["key"] = {"env": "NO_SUCH_KEY_HERE"}
    context, does = one_ssh_host.context(step), actuator(step)
    assert "environment variable NO_SUCH_KEY_HERE is not set" in fails(await does.check(step, context))
    seen = await does.observe(step, context)
    assert seen.presence is Presence.UNKNOWN
    assert "NO_SUCH_KEY_HERE" in seen.words
    with pytest.raises(ActuatorError, match="NO_SUCH_KEY_HERE"):
        await does.apply(step, context)


async def test_an_unknown_group_is_told_by_its_name(one_ssh_host: SshEstate) -> None:
    """A step on a group that the inventory does not know fails with that name."""
    step = StopServers(id="stop", target="elsewhere")
    assert "Step stop: elsewhere is not in the inventory." in fails(
        await actuator(step).check(step, one_ssh_host.context(step))
    )


async def test_a_status_that_changes_its_mind_is_no_answer(one_ssh_host: SshEstate) -> None:
    """A manager that cannot be understood at first is not asked to act, whatever it says a moment later."""
    one_ssh_host.only.write("odd", "")
    one_ssh_host.group["manager"]["status"] = ["sh", "-c", "[ ! -f odd ] || { rm odd; exit 4; }; exit 3"]
    with pytest.raises(ActuatorError, match="now this answer, now that") as caught:
        await actuator(START).apply(START, one_ssh_host.context(START))
    assert "app01" in caught.value.untouched
    assert one_ssh_host.only.log() == []


async def test_a_command_that_takes_its_shell_along_is_a_failure(one_ssh_host: SshEstate) -> None:
    """Without a word of how it ended, nothing is taken for done."""
    one_ssh_host.group["manager"]["start"] = ["sh", "-c", "kill -KILL $PPID"]
    with pytest.raises(ActuatorError, match="the service did not start: "):
        await actuator(START).apply(START, one_ssh_host.context(START))


async def test_stopping_and_starting_a_host_takes_one_login_and_one_command_each(one_ssh_host: SshEstate) -> None:
    """Looking, acting and looking again is one command on the host, and the steps of a run share a connection."""
    for step in (START, STOP):
        await actuator(step).apply(step, one_ssh_host.context(step))
        await actuator(step).observe(step, one_ssh_host.context(step))
    server = one_ssh_host.servers["app01"]
    assert len(server.connections) == 1
    assert len(server._children) == 4


def test_steps_say_what_they_do() -> None:
    """Each kind has words of its own, and a title takes their place."""
    assert (START.words(), STOP.words()) == (
        "Start the service on payments-app",
        "Stop the service on payments-app",
    )
    assert StopServers(id="stop", target="payments-app", title="Down with it").words() == "Down with it"
