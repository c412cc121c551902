from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bot.domain.actuation import Observation, Presence
from bot.domain.events import Choice
from bot.domain.lifecycle import State
from bot.domain.plan import Plan
from bot.domain.run import Run
from tests.support import plans
from tests.support.engine import Lab, Worker, laboratory
from tests.support.fakes import CrashError
from tests.support.journals import assert_legal
from tests.support.wires import Passing

ACTS = ("stop", "save", "restore", "switch", "link", "start")
PROBES = ("rows", "health", "metrics")


def plan() -> Plan:
    """Return a plan with steps side by side and in a row, two phases, and probes in and after them."""
    first = [
        plans.act("stop", attempts=5),
        plans.act("save", attempts=5),
        plans.act("restore", needs=["stop", "save"], attempts=5),
        plans.probe("rows", needs=["restore"]),
        plans.act("switch", needs=["rows"], attempts=5),
    ]
    second = [plans.act("link", attempts=5), plans.act("start", attempts=5)]
    probes = [plans.probe("health"), plans.probe("metrics", needs=["health"])]
    return plans.plan_of([first, second], verification=probes)


def points() -> Iterator[str]:
    """Yield every point at which a worker of that plan can die."""
    life = ("checking_began", "checked", "authority_asked", "execution_began", "verification_began")
    books = ("incident_opened", "completed", "review_scheduled", "closed")
    writes = [f"append {kind}" for kind in (*life, *books)]
    writes += [f"append step_{how} {step}" for step in (*ACTS, *PROBES) for how in ("started", "succeeded")]
    for write in (*writes, "acquire", "release"):
        yield from (write, f"{write}: done")
    yield from (f"{call} {step}" for step in (*ACTS, *PROBES) for call in ("apply", "applied"))
    yield from (f"observe {step}" for step in ACTS)
    yield from (f"{call} {nth}" for call in ("put", "link") for nth in range(1, 4))


POINTS = tuple(points())


class Killer:
    """Kills workers at given points, each at the first worker that comes by.

    Args:
        lab: Where they work.
        at: The points, in their order.
        then: Called after each death.
    """

    def __init__(self, lab: Lab, *at: str, then: Callable[[], None] = lambda: None) -> None:
        self._lab = lab
        self._left = list(at)
        self._then = then
        self._names = (f"worker-{number}" for number in range(1, 100))
        self._records: dict[str, int] = {}
        self._worker: Worker | None = None
        self.seen: list[str] = []

    def _come_by(self, point: str) -> None:
        self.seen.append(point)
        if self._worker and self._left and point == self._left[0]:
            self._left.pop(0)
            self._then()
            self._worker.wire.process.die()

    async def _store(self, passing: Passing) -> None:
        self._come_by(passing.label)

    async def _register(self, call: str) -> None:
        name, _, _ = call.partition(" ")
        self._records[name] = self._records.get(name, 0) + 1
        self._come_by(f"{name} {self._records[name]}")

    @property
    def done(self) -> bool:
        """Whether every point was reached."""
        return not self._left

    async def advance(self, run: Run) -> Run:
        """Advance a rollback with one worker after the other, as long as they are killed."""
        self._lab.register.trouble = self._register
        while True:
            name = next(self._names)
            self._worker = self._lab.worker(name, passing=self._come_by)
            self._worker.wire.trouble = self._store
            died = False
            try:
                await self._worker.advance(run)
            except* CrashError:
                died = True
            if not died:
                return await self._lab.runs.load(run.id)
            assert await self._lab.runs.owners() in ((), (name,))
            await self._lab.runs.bury([name])


async def life(lab: Lab, killer: Killer) -> Run:
    """Lead a rollback from the request to its end while workers are killed."""
    run = await killer.advance(await lab.requested(plan()))
    assert run.state is State.AWAITING_AUTHORITY
    return await killer.advance(await lab.approve(run))


def assert_done(lab: Lab, run: Run) -> None:
    """The rollback is closed, every effect was brought about exactly once, and the journal is legal."""
    assert run.state is State.CLOSED
    assert {step: lab.estate.effects[step] for step in ACTS} == dict.fromkeys(ACTS, 1)
    assert_legal(run)


async def test_all_points_are_known(lab: Lab) -> None:
    """The list of points holds every write and every call of an actuator that a worker makes, and no other."""
    killer = Killer(lab)
    run = await life(lab, killer)
    assert_done(lab, run)
    others = {"load", "load: done", "renew", "renew: done"}
    assert set(killer.seen) - others - set(POINTS) == {"put 4", "put 5"}
    assert set(POINTS) <= set(killer.seen)


@pytest.mark.parametrize("point", POINTS)
async def test_a_worker_dies_once(lab: Lab, point: str) -> None:
    """Wherever a worker is killed, the next one finishes the rollback with no effect twice and none missing."""
    killer = Killer(lab, point)
    run = await life(lab, killer)
    assert killer.done
    assert_done(lab, run)


@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(first=st.sampled_from(POINTS), second=st.sampled_from(POINTS), third=st.sampled_from(POINTS))
def test_workers_die_again_and_again(empty_store: Callable[[], str], first: str, second: str, third: str) -> None:
    """Three workers killed at any points, in whatever order they come to them, change nothing of that."""

    async def scenario() -> None:
        async with laboratory(empty_store()) as lab:
            run = await life(lab, Killer(lab, *sorted((first, second, third), key=POINTS.index)))
            assert_done(lab, run)

    asyncio.run(scenario())


@pytest.mark.parametrize(
    ("point", "choice"),
    [
        ("append step_started restore: done", Choice.RETRY),
        ("apply restore", Choice.RETRY),
        ("applied restore", Choice.MARK_DONE),
        ("append step_succeeded restore", Choice.SKIP),
    ],
)
async def test_an_unknown_outcome_is_held(lab: Lab, point: str, choice: Choice) -> None:
    """What cannot be told is not done again: it is held, the effect there or not, and a person decides."""

    async def unreachable() -> Observation:
        return Observation(Presence.UNKNOWN, "the host does not answer")

    killer = Killer(lab, point, then=lambda: lab.estate.looks.update(restore=unreachable))
    run = await killer.advance(await lab.approved(plan()))
    assert killer.done
    assert run.state is State.HELD
    assert lab.estate.count("apply restore") == (0 if choice is Choice.RETRY else 1)
    assert "its outcome cannot be told: the host does not answer" in run.status("restore").words
    lab.estate.looks.clear()
    await lab.decide(run, "restore", choice)
    assert_done(lab, await killer.advance(run))
