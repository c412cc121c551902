"""When a rollback will end: the critical path through what is left of its plan.

Each step counts with the median of earlier rollbacks if there are enough of them, else with the plan's own
duration; the running ones are corrected by what they themselves report.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from graphlib import TopologicalSorter
from types import MappingProxyType

from bot.domain import events
from bot.domain.actuation import Progress
from bot.domain.plan import Step
from bot.domain.run import SETTLED, Run, StepState

ENOUGH_RUNS = 3
"""From so many earlier rollbacks on, what they took is a better guess than what the plan's author wrote."""

_LATE = 1.5
"""The plan's duration times this stands for the 90th percentile while too few earlier rollbacks are known."""

_REMAINDER = 0.1
"""A running step that is past its expectation is taken to need another tenth of the time that it has run.

Without it the forecast would say «any moment now» for an hour. A part of the time run instead of a fixed time,
because the longer something has taken, the longer it is likely to take still: seconds for a link, minutes for a
restore.
"""

_TRUSTED_SHARE = 0.2
"""From this part of a step on its own speed counts alone; before, less and less towards its beginning: tools begin
slowly, and 1 % after a minute does not mean a hundred minutes."""

_ALMOST = 0.99
"""The most that a step which runs counts as done, whatever it reports: its read-back is still to come."""

_LONGEST = timedelta(days=365)
"""A duration beyond this says nothing, and sums of such are beyond the times that there are."""

_NOTICED = timedelta(seconds=1)
_NONE = timedelta(0)

NO_PROGRESS: Mapping[str, Progress] = MappingProxyType({})
"""No step reported how far it has come."""


@dataclass(frozen=True)
class Pace:
    """How long a step took in earlier rollbacks.

    Attributes:
        runs: How many rollbacks that was measured in.
        median: Half of them took no longer.
        p90: Nine in ten took no longer.
    """

    runs: int
    median: timedelta
    p90: timedelta


Paces = Mapping[str, Pace]
"""What is known of earlier rollbacks, by id of the plan's steps; a step that never ended well has no entry."""


@dataclass(frozen=True)
class Forecast:
    """When a rollback will end, as far as can be told, if nobody has to be waited for.

    Attributes:
        at: When this was reckoned.
        ends_at: The end if every step takes as long as expected; never before `at`.
        late_at: The end if every step of the critical path takes as long as nine in ten do; never before `ends_at`.
        share: Part of the work that is done, 0..1, by expected time.
        basis: What the expectations rest on, in words, e.g. ``median of 7 earlier rollbacks``.
        slowest: Id of the step that is most over its expectation; empty if none is.
    """

    at: datetime
    ends_at: datetime
    late_at: datetime
    share: float
    basis: str
    slowest: str


@dataclass(frozen=True)
class Work:
    """One step of the plan, reckoned in time.

    Attributes:
        step: The step.
        state: How it stands.
        expected: How long it is expected to take.
        late: How long nine in ten take; never less than `expected`.
        runs: Earlier rollbacks that this rests on; 0: the plan's durations.
        since: When its running attempt began; None: it does not run.
        reported: The part of the running attempt that its actuator says is done, 0..1; None: it does not say.
    """

    step: Step
    state: StepState
    expected: timedelta
    late: timedelta
    runs: int
    since: datetime | None
    reported: float | None

    def ran(self, at: datetime) -> timedelta:
        """Return how long the running attempt has taken so far."""
        return max(_NONE, at - self.since) if self.since else _NONE

    def projected(self, at: datetime, planned: timedelta) -> timedelta:
        """Return what is left to do, nothing if it has taken its time already and does not say how far it is."""
        if self.state in SETTLED:
            return _NONE
        ran = self.ran(at)
        by_time = max(_NONE, planned - ran)
        if self.reported is None:
            return by_time
        if self.reported >= _TRUSTED_SHARE:
            return ran * ((1 - self.reported) / self.reported)
        # By its own speed ran * (1 - r) / r is left, which counts with (r / t) squared: nothing at the beginning.
        by_speed = ran * (self.reported * (1 - self.reported) / _TRUSTED_SHARE**2)
        return by_time * (1 - (self.reported / _TRUSTED_SHARE) ** 2) + by_speed

    def rest(self, at: datetime, *, late: bool = False) -> timedelta:
        """Return how much longer the step is taken to need."""
        left = self.projected(at, self.late if late else self.expected)
        ran = self.ran(at)
        return max(left, ran * _REMAINDER) if ran > self.expected else left

    def done(self, at: datetime) -> float:
        """Return the part of the step that is done, 0..1; 1 only if it is settled."""
        if self.state in SETTLED:
            return 1.0
        if self.reported is not None:
            return min(self.reported, _ALMOST)
        # As far as the remainder lets it come, so that the share never falls when the expectation passes.
        return min(self.ran(at) / self.expected, 1 / (1 + _REMAINDER)) if self.expected else 0.0


@dataclass(frozen=True)
class Delay:
    """A step that takes or took longer than expected.

    Attributes:
        work: The step.
        spent: How long its attempts have taken together.
        over: By how much it exceeds, or by its own speed will exceed, its expectation.
    """

    work: Work
    spent: timedelta
    over: timedelta


