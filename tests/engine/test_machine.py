from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from bot.domain import events
from bot.domain.actuation import Observation, Outcome, Presence
from bot.domain.errors import ActuatorError, RefusedError, StoreUnavailableError
from bot.domain.events import Choice
from bot.domain.lifecycle import FINAL, State
from bot.domain.plan import Plan
from bot.domain.run import Run, StepState
from bot.engine.service import Actor
from tests.support import plans
from tests.support.engine import Lab, Worker, laboratory
from tests.support.fakes import Act, CrashError, meanwhile, turn, until, works
from tests.support.journals import assert_legal
from tests.support.wires import Passing

T = TypeVar("T")
STEPS = ("stop", "save", "restore", "start")
KEY = "key"
"""What a person does beside them."""
EVERYBODY = (plans.ON_CALL, plans.MANAGER, plans.OWNER, plans.STRANGER)


def plan() -> Plan:
    """Return a plan of two phases with steps side by side, one of them a person's, and a probe."""
    first = [plans.act("stop"), plans.act("save"), plans.act("restore", needs=["stop", "save"]), plans.by_hand(KEY)]
    return plans.plan_of([first, [plans.act("start")]], verification=[plans.probe("health")])


async def fails(act: Act) -> Outcome:
    """Fail for good without an effect."""
    raise ActuatorError(f"{act.step.id} failed.")


async def passes(act: Act) -> Outcome:
    """Fail for now without an effect."""
    raise ActuatorError(f"{act.step.id} is busy.", transient=True)


async def lies(_act: Act) -> Outcome:
    """Report success without an effect."""
    return Outcome("done")


async def denies(act: Act) -> Outcome:
    """Report failure although the effect is there."""
    act.effect()
    raise ActuatorError(f"{act.step.id} says no.")


async def confuses(act: Act) -> Outcome:
    """Report a passing failure although the effect is there."""
    act.effect()
    raise ActuatorError(f"{act.step.id} is confused.", transient=True)


async def unreachable() -> Observation:
    """Know nothing."""
    return Observation(Presence.UNKNOWN, "no route to host")


def _mostly() -> st.SearchStrategy[bool]:
    return st.integers(0, 3).map(bool)


_WAYS = st.dictionaries(
    st.sampled_from(STEPS), st.sampled_from((works, fails, passes, lies, denies, confuses)), max_size=2
)
"""What targets do that do not simply work."""
_DEATH = st.tuples(st.sampled_from(STEPS), st.booleans(), st.booleans())
"""At which step, whether after its effect, and whether the target is out of reach then."""


