from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime

import pytest

from bot.domain import events
from bot.domain.events import AnyEvent, Choice
from bot.domain.run import Run
from tests.chaos.evidence import Act, Entry, Evidence, Lease, Life, Lock, Nap, Outage, Told, Word
from tests.chaos.judge import Rule
from tests.chaos.verdict import judge
from tests.support import plans

RUN, OTHER = "rb-0001", "rb-0002"
FIRST, SECOND = "host:boot:11:1:", "host:boot:22:2:"
NOW = datetime(2024, 1, 15, tzinfo=UTC)
BY = {"at": NOW, "who": FIRST, "why": "next"}


def started(step: str, *, who: str = FIRST, attempt: int = 1) -> AnyEvent:
    """Return a beginning."""
    return events.StepStarted(at=NOW, who=who, why="next", step=step, attempt=attempt)


def succeeded(step: str, *, who: str = FIRST, attempt: int = 1) -> AnyEvent:
    """Return a good end."""
    return events.StepSucceeded(at=NOW, who=who, why="next", step=step, attempt=attempt, words="done")


def handed_over(why: str) -> AnyEvent:
    """Return what a person said."""
    return events.LeadHandedOver(at=NOW, who=plans.ON_CALL, why=why, to=plans.MANAGER, to_name="J.", name="O.")


HISTORY: tuple[tuple[float, int | None, AnyEvent], ...] = (
    (1.0, None, events.Requested(at=NOW, who=plans.ON_CALL, why="request 1")),
    (1.1, 1, events.CheckingBegan(**BY)),
    (1.2, 1, events.AuthorityAsked(expires_at=NOW, plan_digest="a", targets_digest="b", who_may="they", **BY)),
    (2.0, None, events.Authorised(at=NOW, who=plans.MANAGER, why="approve 2", name="J.", role="r", grounds="g",
                                  plan_digest="a", targets_digest="b")),
    (3.0, 2, events.ExecutionBegan(**BY)),
    (3.1, 2, started("stop")),
    (3.5, 2, succeeded("stop")),
    (4.0, 2, started("start")),
    (4.5, 2, succeeded("start")),
    (5.0, 2, events.VerificationBegan(**BY)),
    (5.1, 2, started("health")),
    (5.2, 2, succeeded("health")),
    (5.3, 2, events.Completed(**BY)),
    (5.4, 2, events.Closed(incident="INC1", problem="PRB1", **BY)),
)  # fmt: skip


def act(number: int, step: str, since: float, *, run: str = RUN, worker: str = FIRST, there: bool = False) -> Act:
    """Return an act that begins, works for 0.2 s, and creates its thing unless it is there."""
    words = [
        Word("begin", since, since, {"present": there}),
        Word("tick", since + 0.1, since + 0.1),
        Word("effect", since + 0.2, since + 0.2, {"made": not there}),
        Word("end", since + 0.21, since + 0.21),
    ]
    looks = step == "health"
    kept = tuple(word for word in words if not (looks and word.op == "effect"))
    target = "payments-metrics" if looks else "payments-servers"
    return Act(number, run, step, target, worker, looks, kept)


def journal(*added: tuple[float, int | None, AnyEvent], without: str = "") -> dict[str, tuple[Entry, ...]]:
    """Return the journal with events added at their times, or without those of a kind."""
    entries = sorted([e for e in HISTORY if e[2].kind != without] + list(added), key=lambda entry: entry[0])
    return {RUN: tuple(Entry(seq, at, fence, event) for seq, (at, fence, event) in enumerate(entries, start=1))}


def sound() -> Evidence:
    """Return the evidence of one rollback of two steps in which nothing went wrong."""
    steps = [plans.act("stop"), plans.act("start", needs=["stop"])]
    plan = plans.plan_of([steps], verification=[plans.probe("health")])
    return Evidence(
        changes=(plans.CHANGE,),
        runs={RUN: Run(id=RUN, plan=plan, inventory=plans.inventory().only(plan.all_targets()))},
        states={RUN: "closed"},
        journals=journal(),
        leases=(
            Lease(RUN, 1.05, 1, FIRST, 13.0),
            Lease(RUN, 1.3, 1, None, None),
            Lease(RUN, 2.5, 2, FIRST, 14.5),
            Lease(RUN, 5.5, 2, None, None),
        ),
        locks=(Lock(RUN, "payments-servers", 1.0, 5.3),),
        acts=(act(1, "stop", 3.2), act(2, "start", 4.1), act(3, "health", 5.15)),
        lives=(
            Life("worker-1", "default", 11, 0.0, ready=0.5, until=10.0, code=0, told=9.9),
            Life("worker-2", "default", 22, 0.0, ready=0.5, until=10.0, code=-9, killed=10.0),
        ),
        told=(Told("request 1", ("obeyed", "DuplicateDeliveryError")), Told("approve 2", ("obeyed",))),
    )