@dataclass(frozen=True)
class Reckoning:
    """The steps of each phase, then the verification's, reckoned in time; each after those that it needs."""

    groups: tuple[tuple[Work, ...], ...]

    def works(self) -> Iterator[Work]:
        """Yield every step."""
        for group in self.groups:
            yield from group

    def rest(self, at: datetime, *, late: bool = False) -> timedelta:
        """Return how long the rest will take: phases run in turn, within one the longest way through `needs`."""
        return sum((_longest_way(group, at, late=late) for group in self.groups), _NONE)

    def share(self, at: datetime) -> float:
        """Return the part of the work that is done, 0..1, by expected time."""
        works = tuple(self.works())
        if all(work.state in SETTLED for work in works):
            return 1.0
        whole = sum((work.expected for work in works), _NONE)
        done = sum((work.expected * work.done(at) for work in works), _NONE)
        return min(1.0, done / whole) if whole else 0.0

    def basis(self) -> str:
        """Return in words what the expectations rest on."""
        works = tuple(self.works())
        runs = sorted(work.runs for work in works if work.runs)
        if not runs:
            return "the plan's durations"
        count = f"{runs[0]}" if runs[0] == runs[-1] else f"{runs[0]} to {runs[-1]}"
        words = f"median of {count} earlier rollbacks"
        some = len(runs) < len(works)
        return f"{words} for {len(runs)} of {len(works)} steps, else the plan's durations" if some else words


def reckon(run: Run, *, paces: Paces, progress: Mapping[str, Progress] = NO_PROGRESS) -> Reckoning:
    """Reckon the steps of a rollback in time.

    Args:
        run: The rollback.
        paces: How long its steps took in earlier rollbacks.
        progress: How far its running steps have come, by id.
    """
    groups = (*(phase.steps for phase in run.plan.phases), run.plan.verification.steps)
    return Reckoning(tuple(tuple(_works(run, steps, paces, progress)) for steps in groups))


def _works(run: Run, steps: tuple[Step, ...], paces: Paces, progress: Mapping[str, Progress]) -> Iterator[Work]:
    by_id = {step.id: step for step in steps}
    for step_id in TopologicalSorter({step.id: step.needs for step in steps}).static_order():
        step, status, pace = by_id[step_id], run.status(step_id), paces.get(step_id)
        known = pace if pace and pace.runs >= ENOUGH_RUNS else None
        expected = min(known.median if known else step.expected, _LONGEST)
        running = status.state in (StepState.STARTED, StepState.ASKED)
        yield Work(
            step=step,
            state=status.state,
            expected=expected,
            late=max(expected, min(known.p90, _LONGEST) if known else expected * _LATE),
            runs=known.runs if known else 0,
            since=status.started_at if running else None,
            reported=_reported(progress.get(step_id)) if running else None,
        )


def _reported(progress: Progress | None) -> float | None:
    share = progress.share() if progress else None
    return share if share is not None and 0 <= share <= 1 else None  # a count may run backwards


def _longest_way(group: tuple[Work, ...], at: datetime, *, late: bool) -> timedelta:
    ends: dict[str, timedelta] = {}
    for work in group:
        begins = max((ends[needed] for needed in work.step.needs), default=_NONE)
        ends[work.step.id] = begins + work.rest(at, late=late)
    return max(ends.values())


def slowest(run: Run, reckoning: Reckoning, *, now: datetime) -> Delay | None:
    """Return the step that is most over its expectation; None if none is.

    A step that was tried more than once counts with all its attempts, and one that must be begun again with those
    and the whole attempt that is to come. The time that people took to decide belongs to no step.
    """
    spent = _spent(run, now=now)
    delays = (
        Delay(work, spent[work.step.id], spent[work.step.id] + work.projected(now, work.expected) - work.expected)
        for work in reckoning.works()
        if work.step.id in spent
    )
    most = max(delays, key=lambda delay: delay.over, default=None)
    return most if most and most.over >= _NOTICED else None


def _spent(run: Run, *, now: datetime) -> dict[str, timedelta]:
    """Return how long the attempts of each step have taken together."""
    found: dict[str, timedelta] = {}
    open_since: dict[str, datetime] = {}

    def end(step: str, at: datetime) -> None:
        since = open_since.pop(step, at)
        found[step] = found.get(step, _NONE) + max(_NONE, at - since)

    for event in run.history:
        if isinstance(event, events.StepStarted | events.ManualAsked | events.StepSucceeded | events.StepFailed):
            end(event.step, event.at)
        if isinstance(event, events.StepStarted | events.ManualAsked):
            open_since[event.step] = event.at
    for step in tuple(open_since):
        end(step, now)
    return found


def forecast(run: Run, *, now: datetime, paces: Paces, progress: Mapping[str, Progress] = NO_PROGRESS) -> Forecast:
    """Return when a rollback will end.

    A rollback that is held, or has not begun, is reckoned as if it went on at once.

    Args:
        run: The rollback.
        now: The time.
        paces: How long its steps took in earlier rollbacks.
        progress: How far its running steps have come, by id.
    """
    reckoning = reckon(run, paces=paces, progress=progress)
    slow = slowest(run, reckoning, now=now)
    return Forecast(
        at=now,
        ends_at=now + reckoning.rest(now),
        late_at=now + reckoning.rest(now, late=True),
        share=reckoning.share(now),
        basis=reckoning.basis(),
        slowest=slow.work.step.id if slow else "",
    )
