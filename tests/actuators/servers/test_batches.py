from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from actuators import servers
from actuators.servers import LinkRelease, StartServers, StopServers
from actuators.servers_batches import BatchedStep, batches
from bot.domain.actuation import Actuator
from bot.domain.errors import ActuatorError
from bot.domain.inventory import Host
from bot.domain.plan import Step
from tests.support.ssh import SshEstate


def actuator(step: Step) -> Actuator[Any]:
    """Return the registered actuator of a step."""
    return next(entry.actuator for entry in servers.register() if entry.model is type(step))


@pytest.mark.parametrize(
    ("total", "serial", "sizes"),
    [
        (5, (), [5]),
        (5, 2, [2, 2, 1]),
        (5, "25%", [1, 1, 1, 1, 1]),
        (50, "25%", [12, 12, 12, 12, 2]),
        (3, "10%", [1, 1, 1]),
        (10, [1, "30%", "100%"], [1, 3, 6]),
        (10, [1, 4], [1, 4, 4, 1]),
        (2, 9, [2]),
    ],
)
def test_batches_have_the_sizes_that_are_asked_for(total: int, serial: Any, sizes: list[int]) -> None:
    """A count, a per cent rounded down but never to nothing, or a list whose last size holds for the rest."""
    step = StopServers(id="stop", target="payments-app", serial=serial)
    hosts = [Host(name=f"app{number}") for number in range(total)]
    made = list(batches(hosts, step.serial))
    assert [len(batch) for batch in made] == sizes
    assert [host for batch in made for host in batch] == hosts


@pytest.mark.parametrize("serial", [0, -1, "0%", "101%", "half", "25", [1, 0], 1.5, True])
def test_a_batch_without_a_size_is_refused(serial: Any) -> None:
    """What is no number of hosts and no per cent is refused by the plan."""
    with pytest.raises(ValidationError):
        StopServers(id="stop", target="payments-app", serial=serial)


@pytest.mark.parametrize("failures", [-1, "5", "200%"])
def test_a_limit_of_failures_is_a_share_too(failures: Any) -> None:
    """Failures are counted in hosts or in per cent of the group."""
    with pytest.raises(ValidationError):
        StopServers(id="stop", target="payments-app", max_failures=failures)


def test_plans_without_batches_are_written_as_they_were() -> None:
    """A step that uses none of it has the digest that it always had."""
    for model in (StopServers, StartServers):
        assert not {"serial", "max_failures"} & model(id="x", target="y").model_dump().keys()
    step: BatchedStep = StopServers(id="x", target="y", serial=["10%", 4], max_failures="20%")
    assert StopServers.model_validate(step.model_dump(mode="json")) == step


async def test_a_batch_ends_before_the_next_begins(ssh_hosts: SshEstate) -> None:
    """Progress counts through all batches, and within a batch hosts are worked on side by side."""
    step = StartServers(id="start", target="payments-app", serial=[2, 1])
    outcome = await actuator(step).apply(step, ssh_hosts.context(step))
    assert outcome.words == "3 of 3 hosts running"
    words = [progress.words for progress in ssh_hosts.reports.seen]
    assert words[-1] == "Starting the service: app03 has ended"
    assert [progress.done for progress in ssh_hosts.reports.seen] == [0, 1, 2, 3]


@pytest.mark.parametrize("step", [
    StartServers(id="start", target="payments-app", serial=1),
    LinkRelease(id="link", target="payments-app", release="v2.3.1", serial=1),
])  # fmt: skip
async def test_hosts_that_were_not_begun_are_told_apart(ssh_hosts: SshEstate, step: BatchedStep) -> None:
    """After a failure no further batch is begun, and nothing was touched on its hosts."""
    await ssh_hosts.servers["app02"].stop()
    with pytest.raises(ActuatorError) as caught:
        await actuator(step).apply(step, ssh_hosts.context(step))
    assert "failed on 1 of 3 hosts. app02: " in caught.value.brief
    assert caught.value.untouched == (
        "Done on app01. Not done on app02. Not begun on app03, because too many had failed."
    )
    assert ssh_hosts.servers["app03"].connections == []


async def test_failures_may_be_a_per_cent_of_the_group(ssh_hosts: SshEstate) -> None:
    """With 40 % of three hosts one may fail, and the last batch is begun."""
    await ssh_hosts.servers["app01"].stop()
    step = StartServers(id="start", target="payments-app", serial=1, max_failures="40%")
    with pytest.raises(ActuatorError) as caught:
        await actuator(step).apply(step, ssh_hosts.context(step))
    assert caught.value.untouched == "Done on app02, app03. Not done on app01."
