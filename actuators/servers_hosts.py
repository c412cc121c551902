"""Doing the same on every host of a group: side by side, with a result for each."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from pydantic import Field

from actuators.targets import target_of
from actuators.transport import (
    HostError,
    HostKeyError,
    HostUnreachableError,
    LoginRefusedError,
    Transport,
    open_group,
)
from bot.domain.actuation import Check, Context, Observation, Presence, Verdict
from bot.domain.errors import ActuatorError
from bot.domain.inventory import Host, ServerGroup
from bot.domain.plan import Backup, BackupKind, Step

T = TypeVar("T")

_NAMED = 5
"""Hosts that are named one by one in a sentence; of the rest only the number is told."""


def _unused(value: object) -> bool:
    """Leave a field that was added later out of the canonical plan where it is not used: digests stay the same."""
    return not value


class ServersStep(Step):
    """A step on every host of a server group.

    Attributes:
        limit: Hosts that are worked on at once.
        with_sudo: Whether the commands run by sudo although the group does without; only where its
            `sudo_if_denied` allows it.
    """

    limit: int = Field(default=10, ge=1, le=200)
    with_sudo: bool = Field(default=False, exclude_if=_unused)


@dataclass
class Results(Generic[T]):
    """What came of it on every host.

    Attributes:
        good: The result by the host's name.
        bad: The failure by the host's name.
        idle: The hosts on which nothing was begun, because too many others had failed.
    """

    good: dict[str, T] = field(default_factory=dict)
    bad: dict[str, HostError] = field(default_factory=dict)
    idle: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Finding:
    """What a check found on one host.

    Attributes:
        words: The finding, the same words on hosts that are alike.
        verdict: OK or WARN; a failure is raised.
        resolution: What to do about a WARN.
    """

    words: str
    verdict: Verdict = Verdict.OK
    resolution: str = ""


def group_of(step: Step, context: Context) -> ServerGroup:
    """Return the server group that the step acts on.

    Raises:
        ActuatorError: If the inventory has no server group of that name.
    """
    return target_of(step, context, ServerGroup, called="server group", section="server_groups")


def _with_sudo(step: ServersStep, group: ServerGroup) -> ServerGroup:
    """Return the group reached by sudo.

    Raises:
        ActuatorError: If the inventory does not allow that.
    """
    if group.ssh is None or not (group.ssh.sudo or group.ssh.sudo_if_denied):
        raise ActuatorError(
            f"The inventory does not let the bot use sudo on {step.target}.",
            untouched="No host was contacted.",
            resolution="Set `sudo_if_denied: true` (or `sudo: true`) at `ssh` of the group, or take with_sudo out.",
        )
    return group.model_copy(update={"ssh": group.ssh.model_copy(update={"sudo": True})})


def backup_of(backup_id: str, kind: BackupKind, context: Context) -> Backup:
    """Return the plan's backup of that id.

    Raises:
        ActuatorError: If the plan has none of that id and kind.
    """
    try:
        backup = context.plan.backup(backup_id)
    except KeyError:
        what = f"The plan has no backup {backup_id}."
    else:
        if backup.kind is kind:
            return backup
        what = f"The backup {backup_id} is a {backup.kind.value} backup, and the step needs the kind {kind.value}."
    raise ActuatorError(
        what, untouched="No host was contacted.", resolution="Correct the plan's `backups` or the step's `backup`."
    )


def at_once(group: ServerGroup, limit: int) -> int:
    """Return how many hosts are worked on side by side. Without SSH all are one machine, so one after the other."""
    return 1 if group.ssh is None else limit


@asynccontextmanager
async def opened(step: Step, context: Context) -> AsyncIterator[tuple[ServerGroup, Transport]]:
    """Open the way to the step's server group.

    Raises:
        ActuatorError: If the group is unknown, its key or known hosts cannot be used, or sudo is not allowed.
    """
    group = group_of(step, context)
    if isinstance(step, ServersStep) and step.with_sudo:
        group = _with_sudo(step, group)
    async with open_group(group, context.token(step), run=context.rollback_id) as transport:
        yield group, transport


async def across(
    hosts: Sequence[Host],
    act: Callable[[Host], Awaitable[T]],
    *,
    limit: int,
    ended: Callable[[int, Host], None] | None = None,
) -> Results[T]:
    """Act on every host. A host's failure stops none of the others.

    Args:
        hosts: Where.
        act: What; a `HostError` becomes the host's result, any other exception ends everything.
        limit: How many at once.
        ended: Is told the number of hosts that have ended so far, and the last of them.
    """
    free = asyncio.Semaphore(limit)
    results: Results[T] = Results()

    async def one(host: Host) -> None:
        async with free:
            try:
                results.good[host.name] = await act(host)
            except HostError as error:
                results.bad[host.name] = error
        if ended is not None:
            ended(len(results.good) + len(results.bad), host)

    async with asyncio.TaskGroup() as tasks:
        for host in hosts:
            tasks.create_task(one(host))
    order = [host.name for host in hosts]
    return Results(
        good={name: results.good[name] for name in order if name in results.good},
        bad={name: results.bad[name] for name in order if name in results.bad},
    )


async def survey(
    subject: str,
    hosts: Sequence[Host],
    probe: Callable[[Host], Awaitable[Finding]],
    *,
    limit: int,
) -> tuple[Check, tuple[Host, ...]]:
    """Look at every host and put the findings into one check.

    Args:
        subject: What is looked at.
        hosts: Where.
        probe: Looks at one host; raises `HostError` for what stops the rollback.
        limit: How many at once.

    Returns:
        The check, and the hosts that passed.
    """
    results = await across(hosts, probe, limit=limit)
    passed = tuple(host for host in hosts if host.name in results.good)
    if results.bad:
        first = next(iter(results.bad.values()))
        words = f"{told(results.bad)} Nothing was changed."
        return Check(subject, Verdict.FAIL, words, first.resolution or "Repair it and ask again."), passed
    findings = results.good
    doubts = [finding for finding in findings.values() if finding.verdict is not Verdict.OK]
    words = tally({name: finding.words for name, finding in findings.items()}, total=len(hosts))
    if doubts:
        return Check(subject, Verdict.WARN, words, doubts[0].resolution), passed
    return Check(subject, Verdict.OK, words), passed


def tally(states: Mapping[str, str], *, total: int, wanted: str | None = None) -> str:
    """Count hosts by what was found: ``3 of 5 hosts on v2.3.1, 1 on v2.4.0, 1 unreachable``.

    Args:
        states: The finding in words, by host.
        total: Hosts in all.
        wanted: The finding that stands first even if no host has it; without it, the most frequent one.
    """
    counts = Counter(states.values())
    ranked = [words for words, _ in counts.most_common()]
    first = wanted if wanted is not None else next(iter(ranked), "answered")
    noun = "host" if total == 1 else "hosts"
    rest = [f"{counts[words]} {words}" for words in ranked if words != first]
    return ", ".join([f"{counts[first]} of {total} {noun} {first}", *rest])


def told(bad: Mapping[str, HostError]) -> str:
    """Name every host that failed, with its reason; hosts with the same reason together."""
    by_reason: dict[str, list[str]] = {}
    for name, error in bad.items():
        by_reason.setdefault(error.what.rstrip("."), []).append(name)
    return " ".join(f"{named(names)}: {reason}." for reason, names in by_reason.items())


def named(names: Iterable[str]) -> str:
    """Name hosts, and only count them from the sixth on."""
    listed = list(names)
    more = len(listed) - _NAMED
    return ", ".join(listed) if more <= 0 else f"{', '.join(listed[:_NAMED])} and {more} more"


def in_a_word(error: HostError) -> str:
    """Return a failure to look as a state among others."""
    if isinstance(error, HostUnreachableError):
        return "unreachable"
    if isinstance(error, HostKeyError):
        return "with a wrong host key"
    if isinstance(error, LoginRefusedError):
        return "refusing the login"
    return "not readable"


def observed(states: Mapping[str, str], bad: Mapping[str, HostError], *, total: int, wanted: str) -> Observation:
    """Return whether the effect is there: on all hosts or not, and unknown if a single host cannot tell.

    Args:
        states: What was found, in words, by host.
        bad: The failures to look, by host.
        total: Hosts in all.
        wanted: The state that is the step's effect.
    """
    all_states = {**states, **{name: in_a_word(error) for name, error in bad.items()}}
    words = tally(all_states, total=total, wanted=wanted)
    facts = {"hosts": all_states}
    if bad:
        return Observation(Presence.UNKNOWN, f"{words}. {told(bad)}", facts)
    there = all(state == wanted for state in states.values())
    return Observation(Presence.PRESENT if there else Presence.ABSENT, words, facts)


def partly(doing: str, *, results: Results[T], total: int) -> ActuatorError:
    """Return the error of a step that did not succeed on every host.

    Args:
        doing: What was tried, e.g. ``Stopping the service``.
        results: What came of it.
        total: Hosts in all.
    """
    errors = list(results.bad.values())
    done = f"Done on {named(results.good)}." if results.good else "Done on no host."
    idle = f" Not begun on {named(results.idle)}, because too many had failed." if results.idle else ""
    outputs = [f"{error.host}:\n{error.output}" for error in errors if error.output]
    return ActuatorError(
        f"{doing} failed on {len(errors)} of {total} hosts. {told(results.bad)}",
        untouched=f"{done} Not done on {named(results.bad)}.{idle}",
        resolution=f"{errors[0].resolution} A repeat skips the hosts that are done.".strip(),
        transient=all(error.transient for error in errors),
        output="\n".join(outputs[:_NAMED]),
    )
