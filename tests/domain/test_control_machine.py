"""A rollback that people steer, played at random: whatever they say and whenever, the rules of control hold."""

from __future__ import annotations

from datetime import timedelta
from itertools import pairwise

import pytest
from hypothesis import Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from bot.domain import actions, events, execution, manual
from bot.domain import run as runs
from bot.domain.actuation import Presence
from bot.domain.events import AnyEvent
from bot.domain.lifecycle import FINAL, TRANSITIONS, State
from bot.domain.manual import ManualStep
from bot.domain.plan import Plan
from bot.domain.run import Run, StepState
from bot.engine import steps as engine
from tests.support import steered, stories
from tests.support.dags import may_begin, settled
from tests.support.plans import at
from tests.support.steered import Doing

_MOVING = (State.EXECUTING, State.VERIFYING)
_UNDER_WAY = (*_MOVING, State.HELD)
_LONG = 600
"""More actions than any rollback of these plans can need to its end."""


class Steered(RuleBasedStateMachine):
    """One rollback, its workers in two zones, of which one at a time has the lease, and its people."""

    def __init__(self) -> None:
        super().__init__()
        self.run = stories.unstarted()
        self.now = at("15:47")
        self.zone = steered.ZONES[0]
        self.doing: dict[str, Doing] = {}

    def write(self, *history: AnyEvent) -> None:
        """Add to the journal; folding never fails on what engine and service may write."""
        for event in history:
            if isinstance(event, events.StepStarted):
                self._assert_may_start(event)
            self.run = runs.apply(self.run, event)

    def action(self, zone: str = "") -> actions.Action:
        """Return what the domain wants done by a worker, of another zone if that is given."""
        helpful = {step.id for step in self.run.plan.steps() if not step.reads_only}
        view = actions.View(self.now, frozenset(self.doing), zone or self.zone, helpful)
        return execution.next_action(self.run, view)

    @initialize(plan=steered.any_plan(), until=st.sampled_from([State.REQUESTED, *[State.EXECUTING] * 5]))
    def request(self, plan: Plan, until: State) -> None:
        """Somebody asks for a rollback by some plan; most are looked at from the beginning of their execution."""
        run = stories.unstarted(plan, targets=steered.inventory())
        self.run = stories.run_in(until, run=run)

    @rule(data=st.data())
    def happen(self, data: st.DataObject) -> None:
        """Something happens of what can happen now, the ordinary more often than the rest."""
        # One rule for all: rules of their own would be switched off at random, and few lives would get far.
        possible = [self.work] * 4 + [self.pass_time]
        possible += [self.move] * 4 + [self.crash] if self.doing else []
        possible += [self.speak] * 3 if any(steered.words(self.run, at=self.now)) else []
        data.draw(st.sampled_from(possible))(data)

    def work(self, data: st.DataObject) -> None:
        """The worker that has the lease does the next thing."""
        self._carry_out(
            self.action(),
            lossy=data.draw(st.sampled_from([False, False, True])),
            help_=data.draw(st.lists(st.tuples(st.booleans(), st.booleans()), max_size=2)),
        )

    def _carry_out(self, action: actions.Action, *, lossy: bool, help_: list[tuple[bool, bool]]) -> None:
        match action:
            case actions.RunSteps():
                self._begin(action)
            case actions.HandOver(zone):
                self.zone = zone
            case actions.Await(stop=True):
                self._stop()
            case actions.Await() | actions.Wait() | actions.Done():
                pass
            case actions.OfferRemedies(step):
                self.write(steered.offer(self.run, step, help_, at=self.now))
            case actions.BeginExecution():
                self.write(steered.beginning(self.run, lossy=lossy, at=self.now))
            case _:
                self.write(*steered.facts_of(self.run, action, self.zone, at=self.now))

    def _stop(self) -> None:
        for step in [step for step, doing in self.doing.items() if doing.attempt]:
            self._move(step, presence=Presence.UNKNOWN, well=False)

    def _begin(self, action: actions.RunSteps) -> None:
        for step in action.observe_first:
            self.doing[step] = Doing(self.run, self.now, looking=True, only_look=action.only_look)
        for step in action.start:
            self.doing[step] = Doing(self.run, self.now)

    def move(self, data: st.DataObject) -> None:
        """A step that the worker is at comes one further: looked at, begun, or ended."""
        self._move(
            data.draw(st.sampled_from(sorted(self.doing))),
            presence=data.draw(st.sampled_from(Presence)),
            well=data.draw(st.sampled_from([True, True, False])),
            transient=data.draw(st.booleans()),
        )

    def _move(self, step: str, *, presence: Presence, well: bool = True, transient: bool = False) -> None:
        doing = self.doing.pop(step)
        if doing.looking:
            end = steered.after_looking(self.run, step, doing, presence, at=self.now)
            if end:
                self.write(end)
            else:
                self.doing[step] = Doing(doing.seen, doing.at)
        elif doing.attempt == 0:
            # Whatever was said between the decision and this moment, the engine asks by its own rule.
            if engine._as_it_stood(doing.seen, step)(self.run):
                attempt = doing.seen.status(step).attempt + 1
                self.write(stories.started(self.now, step, attempt))
                self.doing[step] = Doing(doing.seen, doing.at, attempt=attempt)
        elif well:
            self.write(stories.succeeded(self.now, step, doing.attempt))
        else:
            self.write(stories.failed(self.now, step, doing.attempt, transient=transient, presence=presence))

    def crash(self, data: st.DataObject) -> None:
        """The worker dies; the journal is all that the next one knows, of whatever zone it is."""
        self.doing.clear()
        self.zone = data.draw(st.sampled_from(steered.ZONES))

    def pass_time(self, data: st.DataObject) -> None:
        """Time goes by, past the window and the point of no return as well."""
        self.now += timedelta(minutes=data.draw(st.integers(1, 25)))

    def speak(self, data: st.DataObject) -> None:
        """A person says whatever can be said now; seldom the words after which nothing more can be seen."""
        said = list(steered.words(self.run, at=self.now))
        lasting = [word for word in said if not steered.ends(word)]
        final = data.draw(st.integers(0, 11)) == 0
        self.write(data.draw(st.sampled_from(said if final or not lasting else lasting)))

    def _assert_may_start(self, event: events.StepStarted) -> None:
        """A step begins under authority, while nobody holds or gives up, once at a time, its last end known."""
        run, status = self.run, self.run.status(event.step)
        assert run.last(events.ExecutionBegan)
        assert run.giving_up is None
        assert event.step not in self.doing
        assert event.attempt == status.attempt + 1
        helping = run.remedy(event.step)
        if helping is None:
            assert run.state in _MOVING
            assert run.pause is None
            assert may_begin(run, run.plan.step(event.step))
            assert status.state in (StepState.PENDING, StepState.STARTED, StepState.FAILED)
        else:
            # A person chose exactly this step, knowing of the pause if there is one; nothing else runs while held.
            assert run.state is State.HELD
            since = run.after(events.HoldAsked) if run.pause else run.history
            assert any(isinstance(e, events.RemedyChosen) and e.remedy == event.step for e in since)
            assert status.state in (StepState.PENDING, StepState.STARTED)

    @invariant()
    def destroys_only_when_permitted(self) -> None:
        """Beyond the point of no return nothing that destroys data begins without a person's word about it."""
        action = self.action()
        if isinstance(action, actions.RunSteps) and self.now >= self.run.plan.no_return_at():
            for step in action.start:
                if self.run.remedy(step) is None and self.run.plan.step(step).destroys:
                    assert self.run.last(events.LossConfirmed) or any(
                        isinstance(e, events.Decided) and e.step == step and e.at >= self.run.plan.no_return_at()
                        for e in self.run.history
                    )

    @invariant()
    def looks_before_it_acts_again(self) -> None:
        """What has begun and has no known end is looked at, not begun; in a pause it is only looked at."""
        action = self.action()
        if isinstance(action, actions.RunSteps):
            for step in action.start:
                assert self.run.status(step).state in (StepState.PENDING, StepState.FAILED)
            for step in action.observe_first:
                assert self.run.status(step).state is StepState.STARTED
            assert not self.doing.keys() & {*action.start, *action.observe_first}
            if self.run.giving_up or (self.run.pause and self.run.state in _MOVING):
                assert action.only_look
                assert not action.start

    @invariant()
    def asks_people_for_what_they_do(self) -> None:
        """A step that a person does is asked for when its turn has come and nobody holds, and is never run."""
        action = self.action()
        if isinstance(action, actions.RunSteps):
            for key in (*action.start, *action.observe_first):
                assert self.run.remedy(key) or not isinstance(self.run.plan.step(key), ManualStep)
        if isinstance(action, actions.AskPerson):
            assert self.run.state is State.EXECUTING
            assert (self.run.pause, self.run.giving_up) == (None, None)
            assert isinstance(self.run.plan.step(action.step), ManualStep)
            assert self.run.status(action.step).state is StepState.PENDING
            assert may_begin(self.run, self.run.plan.step(action.step))

    @invariant()
    def keeps_no_worker_for_a_person(self) -> None:
        """While nothing runs and only people are waited for, the lease goes back until a time or their word."""
        action = self.action()
        if self.run.state in _MOVING and not self.doing and isinstance(action, actions.Wait):
            assert manual.waiting(self.run)
            assert action.until

    @invariant()
    def leaves_nothing_running_behind(self) -> None:
        """Nobody is asked, and the lease is given to nobody else, while this worker is at a step."""
        at_rest = actions.HandOver | actions.Hold | actions.Wait | actions.Abort | actions.Survey | actions.Resume
        if self.doing:
            assert not isinstance(self.action(), at_rest)
        else:
            assert not isinstance(self.action(), actions.Await)

    @invariant()
    def hands_over_to_somebody(self) -> None:
        """Whoever a rollback is handed over to has something to do, and does not hand it back at once."""
        action = self.action()
        if isinstance(action, actions.HandOver):
            assert action.zone != self.zone
            assert not isinstance(self.action(action.zone), actions.HandOver | actions.Wait)

    @invariant()
    def waits_for_somebody_or_for_a_time(self) -> None:
        """A rollback that waits has a way on: a time to come, and before its end a person who can say something."""
        action = self.action()
        assert isinstance(action, actions.Done) is (self.run.state in FINAL)
        if isinstance(action, actions.Wait):
            assert any(steered.words(self.run, at=self.now))
        if isinstance(action, actions.Wait | actions.Await) and action.until:
            assert action.until > self.now

    @invariant()
    def says_each_thing_once(self) -> None:
        """What is written down because of an action does not call for the same action again."""
        action = self.action()
        if isinstance(
            action, actions.Extend | actions.DraftExtension | actions.Hold | actions.Resume | actions.Settle
        ):
            before, self.run = (
                self.run,
                runs.apply(self.run, steered.facts_of(self.run, action, self.zone, at=self.now)[0]),
            )
            assert type(self.action()) is not type(action)
            self.run = before

    @invariant()
    def completes_only_what_is_settled(self) -> None:
        """A rollback is complete when every step is settled, and never once somebody gave it up."""
        if isinstance(self.action(), actions.Complete | actions.BeginVerification):
            assert all(settled(self.run, phase.steps) for phase in self.run.plan.phases)
            assert self.run.giving_up is None

    @invariant()
    def folds_to_the_same(self) -> None:
        """A worker that reads the journal anew knows the same as the one who wrote it, by permitted transitions."""
        empty = Run(id=self.run.id, plan=self.run.plan, inventory=self.run.inventory)
        states, run = [State.REQUESTED], empty
        for event in self.run.history:
            run = runs.apply(run, event)
            states.append(run.state)
        assert run == self.run
        assert all(b in TRANSITIONS[a] for a, b in pairwise(states) if a is not b)

    def teardown(self) -> None:
        """From wherever it stands: given up it ends aborted with nobody's help, else people bring it to an end."""
        word = self.run.giving_up if self.run.state in _UNDER_WAY else None
        for _ in range(_LONG):
            if self.run.state in FINAL:
                break
            self._help(alone=word is not None)
        assert self.run.state in FINAL, f"it never ended: {self.run.state}, {self.action()}"
        if word:
            aborted: events.Aborted = self.run.last(events.Aborted)
            assert (aborted.who, aborted.why) == (word.who, word.why)
            assert self.run.state is State.CLOSED

    def _help(self, *, alone: bool) -> None:
        """Let targets behave, and people answer unless the workers are to get there alone."""
        action = self.action()
        if self.doing and isinstance(action, actions.Await):
            self._move(min(self.doing), presence=Presence.PRESENT)
        elif isinstance(action, actions.Wait):
            assert not alone  # nor does it wait for a person who was to do a step
            self.write(self._answer())
        else:
            self._carry_out(action, lossy=False, help_=[])

    def _answer(self) -> AnyEvent:
        """Return what lets the rollback go on."""
        said = list(steered.words(self.run, at=self.now))
        wanted = (
            *(events.Authorised, events.LossConfirmed, events.ResumeAsked, events.Decided),
            events.StepSucceeded,
        )
        return next(word for word in said if isinstance(word, wanted))


Steered.TestCase.settings = settings(
    max_examples=80,
    stateful_step_count=60,
    deadline=None,
    report_multiple_bugs=False,
    phases=(Phase.explicit, Phase.reuse, Phase.generate, Phase.shrink),  # explaining takes minutes here
)


@pytest.mark.timeout(400)  # only a failure takes long: it is made as short as can be
class TestSteered(Steered.TestCase):  # type: ignore[misc, valid-type] # hypothesis builds the class at run time
    """Whatever people say to a rollback, and whatever happens meanwhile, the rules of control hold."""
