"""A rollback's whole life, played at random: whatever happens, the rules of execution hold."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from itertools import pairwise

import pytest
from hypothesis import Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from bot.domain import actions, execution, manual
from bot.domain import run as runs
from bot.domain.actuation import Presence
from bot.domain.events import AnyEvent, Choice
from bot.domain.lifecycle import FINAL, TRANSITIONS, State
from bot.domain.plan import Plan, Step
from bot.domain.run import StepState
from bot.engine import facts
from tests.support import stories
from tests.support.dags import any_plan, may_begin, settled
from tests.support.plans import at

_MOVING = (State.EXECUTING, State.VERIFYING)


class Life(RuleBasedStateMachine):
    """One rollback with its worker, which may die, its targets, which may do anything, and its people."""

    def __init__(self) -> None:
        super().__init__()
        self.run = stories.unstarted()
        self.now = at("15:45")
        self.running: dict[str, int] = {}
        self.seen = [State.REQUESTED]

    def write(self, *history: AnyEvent) -> None:
        """Add to the journal, as the only thing that outlives the worker."""
        for event in history:
            self.run = runs.apply(self.run, event)
            if self.run.state is not self.seen[-1]:
                self.seen.append(self.run.state)

    def action(self) -> actions.Action:
        """Return what the domain wants done."""
        return execution.next_action(self.run, actions.View(self.now, self.running.keys()))

    @initialize(plan=any_plan(by_hand=True), until=st.sampled_from([State.REQUESTED, *[State.EXECUTING] * 3]))
    def request(self, plan: Plan, until: State) -> None:
        """Somebody asks for a rollback by some plan; most are looked at from the beginning of their execution."""
        self.run = stories.unstarted(plan)
        self.write(*stories.run_in(until, run=self.run).history)

    @rule(data=st.data())
    def happen(self, data: st.DataObject) -> None:
        """Something happens of what can happen now, the ordinary more often than the rest."""
        # One rule for all: rules of their own would be switched off at random, and few lives would get far.
        possible: list[Callable[[st.DataObject], None]] = [self.work, self.work, self.work, self.wait]
        if self.running:
            possible += [self.end, self.end, self.end, self.crash]
        if self.run.state is State.AWAITING_AUTHORITY:
            possible += [self.answer, self.answer]
        if self.run.state is State.HELD:
            possible += [self.decide, self.decide]
        if manual.waiting(self.run) and self.run.giving_up is None:
            possible += [self.do_by_hand, self.do_by_hand]
        data.draw(st.sampled_from(possible))(data)

    def work(self, data: st.DataObject) -> None:
        """The worker does the next thing."""
        action = self.action()
        match action:
            case actions.CheckPlan():
                self._check(sound=data.draw(st.sampled_from([True, True, True, False])))
            case actions.BeginExecution():
                self.write(stories.began(self.now))
            case actions.RunSteps():
                for step in action.observe_first:
                    self._observe(self.run.plan.step(step), data.draw(st.sampled_from(Presence)))
                for step in action.start:
                    self._start(self.run.plan.step(step))
            case actions.WriteRecords():
                self.write(stories.closed(self.now))
            case actions.Await() | actions.Wait() | actions.Done():
                pass
            case _:
                self.write(self._fact(action))

    def _check(self, *, sound: bool) -> None:
        if self.run.state is State.REQUESTED:
            self.write(stories.checking_began(self.now))
        self.write(
            stories.checked(self.now),
            stories.asked(self.now, self.run) if sound else stories.refused(self.now),
        )

    def _fact(self, action: actions.Action) -> AnyEvent:
        match action:
            case actions.Expire():
                return stories.expired(self.now)
            case actions.Hold():
                return stories.held(self.now, *action.steps)
            case actions.Resume():
                return stories.resumed(self.now)
            case actions.Abort():
                return stories.aborted(self.now)
            case actions.BeginVerification():
                return stories.verification_began(self.now)
            case actions.Complete():
                return stories.completed(self.now)
            case actions.Survey():
                return stories.surveyed(self.now, *action.steps)
            case actions.DraftExtension() | actions.Extend() | actions.AskPerson():
                return facts.fact_of(action, self.run, at=self.now, who="worker-1")
            case _:
                raise AssertionError(f"no fact follows from {action!r}")

    def _start(self, step: Step) -> None:
        attempt = self.run.status(step.id).attempt + 1
        self.write(stories.started(self.now, step.id, attempt))
        self.running[step.id] = attempt

    def _observe(self, step: Step, presence: Presence) -> None:
        """Look at a step of unknown end as the engine does, and begin anew only what is known not to be there."""
        status = self.run.status(step.id)
        if step.reads_only or (presence is Presence.ABSENT and status.interrupted < execution.MOST_INTERRUPTIONS):
            self._start(step)
        elif presence is Presence.PRESENT:
            self.write(stories.succeeded(self.now, step.id, status.attempt, found=True))
        else:
            self.write(stories.failed(self.now, step.id, status.attempt, presence=presence))

    def end(self, data: st.DataObject) -> None:
        """A running step ends, well or badly."""
        step = data.draw(st.sampled_from(sorted(self.running)))
        attempt = self.running.pop(step)
        if data.draw(st.sampled_from([True, True, False])):
            self.write(stories.succeeded(self.now, step, attempt))
        else:
            transient = data.draw(st.sampled_from([True, True, False]))
            presence = data.draw(st.sampled_from(Presence))
            self.write(stories.failed(self.now, step, attempt, transient=transient, presence=presence))

    def crash(self, _data: st.DataObject) -> None:
        """The worker dies; the journal is all that the next one knows."""
        self.running.clear()

    def wait(self, data: st.DataObject) -> None:
        """Time goes by."""
        self.now += timedelta(minutes=data.draw(st.integers(1, 25)))

    def answer(self, data: st.DataObject) -> None:
        """A person with authority answers, mostly yes."""
        yes = data.draw(st.sampled_from([True, True, True, False]))
        self.write(stories.authorised(self.now, self.run) if yes else stories.rejected(self.now))

    def decide(self, data: st.DataObject) -> None:
        """A person decides about a held step, if one is left."""
        held = sorted(step for step, status in self.run.steps.items() if status.state is StepState.HELD)
        choice = data.draw(st.sampled_from([Choice.RETRY, Choice.RETRY, *Choice]))
        if held:
            self.write(stories.decided(self.now, data.draw(st.sampled_from(held)), choice))

    def do_by_hand(self, data: st.DataObject) -> None:
        """A person says how a step ended that people do; while others are decided about as well."""
        step = data.draw(st.sampled_from(manual.waiting(self.run))).id
        attempt = self.run.status(step).attempt
        said = stories.done_by_hand if data.draw(st.sampled_from([True, True, False])) else stories.cannot
        self.write(said(self.now, step, attempt))

    @invariant()
    def starts_only_whatmay_begin(self) -> None:
        """A step is started only in execution, once at a time, after its needs and all phases before its own."""
        action = self.action()
        if not isinstance(action, actions.RunSteps):
            return
        assert self.run.state in _MOVING
        assert action.start or action.observe_first
        # Nothing new begins beside a step that somebody must decide about; what had begun is looked at.
        stuck = {StepState.FAILED, StepState.HELD}
        waiting = {step for step, status in self.run.steps.items() if status.state in stuck}
        assert waiting <= set(action.start) or not action.start
        for step in map(self.run.plan.step, action.start):
            status = self.run.status(step.id)
            assert step.id not in self.running
            assert status.state in {StepState.PENDING, StepState.FAILED}
            assert may_begin(self.run, step)
            if status.state is StepState.FAILED:
                self._may_be_repeated(step)
        for step in map(self.run.plan.step, action.observe_first):
            assert step.id not in self.running
            assert self.run.status(step.id).state is StepState.STARTED

    def _may_be_repeated(self, step: Step) -> None:
        status = self.run.status(step.id)
        assert status.failure is not None
        assert status.failure.transient
        assert status.tries < step.attempts
        assert step.reads_only or status.failure.presence is Presence.ABSENT

    @invariant()
    def looks_before_it_acts_again(self) -> None:
        """A started step that this worker is not carrying out is never started without looking."""
        action = self.action()
        if isinstance(action, actions.RunSteps):
            doubtful = {step for step, status in self.run.steps.items() if status.state is StepState.STARTED}
            assert set(action.observe_first) == doubtful - self.running.keys()

    @invariant()
    def goes_on_only_whensettled(self) -> None:
        """Verification follows settled phases, completion settled probes, and both only from their own state."""
        action = self.action()
        if isinstance(action, actions.BeginVerification | actions.Complete):
            assert all(settled(self.run, phase.steps) for phase in self.run.plan.phases)
        if isinstance(action, actions.BeginVerification):
            assert self.run.state is State.EXECUTING
        if isinstance(action, actions.Complete):
            assert self.run.state is State.VERIFYING
            assert settled(self.run, self.run.plan.verification.steps)

    @invariant()
    def asks_only_when_quiet(self) -> None:
        """A person is asked only when nothing runs, and only about steps that are stuck."""
        action = self.action()
        if isinstance(action, actions.Hold):
            assert not self.running
            assert {self.run.status(step).state for step in action.steps} == {StepState.FAILED}

    @invariant()
    def never_waits_for_nothing(self) -> None:
        """Waiting has an end: a running step, a person's decision or a time; only what is final does nothing."""
        action = self.action()
        assert isinstance(action, actions.Done) is (self.run.state in FINAL)
        if isinstance(action, actions.Await):
            assert self.running
        if isinstance(action, actions.Wait) and action.until is None:
            assert self._held()
        if isinstance(action, actions.Wait) and self.run.state in _MOVING:
            assert manual.waiting(self.run)
            assert not self.running

    def _held(self) -> list[str]:
        return [step for step, status in self.run.steps.items() if status.state is StepState.HELD]

    @invariant()
    def lives_by_the_table(self) -> None:
        """Every state followed from the one before, and COMPLETE from VERIFYING."""
        following = list(pairwise(self.seen))
        assert all(after in TRANSITIONS[before] for before, after in following)
        assert all(before is State.VERIFYING for before, after in following if after is State.COMPLETE)

    @invariant()
    def folds_to_the_same(self) -> None:
        """A worker that reads the journal anew knows the same as the one who wrote it."""
        assert runs.fold(stories.unstarted(self.run.plan), self.run.history) == self.run

    def teardown(self) -> None:
        """From wherever it stands, the rollback comes to its end once targets behave and people answer."""
        for _ in range(400):
            if self.run.state in FINAL:
                return
            self._help()
        raise AssertionError(f"it never ended: {self.run.state}, {self.action()}")

    def _help(self) -> None:
        action = self.action()
        match action:
            case actions.CheckPlan():
                self._check(sound=True)
            case actions.Wait():
                self.write(self._word())
            case actions.BeginExecution():
                self.write(stories.began(self.now))
            case actions.RunSteps():
                for step in action.observe_first:
                    self._observe(self.run.plan.step(step), Presence.PRESENT)
                for step in action.start:
                    self._start(self.run.plan.step(step))
            case actions.Await():
                step, attempt = self.running.popitem()
                self.write(stories.succeeded(self.now, step, attempt))
            case actions.WriteRecords():
                self.write(stories.closed(self.now))
            case _:
                self.write(self._fact(action))

    def _word(self) -> AnyEvent:
        """Return what a person says so that the rollback goes on."""
        if self.run.state is State.HELD:
            return stories.decided(self.now, self._held()[0], Choice.RETRY)
        if self.run.state is State.EXECUTING:
            step = manual.waiting(self.run)[0].id
            return stories.done_by_hand(self.now, step, self.run.status(step).attempt)
        return stories.authorised(self.now, self.run)


Life.TestCase.settings = settings(
    max_examples=50,
    stateful_step_count=60,
    deadline=None,
    report_multiple_bugs=False,
    phases=(Phase.explicit, Phase.reuse, Phase.generate, Phase.shrink),  # explaining takes minutes here
)


@pytest.mark.timeout(400)  # only a failure takes long: it is made as short as can be
class TestLife(Life.TestCase):  # type: ignore[misc, valid-type] # hypothesis builds the class at run time
    """Whatever targets, workers and people do, the rules of execution hold at every moment."""
