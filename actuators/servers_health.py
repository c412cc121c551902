"""servers.health: every host of a group calls its service healthy, asked one by one and not through a balancer."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, ClassVar, Literal

from pydantic import Field

from actuators import servers_hosts
from actuators.causes import likely_causes
from actuators.probes import LeavesNothing
from actuators.servers_access import no_way
from actuators.servers_asking import Answer, Asker, asking, health_of
from actuators.servers_help import versions
from actuators.servers_hosts import ServersStep, across, at_once, named, tally
from bot.domain.actuation import Check, Context, Fault, Outcome, Progress, Registered, Remedy, Verdict
from bot.domain.clock import Clock
from bot.domain.errors import ActuatorError
from bot.domain.inventory import Host
from bot.domain.times import Duration, format_duration, parse_duration


class HostsHealthy(ServersStep):
    """Ask every host of a server group again and again until all are healthy or the time is up.

    Attributes:
        version: The version that every host must name as well, if given.
        every: Time between two questions to a host.
        within: Time until all must be healthy.
    """

    reads_only: ClassVar[bool] = True

    kind: Literal["servers.health"] = "servers.health"
    limit: int = Field(default=50, ge=1, le=200)
    version: str | None = Field(default=None, min_length=1)
    every: Duration = parse_duration("1s")
    within: Duration = parse_duration("30s")

    def words(self) -> str:
        """Return the step in words, for people."""
        return self.title or f"Health of every host of {self.target}"


class HealthActuator(LeavesNothing):
    """A probe of each host."""

    async def check(self, step: HostsHealthy, context: Context) -> tuple[Check, ...]:
        """Look whether the hosts answer. The service may well be down: that is no obstacle to a rollback."""
        subject = f"Health of {step.target}"
        try:
            async with (
                servers_hosts.opened(step, context) as (group, transport),
                asking(group, transport, context.clock, version=None) as asker,
            ):
                answers = await ask_all(asker, group.hosts, limit=at_once(group, step.limit))
        except ActuatorError as error:
            return (no_way(step, error),)
        words = in_words(answers, wanted=asker.wanted)
        if all(answer.healthy for answer in answers.values()):
            return (Check(subject, Verdict.OK, words),)
        resolution = "Expected if the service is down; else check `health` of the group in the inventory."
        return (Check(subject, Verdict.WARN, f"{words}. {reasons(answers)}", resolution),)

    async def apply(self, step: HostsHealthy, context: Context) -> Outcome:
        """Wait until every host is healthy."""
        async with (
            servers_hosts.opened(step, context) as (group, transport),
            asking(group, transport, context.clock, version=step.version) as asker,
        ):
            answers = await until_healthy(
                asker,
                group.hosts,
                limit=at_once(group, step.limit),
                every=step.every.total_seconds(),
                within=step.within.total_seconds(),
                clock=context.clock,
                seen=lambda found: context.report(_progress(found, asker.wanted)),
            )
        words = in_words(answers, wanted=asker.wanted)
        if not all(answer.healthy for answer in answers.values()):
            raise ActuatorError(
                f"Not every host of {step.target} is healthy within {format_duration(step.within)}: {words}. "
                f"{reasons(answers)}",
                untouched="The hosts were only asked.",
                resolution="Look at the service's own log on these hosts; retry when they answer.",
            )
        found = {answer.version for answer in answers.values()}
        facts: dict[str, Any] = {"hosts": {name: answer.state for name, answer in answers.items()}}
        if len(found) == 1 and None not in found:
            facts["version"] = found.pop()
        return Outcome(words, facts)

    async def remedies(self, step: HostsHealthy, fault: Fault, context: Context) -> tuple[Remedy, ...]:
        """Return what runs on every host, and where else to look."""
        del fault
        try:
            health_of(servers_hosts.group_of(step, context))
        except ActuatorError:
            return ()
        own = versions(step.target)
        return (own, *(remedy for remedy in likely_causes(context) if remedy.id != own.id))


async def ask_all(asker: Asker, hosts: Sequence[Host], *, limit: int) -> dict[str, Answer]:
    """Ask every host once, side by side; return the answers by host."""
    return (await across(hosts, asker.ask, limit=limit)).good


async def until_healthy(
    asker: Asker,
    hosts: Sequence[Host],
    *,
    limit: int,
    every: float,
    within: float,
    clock: Clock,
    seen: Callable[[dict[str, Answer]], None],
) -> dict[str, Answer]:
    """Ask until all are healthy or the time is up.

    All are asked in each round, so that what is returned was true of all at about the same time.

    Args:
        asker: How.
        hosts: Whom.
        limit: How many at once.
        every: Seconds between two rounds.
        within: Seconds in all.
        clock: The time.
        seen: Is told the answers of each round.

    Returns:
        The last answers, by host.
    """
    began = clock.monotonic()
    while True:
        answers = await ask_all(asker, hosts, limit=limit)
        seen(answers)
        healthy = all(answer.healthy for answer in answers.values())
        if healthy or clock.monotonic() - began + every > within:
            return answers
        await clock.sleep(every)


def in_words(answers: dict[str, Answer], *, wanted: str) -> str:
    """Count the answers: ``3 of 5 hosts healthy on v2.3.1, 1 on v2.4.0, 1 unreachable``."""
    states = {name: answer.state for name, answer in answers.items()}
    return tally(states, total=len(states), wanted=wanted)


def reasons(answers: dict[str, Answer]) -> str:
    """Name every host that is not healthy, with its reason; hosts with the same reason together."""
    by_reason: dict[str, list[str]] = {}
    for name, answer in answers.items():
        if not answer.healthy:
            by_reason.setdefault(answer.why, []).append(name)
    return " ".join(f"{named(names)}: {reason}." for reason, names in by_reason.items())


def _progress(answers: dict[str, Answer], wanted: str) -> Progress:
    done = sum(answer.healthy for answer in answers.values())
    return Progress(done, len(answers), "hosts", in_words(answers, wanted=wanted))


def register() -> tuple[Registered[Any], ...]:
    """Return the step of this module with its actuator."""
    return (Registered(HostsHealthy, HealthActuator()),)