def taken_over(evidence: Evidence, *, at: float = 3.4) -> Evidence:
    """Return the evidence of a rollback that the second worker took from the first one."""
    leases = (*evidence.leases[:3], Lease(RUN, at, 3, SECOND, at + 12), Lease(RUN, 5.5, 3, None, None))
    return replace(evidence, leases=leases)


def test_a_sound_rollback_breaks_no_rule() -> None:
    """A rollback in which nothing went wrong breaks no rule and needs no excuse."""
    verdict = judge(sound())
    assert (verdict.findings, verdict.excused) == ((), {})


CASES: dict[str, tuple[Rule, Callable[[Evidence], Evidence]]] = {
    "begun again when its effect is there": (
        Rule.ONCE,
        lambda e: replace(
            e,
            journals=journal((3.55, 2, started("stop", attempt=2)), (3.8, 2, succeeded("stop", attempt=2))),
            acts=(*e.acts, act(4, "stop", 3.56, there=True)),
        ),
    ),
    "created although it is there": (
        Rule.ONCE,
        lambda e: replace(
            e, acts=(*e.acts, replace(act(4, "stop", 3.25), words=(Word("effect", 3.45, 3.45, {"made": False}),)))
        ),
    ),
    "succeeds twice": (Rule.ONCE, lambda e: replace(e, journals=journal((3.6, 2, succeeded("stop"))))),
    "acts without STARTED": (Rule.STARTED, lambda e: replace(e, acts=(*e.acts, act(4, "start", 4.4)))),
    "acts before STARTED": (
        Rule.STARTED,
        lambda e: replace(e, acts=(act(1, "stop", 3.05), *e.acts[1:])),
    ),
    "acts after the lease was given back": (
        Rule.LEASED,
        lambda e: replace(e, leases=(*e.leases[:3], Lease(RUN, 4.15, 2, None, None))),
    ),
    "acts after the lease lapsed": (
        Rule.LEASED,
        lambda e: replace(e, leases=(*e.leases[:2], Lease(RUN, 2.5, 2, FIRST, 4.15), e.leases[3])),
    ),
    "acts while another has the lease": (Rule.LEASED, taken_over),
    "two rollbacks on one target": (
        Rule.TARGET,
        lambda e: replace(
            e, acts=(*e.acts, act(4, "stop", 3.3, run=OTHER)),
            runs={**e.runs, OTHER: replace(e.runs[RUN], id=OTHER)}, journals={**e.journals, OTHER: e.journals[RUN]},
            states={**e.states, OTHER: "closed"},
        ),
    ),
    "two locks on one target": (
        Rule.TARGET,
        lambda e: replace(e, locks=(*e.locks, Lock(OTHER, "payments-servers", 5.2, None))),
    ),
    "two workers for one rollback": (
        Rule.WORKER,
        lambda e: replace(e, acts=(*e.acts, act(4, "start", 4.2, worker=SECOND))),
    ),
    "writes under the fence of another": (
        Rule.WORKER,
        lambda e: replace(
            e, leases=(*e.leases[:2], Lease(RUN, 2.5, 2, SECOND, 14.5), e.leases[3])
        ),
    ),
    "an older fence writes": (
        Rule.WORKER,
        lambda e: replace(e, journals=journal((3.6, 1, events.CheckingBegan(**BY)))),
    ),
    "a worker of another zone": (
        Rule.ZONE,
        lambda e: replace(e, lives=(replace(e.lives[0], zone="far"), e.lives[1])),
    ),
    "asked for and never begun": (Rule.LOST, lambda e: replace(e, changes=(*e.changes, "CHG0099999"))),
    "stands still": (
        Rule.LOST,
        lambda e: replace(e, states={RUN: "complete"}, journals={RUN: e.journals[RUN][:-1]}),
    ),
    "ended with a step of unknown outcome": (
        Rule.LOST,
        lambda e: replace(e, journals=journal((4.6, 2, started("start", attempt=2)))),
    ),
    "begun before what it needs": (
        Rule.ORDER,
        lambda e: replace(e, journals=journal((3.3, 2, started("start"))), acts=e.acts),
    ),
    "begun in a pause": (
        Rule.ORDER,
        lambda e: replace(
            e, journals=journal((3.6, None, events.HoldAsked(at=NOW, who=plans.ON_CALL, why="hold 3", name="O.")))
        ),
    ),
    "begun after it was given up": (
        Rule.ORDER,
        lambda e: replace(
            e, journals=journal((3.6, None, events.AbortAsked(at=NOW, who=plans.ON_CALL, why="abort 3", name="O.")))
        ),
    ),
    "done and not there": (Rule.TRUE, lambda e: replace(e, acts=(*e.acts[:1], *e.acts[2:]))),
    "complete without a step": (Rule.TRUE, lambda e: replace(e, journals=journal(without="verification_began"))),
    "another state than its journal": (Rule.TRUE, lambda e: replace(e, states={RUN: "aborted"})),
    "a word that was obeyed and is not there": (
        Rule.WORDS,
        lambda e: replace(e, told=(*e.told, Told("retry 3", ("obeyed",)))),
    ),
    "a word that was refused and is there": (
        Rule.WORDS,
        lambda e: replace(e, told=(Told("approve 2", ("RefusedError",)),)),
    ),
    "a word that counts twice": (
        Rule.WORDS,
        lambda e: replace(
            e,
            journals=journal((4.6, None, handed_over("lead 3")), (4.7, None, handed_over("lead 3"))),
            told=(*e.told, Told("lead 3", ("obeyed", "StoreUnavailableError"))),
        ),
    ),
    "a worker that ends by itself": (
        Rule.ENDS,
        lambda e: replace(e, lives=(replace(e.lives[0], told=None, code=1), e.lives[1])),
    ),
    "a worker that does not end": (
        Rule.ENDS,
        lambda e: replace(e, lives=(e.lives[0], replace(e.lives[1], told=1.0, killed=30.0))),
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_what_breaks_a_rule_is_found(case: str) -> None:
    """Each kind of misbehaviour breaks the rule that forbids it."""
    rule, spoil = CASES[case]
    assert rule in {finding.rule for finding in judge(spoil(sound())).findings}


def late(*, nap: Nap | None) -> Evidence:
    """Return the evidence of a worker that creates its thing a second after its lease was taken by another."""
    evidence = taken_over(sound(), at=20.0)
    words = (Word("begin", 3.2, 3.2, {"present": False}), Word("effect", 21.0, 21.0, {"made": True}))
    moved = [
        (at + 20 if at > 3.1 else at, 3 if at > 3.1 else fence, event.model_copy(update={"who": SECOND}))
        if at > 3.1 and fence
        else (at, fence, event)
        for at, fence, event in HISTORY
    ]
    entries = tuple(Entry(seq, at, fence, event) for seq, (at, fence, event) in enumerate(moved, start=1))
    leases = (*evidence.leases[:3], Lease(RUN, 20.0, 3, SECOND, 32.0), Lease(RUN, 25.5, 3, None, None))
    acts = (
        replace(act(1, "stop", 3.2), words=words),
        act(2, "start", 24.1, worker=SECOND),
        act(3, "health", 25.15, worker=SECOND),
    )
    locks = (Lock(RUN, "payments-servers", 1.0, 25.3),)
    naps = (nap,) if nap else ()
    return replace(evidence, journals={RUN: entries}, leases=leases, acts=acts, locks=locks, naps=naps)


def test_the_last_breath_of_a_frozen_worker_is_counted() -> None:
    """What a worker says just after it was frozen in the middle of an act is counted, and breaks no rule."""
    verdict = judge(late(nap=Nap(11, 3.3, 20.9)))
    assert verdict.findings == ()
    assert verdict.excused == {"last breath of a woken worker: effect": 1}


@pytest.mark.parametrize(
    "nap",
    [None, Nap(11, 3.3, 18.0), Nap(22, 3.3, 20.9), Nap(11, 1.0, 3.05)],
    ids=["never frozen", "woken long ago", "another worker", "frozen before it began"],
)
def test_acting_without_a_lease_has_no_other_excuse(nap: Nap | None) -> None:
    """Who was not frozen in the middle of the act, or goes on after waking, may not act without a lease."""
    assert {finding.rule for finding in judge(late(nap=nap)).findings} == {Rule.LEASED}


def test_a_person_may_have_it_done_again() -> None:
    """What a person wants to be tried again may be begun although its effect is there, and is counted."""
    evidence = sound()
    again = (
        (3.55, 2, events.Held(steps=("stop",), **BY)),
        (3.56, None, events.Decided(at=NOW, who="U1", why="retry 3", choice=Choice.RETRY, step="stop", name="J.")),
        (3.57, 2, events.Resumed(**BY)),
        (3.58, 2, started("stop", attempt=2)),
        (3.9, 2, succeeded("stop", attempt=2)),
    )
    acts = (*evidence.acts, act(4, "stop", 3.6, there=True))
    verdict = judge(replace(evidence, journals=journal(*again), acts=acts))
    assert verdict.findings == ()
    assert verdict.excused == {"done again because a person said so": 2}


def test_a_worker_that_finds_no_store_may_end() -> None:
    """A worker that was not ready yet when the store was away may end by itself."""
    evidence = sound()
    life = replace(evidence.lives[1], killed=None, ready=None, code=1, until=4.0)
    lost = replace(evidence, lives=(evidence.lives[0], life))
    assert {finding.rule for finding in judge(lost).findings} == {Rule.ENDS}
    assert judge(replace(lost, outages=(Outage("crashed", 2.0, 5.0),))).sound
