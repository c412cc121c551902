"""How the engine keeps time; the defaults with their reasons."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

from bot.domain.inventory import DEFAULT_ZONE


@dataclass(frozen=True)
class EngineSettings:
    """The engine's intervals.

    Attributes:
        owner: Name of this process for leases, unique among all that ever lived.
        zone: The network zone whose targets this process can reach.
        lease: How long a worker may be silent before another takes over. 12 s lets a restart of the store of 10 s
            pass without stopping a healthy actuator, even if it begins just before a renewal (10 s + `renew` +
            `retry_store` < 12 s), and a takeover still happens within 15 s.
        renew: Interval of renewals; several may fail before the lease is in danger.
        sweep: Interval at which every process looks for rollbacks that want a worker; finding one costs an indexed
            query, and this bounds how long a lost job is missed.
        retry_store: Pause before a write to an unreachable store is tried again.
        check_timeout: How long one actuator may look before its answer counts as unknown.
        records_timeout: How long opening or closing the records may take before it is tried again.
        card_interval: At most one edit of a card in this time; Slack allows about one a second.
        doubt: How long a message whose sender died or lost the floor, or whose sending failed, may be on its way
            before it is looked for.
        floor: How long whoever speaks in the chat may be silent before another process takes the floor. Losing it
            stops nothing but the talk, and while the store is away nobody else can take it, so it is short: with
            `floor_poll` another process speaks within 5 s of a kill, and three renewals may fail before.
        floor_keep: Interval at which the floor is kept.
        floor_poll: Interval at which whoever does not speak asks for the floor; an indexed query that writes
            nothing.
        countdown_interval: At most one edit of a countdown in this time: it counts minutes.
        countdown_look: Interval at which a rollback that runs is looked at though nothing happens.
        metrics_window: The window over which the metrics are read at the checks.
        parallel_checks: Checks under way at once.
    """

    owner: str
    zone: str = DEFAULT_ZONE
    lease: timedelta = timedelta(seconds=12)
    renew: timedelta = timedelta(seconds=1)
    sweep: timedelta = timedelta(seconds=1)
    retry_store: timedelta = timedelta(milliseconds=500)
    check_timeout: timedelta = timedelta(seconds=30)
    records_timeout: timedelta = timedelta(seconds=30)
    card_interval: timedelta = timedelta(seconds=1)
    doubt: timedelta = timedelta(seconds=3)
    floor: timedelta = timedelta(seconds=4)
    floor_keep: timedelta = timedelta(seconds=1)
    floor_poll: timedelta = timedelta(milliseconds=500)
    countdown_interval: timedelta = timedelta(seconds=30)
    countdown_look: timedelta = timedelta(minutes=1)
    metrics_window: timedelta = timedelta(minutes=1)
    parallel_checks: int = 16
