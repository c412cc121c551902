from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from pydantic import ValidationError

from actuators import servers
from actuators.servers_health import HostsHealthy
from bot.domain.actuation import Actuator, Context, Presence, Verdict
from bot.domain.errors import ActuatorError
from bot.domain.inventory import HostHealth
from tests.actuators.servers.faces import faces
from tests.support.actuation import FakeClock, fails
from tests.support.hosts import Estate
from tests.support.ssh import SshEstate

HEALTH = HostsHealthy(id="health", target="payments-app", version="v2.4.0")
SOON = HEALTH.model_copy(update={"within": timedelta(seconds=1)})


def actuator() -> Actuator[Any]:
    """Return the registered actuator."""
    return next(entry.actuator for entry in servers.register() if entry.model is HostsHealthy)


def on_a_clock(estate: Estate, step: HostsHealthy = HEALTH) -> Context:
    """Return the context of a run on a clock of its own."""
    return estate.context(step, clock=FakeClock())


async def refused(estate: Estate, step: HostsHealthy = HEALTH) -> ActuatorError:
    """Return the error of a probe that fails."""
    with pytest.raises(ActuatorError) as caught:
        await actuator().apply(step, on_a_clock(estate, step))
    return caught.value


async def test_every_host_is_asked_at_its_own_address(estate: Estate) -> None:
    """All hosts are asked once by HTTP, at the address of each, and their common version is a fact."""
    async with faces(estate) as found:
        outcome = await actuator().apply(HEALTH, on_a_clock(estate))
    total = len(found)
    assert outcome.words == f"{total} of {total} {'host' if total == 1 else 'hosts'} healthy on v2.4.0"
    assert outcome.facts == {"hosts": dict.fromkeys(found, "healthy on v2.4.0"), "version": "v2.4.0"}
    assert [face.asked for face in found.values()] == [1] * total
    assert (await actuator().observe(HEALTH, on_a_clock(estate))).presence is Presence.ABSENT


async def test_hosts_are_told_apart(ssh_hosts: SshEstate) -> None:
    """Healthy, another version and no answer are counted; each host that is not well is named with its reason."""
    async with faces(ssh_hosts, only=("app01", "app02")) as found:
        found["app02"].says = {"version": "v2.3.1"}
        error = await refused(ssh_hosts)
    assert error.brief.startswith(
        "Not every host of payments-app is healthy within 30s: "
        "1 of 3 hosts healthy on v2.4.0, 1 on v2.3.1, 1 unreachable. "
        "app02: it runs v2.3.1, not v2.4.0. app03: http:"
    )
    assert "no connection: Connect call failed" in error.brief or "Connection refused" in error.brief
    assert error.untouched == "The hosts were only asked."
    assert error.resolution


@pytest.mark.parametrize(
    ("says", "status", "words"),
    [
        ({"status": "degraded"}, 200, "1 not healthy on v2.4.0. app01: HTTP 200, but status is 'degraded'"),
        ({}, 503, "1 not healthy on v2.4.0. app01: HTTP 503."),
        (
            {"version": None},
            200,
            "1 without a version. app01: it runs a version that it does not tell, not v2.4.0.",
        ),
        ({"version": 24}, 200, "1 without a version."),
    ],
)
async def test_what_is_not_as_expected_is_not_healthy(
    one_ssh_host: SshEstate, says: dict[str, Any], status: int, words: str
) -> None:
    """Another status, a word that is not healthy and a missing version are each told, and none is health."""
    async with faces(one_ssh_host) as found:
        found["app01"].says, found["app01"].status = says, status
        error = await refused(one_ssh_host)
    assert words in error.brief


async def test_it_waits_until_all_are_healthy(ssh_hosts: SshEstate) -> None:
    """Hosts are asked again until all are healthy at the same time, with progress that counts them."""
    async with faces(ssh_hosts) as found:
        found["app02"].says = {"status": "starting"}
        clock = FakeClock(on_sleep=lambda seconds: found["app02"].says.clear() if seconds >= 3 else None)
        context = ssh_hosts.context(HEALTH, clock=clock)
        outcome = await actuator().apply(HEALTH, context)
    assert outcome.words == "3 of 3 hosts healthy on v2.4.0"
    assert clock.monotonic() == 3
    assert [(seen.done, seen.total) for seen in ssh_hosts.reports.seen] == [(2, 3), (2, 3), (2, 3), (3, 3)]
    assert ssh_hosts.reports.seen[0].words == "2 of 3 hosts healthy on v2.4.0, 1 not healthy on v2.4.0"


