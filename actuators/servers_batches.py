"""Batches: hosts in turn instead of all at once, and no further batch after too many failures."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Iterator, Sequence
from typing import Annotated, TypeVar

from pydantic import AfterValidator, BeforeValidator, Field

from actuators.servers_hosts import Results, ServersStep, across, at_once
from bot.domain.inventory import Host, ServerGroup

T = TypeVar("T")

_PER_CENT = re.compile(r"(\d{1,3})%")
_WHOLE = 100


def _share(value: int | str) -> int | str:
    if isinstance(value, str):
        found = _PER_CENT.fullmatch(value)
        if found is None or int(found[1]) > _WHOLE:
            raise ValueError(f"{value!r} is neither a number of hosts nor a per cent such as 25%")
    return value


def _not_none(value: int | str) -> int | str:
    if value in {0, "0%"}:
        raise ValueError("a batch holds at least one host")
    return value


def _as_list(value: object) -> object:
    """Read one size as a list of one."""
    return (value,) if isinstance(value, int | str) else value


Count = Annotated[int, Field(ge=0, le=10_000, strict=True)]
Share = Annotated[Count | str, AfterValidator(_share)]
"""A number of hosts, or a per cent of the group's."""

_Size = Annotated[Share, AfterValidator(_not_none)]
Serial = Annotated[tuple[_Size, ...], BeforeValidator(_as_list, json_schema_input_type=_Size | tuple[_Size, ...])]
"""The sizes of the batches in turn; the last one holds for all that follow. One may stand without a list."""


def _unused(value: object) -> bool:
    """Leave a field that was added later out of the canonical plan where it is not used: digests stay the same."""
    return not value


class BatchedStep(ServersStep):
    """A step on every host of a server group that may go through them in batches.

    Attributes:
        serial: How many hosts a batch has: ``2``, ``25%``, or a list that grows, ``[1, 25%, 100%]``; empty: all at
            once. A per cent is rounded down, and is at least one host.
        max_failures: How many hosts, or what per cent of the group, may fail before no further batch is begun.
    """

    serial: Serial = Field(default=(), exclude_if=_unused)
    max_failures: Share = Field(default=0, exclude_if=_unused)


def hosts_of(share: int | str, total: int) -> int:
    """Return a share as a number of hosts, rounded down."""
    return total * int(share.removesuffix("%")) // _WHOLE if isinstance(share, str) else share


def batches(hosts: Sequence[Host], serial: Sequence[int | str]) -> Iterator[tuple[Host, ...]]:
    """Yield the hosts in batches, in their order.

    Args:
        hosts: All of them.
        serial: The sizes in turn, as in `BatchedStep`; empty: one batch.
    """
    sizes = [max(1, hosts_of(size, len(hosts))) for size in serial] or [len(hosts)]
    begin, number = 0, 0
    while begin < len(hosts):
        size = sizes[min(number, len(sizes) - 1)]
        yield tuple(hosts[begin : begin + size])
        begin, number = begin + size, number + 1


async def in_batches(
    step: BatchedStep,
    group: ServerGroup,
    act: Callable[[Host], Awaitable[T]],
    *,
    ended: Callable[[int, Host], None],
    serial: Sequence[int | str] | None = None,
) -> Results[T]:
    """Act on every host, batch after batch; those of a batch side by side.

    Args:
        step: Its batches, and when to stop.
        group: The hosts.
        act: What; a `HostError` becomes the host's result.
        ended: Is told the number of hosts that have ended so far, and the last of them.
        serial: Other batches than the step's.

    Returns:
        What came of it; the hosts of batches that were not begun stand in `Results.idle`.
    """
    allowed = hosts_of(step.max_failures, len(group.hosts))
    results: Results[T] = Results()
    for batch in batches(group.hosts, step.serial if serial is None else serial):
        if len(results.bad) > allowed:
            results.idle += [host.name for host in batch]
            continue
        before = len(results.good) + len(results.bad)

        def told(done: int, host: Host, *, before: int = before) -> None:
            ended(before + done, host)

        found = await across(batch, act, limit=at_once(group, step.limit), ended=told)
        results.good |= found.good
        results.bad |= found.bad
    return results