class Rollbacks(RuleBasedStateMachine):
    """People decide, targets misbehave, workers die, the store goes away, time passes: in any order.

    Args:
        url: The address of an empty store.
    """

    def __init__(self, url: str) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.opening = laboratory(url)
        self.lab: Lab = self.do(self.opening.__aenter__())
        self.rollback: Run | None = None
        self.workers = 0

    def do(self, work: Coroutine[Any, Any, T]) -> T:
        """Run to its end."""
        return self.runner.run(work)

    def current(self) -> Run:
        """Return the rollback as its journal has it."""
        assert self.rollback is not None
        return self.rollback

    async def _work(self, trouble: Callable[[Worker], None]) -> None:
        self.workers += 1
        worker = self.lab.worker(f"worker-{self.workers}", renew=plans.at("16:00") - plans.at("15:00"))
        trouble(worker)
        try:
            async with meanwhile(worker.advance(self.current())) as advancing:
                while not advancing.done():
                    await until(lambda: advancing.done() or self.lab.clock.sleeping(0.5) or self._pausing())
                    if not advancing.done():
                        await self.lab.clock.advance(0.5)
        except* CrashError:
            pass
        await self.lab.runs.bury([f"worker-{self.workers}"])
        self.rollback = await self.lab.runs.load(self.current().id)

    def _pausing(self) -> bool:
        return any(self.lab.clock.sleeping(pause) for pause in (1.0, 2.0, 4.0))

    @initialize(approved=_mostly(), ways=_WAYS, death=st.none() | _DEATH)
    def begin(self, ways: dict[str, Any], death: tuple[str, bool, bool] | None, *, approved: bool) -> None:
        """The on-call engineer asks, mostly the change manager has agreed, and maybe the first worker dies."""
        self._request(ways, approved=approved)
        if death:
            self._die(*death)

    @precondition(lambda self: self.rollback.state in FINAL)
    @rule(approved=_mostly(), ways=_WAYS)
    def request(self, ways: dict[str, Any], *, approved: bool) -> None:
        """The on-call engineer asks again; the change was deployed anew since the last time."""
        self._request(ways, approved=approved)

    def _request(self, ways: dict[str, Any], *, approved: bool) -> None:
        lab = self.lab
        lab.estate.there.clear()
        lab.estate.effects.clear()
        self.do(lab.clock.advance(60))
        chosen = plan().model_copy(update={"deployed_at": lab.clock.now()})
        lab.estate.scripts = {step: [script] for step, script in ways.items()}
        self.rollback = self.do(lab.approved(chosen) if approved else lab.requested(chosen))

    @rule()
    def work(self) -> None:
        """A worker comes by and nothing disturbs it."""
        self.do(self._work(lambda _worker: None))

    @rule(nth=st.integers(0, 25), back=st.booleans())
    def die_at_the_store(self, nth: int, *, back: bool) -> None:
        """A worker dies at a call to the store, before or after it takes effect."""

        def trouble(worker: Worker) -> None:
            async def die(passing: Passing) -> None:
                if len(worker.wire.calls) > nth and passing.back is back:
                    worker.wire.process.die()

            worker.wire.trouble = die

        self.do(self._work(trouble))

    @rule(death=_DEATH)
    def die_at_a_target(self, death: tuple[str, bool, bool]) -> None:
        """A worker dies right before or after the effect of a step; the target may be out of reach then."""
        self._die(*death)

    def _die(self, step: str, after: bool, vanish: bool) -> None:  # noqa: FBT001 - as they are drawn

        def trouble(worker: Worker) -> None:
            async def act(act: Act) -> Outcome:
                if after:
                    act.effect()
                self.lab.estate.scripts.pop(step)
                if vanish:
                    self.lab.estate.looks[step] = unreachable
                worker.wire.process.die()
                raise AssertionError

            self.lab.estate.script(step, act)

        self.do(self._work(trouble))
        self.lab.estate.scripts.pop(step, None)

    @rule(nth=st.integers(0, 20), times=st.integers(1, 30), back=st.booleans())
    def outage(self, nth: int, times: int, *, back: bool) -> None:
        """The store goes away for some calls, which may or may not have taken effect."""

        def trouble(worker: Worker) -> None:
            async def cut(passing: Passing) -> None:
                if nth < len(worker.wire.calls) <= nth + times and passing.back is back:
                    raise StoreUnavailableError("away")

            worker.wire.trouble = cut

        self.do(self._work(trouble))

    @rule(nth=st.integers(0, 120))
    def stop(self, nth: int) -> None:
        """A worker is stopped in the middle, in good order."""

        async def scenario() -> None:
            worker = self.lab.worker("stopped", renew=plans.at("16:00") - plans.at("15:00"))
            async with meanwhile(worker.advance(self.current())) as advancing:
                for _ in range(nth):
                    await turn()
                advancing.cancel()
            await self.lab.runs.bury(["stopped"])
            self.rollback = await self.lab.runs.load(self.current().id)

        self.do(scenario())

    @rule(step=st.sampled_from(STEPS), script=st.sampled_from((works, fails, passes, lies, denies, confuses)))
    def misbehave(self, step: str, script: Any) -> None:
        """A target changes its ways."""
        self.lab.estate.script(step, script)

    @rule(step=st.sampled_from(STEPS))
    def disappear(self, step: str) -> None:
        """A target can be looked at no more, or again."""
        if self.lab.estate.looks.pop(step, None) is None:
            self.lab.estate.looks[step] = unreachable

    @rule(minutes=st.sampled_from((1, 30, 61)))
    def wait(self, minutes: int) -> None:
        """Time passes."""
        self.do(self.lab.clock.advance(60 * minutes))

    @rule(user=st.sampled_from(EVERYBODY), stale=st.booleans())
    def approve(self, user: str, *, stale: bool) -> None:
        """Somebody clicks on Approve."""
        run = self.current()
        call = self.lab.service().approve(run.id, Actor(user), version=run.state_seq - stale)
        self._click(call, kind="authorised", may=not stale and user in (plans.MANAGER, plans.OWNER))

    @rule(user=st.sampled_from(EVERYBODY))
    def reject(self, user: str) -> None:
        """Somebody clicks on Reject."""
        run = self.current()
        call = self.lab.service().reject(run.id, Actor(user), version=run.state_seq, reason="no")
        self._click(call, kind="rejected", may=user != plans.STRANGER)

    @precondition(lambda self: self.rollback.state is State.HELD)
    @rule(user=st.sampled_from(EVERYBODY), step=st.sampled_from((*STEPS, KEY)), choice=st.sampled_from(Choice))
    def decide(self, user: str, step: str, choice: Choice) -> None:
        """Somebody decides about a step, held or not."""
        run = self.current()
        call = self.lab.service().decide(
            run.id, Actor(user), version=run.state_seq, step=step, choice=choice, reason="looked"
        )
        held = run.status(step).state is StepState.HELD
        # Giving up is one word, whether it was said about a held step or about the whole.
        kind = "abort_asked" if choice is Choice.ABORT else "decided"
        self._click(call, kind=kind, may=held and user != plans.STRANGER)

    @rule(user=st.sampled_from(EVERYBODY), yes=_mostly())
    def answer(self, user: str, *, yes: bool) -> None:
        """Somebody says how the step ended that a person does, asked or not."""
        asked = self.current().status(KEY).state is StepState.ASKED
        service = self.lab.service()
        say = service.done if yes else service.cannot
        call = say(self.current().id, Actor(user), version=None, step=KEY, reason="so it is")
        kind = "step_succeeded" if yes else "step_failed"
        self._click(call, kind=kind, may=asked and user != plans.STRANGER)

    def _click(self, call: Coroutine[Any, Any, Run], *, kind: str, may: bool) -> None:
        before = self.current()
        try:
            after = self.do(call)
        except RefusedError:
            after = self.do(self.lab.runs.load(before.id))
            assert after.history[before.seq :] == () or after.state in (State.EXPIRED, State.REFUSED)
        else:
            assert may
            assert [event.kind for event in after.history[before.seq :]] == [kind]
        self.rollback = after

    @invariant()
    def nothing_twice(self) -> None:
        """Each effect came once, and once more only for a person who said so."""
        if self.rollback is None:
            return
        for step in STEPS:
            retries = [
                event
                for event in self.rollback.history
                if isinstance(event, events.Decided) and (event.step, event.choice) == (step, Choice.RETRY)
            ]
            assert self.lab.estate.effects[step] <= 1 + len(retries)

    @invariant()
    def nothing_pretended(self) -> None:
        """A step that counts as done has its effect, unless a person passed over it."""
        if self.rollback is None:
            return
        for step in STEPS:
            if self.rollback.status(step).state is StepState.DONE and not _waived(self.rollback, step):
                assert step in self.lab.estate.there

    @invariant()
    def a_person_does_what_a_person_is_to_do(self) -> None:
        """No worker is ever at a step that a person does; it is done by a word that was said after the question."""
        if self.rollback is None:
            return
        assert not {f"apply {KEY}", f"observe {KEY}"} & set(self.lab.estate.calls)
        if self.rollback.status(KEY).state is StepState.DONE and not _waived(self.rollback, KEY):
            kinds = [e.kind for e in self.rollback.history if getattr(e, "step", "") == KEY]
            assert kinds[-2:] == ["manual_asked", "step_succeeded"]

    @invariant()
    def nothing_without_authority(self) -> None:
        """The journal is legal, and no target was touched before a person authorised it."""
        if self.rollback is None:
            return
        assert_legal(self.rollback)
        if self.rollback.last(events.Authorised) is None:
            assert self.lab.estate.effects.total() == 0

    def teardown(self) -> None:
        """With everything healed and people at hand every rollback ends."""
        try:
            if self.rollback is not None:
                self.do(self._finish())
        finally:
            self.do(self.opening.__aexit__(None, None, None))
            self.runner.close()

    async def _finish(self) -> None:
        self.lab.estate.scripts.clear()
        self.lab.estate.looks.clear()
        for _ in range(20):
            await self._work(lambda _worker: None)
            run = self.current()
            if run.state in FINAL:
                break
            if run.state is State.AWAITING_AUTHORITY:
                await self.lab.approve(run)
            if run.status(KEY).state is StepState.ASKED and not run.giving_up:
                await self.lab.service().done(run.id, Actor(plans.OWNER), version=None, step=KEY, reason="did it")
            for step in (*STEPS, KEY):
                if run.state is State.HELD and run.status(step).state is StepState.HELD:
                    await self.lab.decide(run, step, Choice.RETRY)
        assert self.current().state in FINAL
        if self.current().last(events.Completed):
            done = {step for step in STEPS if self.lab.estate.effects[step]}
            assert done >= {s for s in STEPS if not _waived(self.current(), s)}


def _waived(run: Run, step: str) -> bool:
    """Return whether a person passed over the step."""
    waived = (Choice.SKIP, Choice.MARK_DONE)
    return any(isinstance(e, events.Decided) and e.step == step and e.choice in waived for e in run.history)


def test_the_whole_life(empty_store: Callable[[], str]) -> None:
    """Whatever people, targets, workers, store and time do: nothing twice, nothing unauthorised, nothing lost."""
    run_state_machine_as_test(
        lambda: Rollbacks(empty_store()),  # type: ignore[arg-type] # a factory is documented to do
        settings=settings(
            max_examples=40,
            stateful_step_count=10,
            deadline=None,
            # A busy machine makes the examples slow, not wrong.
            suppress_health_check=[HealthCheck.too_slow],
        ),
    )