async def test_a_command_on_the_host_tells_it_as_well(estate: Estate) -> None:
    """Where the inventory has a command, its exit code and its JSON decide, on each host."""
    estate.group["health"] = {"command": ["cat", f"{estate.only.base}/health"]}
    for folder in estate.folders.values():
        folder.write("health", '{"status": "healthy", "version": "v2.4.0"}')
    total = len(estate.folders)
    assert (await actuator().apply(HEALTH, on_a_clock(estate))).words.startswith(f"{total} of {total} host")
    estate.only.write("health", "healthy")
    assert "app01: the health command exits 0, but the body is no object." in (await refused(estate, SOON)).brief
    (estate.only.root / "health").unlink()
    error = await refused(estate, SOON)
    assert "1 not healthy" in error.brief
    assert "app01: the health command exits 1: cat: " in error.brief


async def test_a_command_may_decide_by_its_exit_code_alone(one_ssh_host: SshEstate) -> None:
    """With an empty expectation the exit code is enough, and no version is told."""
    one_ssh_host.group["health"] = {"command": ["true"], "expect": {}}
    step = HostsHealthy(id="health", target="payments-app")
    outcome = await actuator().apply(step, on_a_clock(one_ssh_host, step))
    assert (outcome.words, outcome.facts) == ("1 of 1 host healthy", {"hosts": {"app01": "healthy"}})
    await one_ssh_host.servers["app01"].stop()
    assert "0 of 1 host healthy, 1 unreachable. app01: 127.0.1.1:" in (await refused(one_ssh_host, step)).brief


async def test_a_service_that_is_down_warns_and_does_not_refuse(ssh_hosts: SshEstate) -> None:
    """Before a rollback hosts may well be unhealthy: the check tells it as a warning, and OK when they are not."""
    async with faces(ssh_hosts, only=("app01", "app02")):
        (found,) = await actuator().check(HEALTH, on_a_clock(ssh_hosts))
    assert found.verdict is Verdict.WARN
    assert found.words.startswith("2 of 3 hosts healthy, 1 unreachable. app03: ")
    async with faces(ssh_hosts):
        (found,) = await actuator().check(HEALTH, on_a_clock(ssh_hosts))
    assert (found.verdict, found.words) == (Verdict.OK, "3 of 3 hosts healthy")


async def test_a_group_that_does_not_say_how_fails_the_check(one_ssh_host: SshEstate) -> None:
    """Without `health` in the inventory the check fails and names what to add, and nobody is asked."""
    found = fails(await actuator().check(HEALTH, on_a_clock(one_ssh_host)))
    assert "does not say how the hosts of this group tell their health" in found
    assert "Add `health:" in found
    assert (await refused(one_ssh_host)).untouched == "No host was asked."
    assert one_ssh_host.servers["app01"].connections == []


@pytest.mark.parametrize(("address", "shown"), [("::1", "[::1]"), ("app01.invalid", "app01.invalid")])
async def test_hosts_are_asked_by_name_and_by_ipv6_too(one_ssh_host: SshEstate, address: str, shown: str) -> None:
    """An IPv6 address stands in brackets in what is asked, a name as it is."""
    one_ssh_host.group["health"] = {"port": 9}
    one_ssh_host.group["hosts"][0]["address"] = address
    assert f"app01: http://{shown}:9/health: no connection" in (await refused(one_ssh_host, SOON)).brief


@pytest.mark.parametrize("health", [{}, {"port": 80, "command": ["true"]}, {"port": 80, "path": "health"}])
def test_health_is_asked_in_one_way(health: dict[str, Any]) -> None:
    """A group names a port or a command, never both or none, and a path from the root."""
    with pytest.raises(ValidationError):
        HostHealth.model_validate(health)


def test_the_step_says_what_it_does() -> None:
    """Without a title the step has words of its own."""
    assert HEALTH.words() == "Health of every host of payments-app"
