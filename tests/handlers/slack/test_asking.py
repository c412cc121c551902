"""The questions of a running rollback in every state, small and as large as they get, and the forms behind them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import pytest

from bot.domain import control, events
from bot.domain.actuation import Verdict
from bot.domain.errors import RefusedError
from bot.domain.events import AnyEvent, Choice
from bot.domain.lifecycle import State
from bot.domain.messages import Asks, Question
from bot.domain.plan import Plan
from bot.domain.run import Run, apply
from handlers.console import blockkit
from handlers.slack import commands, ids, outlook, render
from handlers.slack.render import asking
from handlers.slack.render.message import MOST_CHARACTERS, size
from handlers.slack.tickets import Ticket, read_button
from tests.support import rollbacks
from tests.support.rollbacks import MANAGER, ONCALL, OWNER, POLICY, at

HOSTILE = '<!channel> <@U0EVIL> *bold* `code` <https://evil.example|safe> & "q" \\ ' * 60
SMALL = rollbacks.plan()
LONG = rollbacks.plan(phases=[[f"step-{n:02}-{'x' * 50}" for n in range(20)]], words=HOSTILE)
REMEDIES = 14


@dataclass(frozen=True)
class Case:
    """A question with its journal.

    Attributes:
        run: The rollback that asks.
        asked: The question.
        answers: What people can say to it, each ends it.
    """

    run: Run
    asked: Question
    answers: tuple[AnyEvent, ...]


def remedy(number: int, words: str) -> events.RemedyOffered:
    """Return a remedy as it is offered, the odd ones act."""
    step = {"id": f"remedy.r{number}.{'y' * (60 if words else 1)}.9", "kind": "test.act", "target": "payments-db"}
    return events.RemedyOffered(
        id=f"r{number}{words[:60]}",
        title=words[:300] or f"Look at session {number}",
        words=words or "Names who is connected.",
        acts=number % 2 == 1,
        settles=False,
        step=step,
    )


def cases(of: Plan, words: str) -> dict[Asks, Case]:
    """Return every question about a rollback of that plan; `words` stand in every free text."""
    told = rollbacks.histories(of, words=words)
    worker: dict[str, Any] = {"at": at(20), "who": "worker-1", "why": words or "the restore is slow"}
    person: dict[str, Any] = {"at": at(21), "who": ONCALL, "why": words or "the replica lags", "name": "A. Okafor"}
    first = of.phases[0].steps[0].id
    half: dict[str, Any] = {"window": timedelta(minutes=30), "estimate": timedelta(minutes=60), "share": 0.65}
    loss = events.LossFound(
        subject=words or "Swap the databases", verdict=Verdict.WARN, words=words or "412 rows of transactions",
        step=first, since=at(-60), rows=412,
    )  # fmt: skip
    gave_up = events.AbortAsked(**person)
    blocking = [
        event.model_copy(update={"blocks": True}) if isinstance(event, events.ExecutionBegan) else event
        for event in told["closed"]
    ]
    journals: dict[Asks, tuple[tuple[AnyEvent, ...], tuple[AnyEvent, ...]]] = {
        Asks.PAUSE: (
            (*told["executing"], events.HoldAsked(**person), events.Held(steps=(), **worker)),
            (events.ResumeAsked(**person), gave_up),
        ),
        Asks.REMEDIES: (
            (
                *told["held"],
                events.RemediesOffered(
                    step=first, remedies=tuple(remedy(n, words) for n in range(REMEDIES)), **worker
                ),
            ),
            (*(events.Decided(step=first, choice=choice, **person) for choice in Choice), gave_up),
        ),
        Asks.EXTENSION: (
            (*told["executing"], events.ExtensionDrafted(**half, **worker)),
            (events.Extended(**half, **person), events.Extended(**half, **worker, exceeded=True), gave_up),
        ),
        Asks.WINDOW: (
            (*told["executing"], events.Extended(**half, **worker, exceeded=True)),
            (events.ContinuationChosen(**person), events.Extended(**half, **person), gave_up),
        ),
        Asks.LOSS: (
            (*told["authorised"], events.ConfirmationAsked(losses=(loss,) * 12, **worker)),
            (events.LossConfirmed(words=words or "412 rows", **person), events.Rejected(**person)),
        ),
        Asks.DEPLOYMENTS: (tuple(blocking), (events.DeploymentsReleased(**person),)),
    }
    return {about: _case(of, about, first, *found) for about, found in journals.items()}


def _case(of: Plan, about: Asks, first: str, journal: tuple[AnyEvent, ...], answers: tuple[AnyEvent, ...]) -> Case:
    began = next((n for n, event in enumerate(journal, 1) if isinstance(event, events.ExecutionBegan)), 0)
    seq = began if about is Asks.DEPLOYMENTS else len(journal)
    step = first if about is Asks.REMEDIES else ""
    return Case(rollbacks.run(of, journal), Question(about, seq, step), answers)


CASES = {
    f"{name}, {about}": case
    for name, found in (("small", cases(SMALL, "")), ("as large as it gets", cases(LONG, HOSTILE)))
    for about, case in found.items()
}
SMALL_CASES = cases(SMALL, "")


def parts(value: Any) -> Iterator[dict[str, Any]]:
    """Yield every object inside blocks."""
    if isinstance(value, dict):
        yield value
    for each in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        yield from parts(each)


def buttons(message: render.Message) -> list[dict[str, Any]]:
    """Return the buttons of a message."""
    return [part for part in parts(message.blocks) if part.get("type") == "button"]


def shown(message: render.Message) -> str:
    """Return the words of a message's blocks."""
    return "".join(part["text"] for part in parts(message.blocks) if isinstance(part.get("text"), str))


def refuse_nothing(message: render.Message) -> None:
    """Fail if Slack would not take the message, posted or edited."""
    assert message.text.strip()
    for updating in (False, True):
        assert blockkit.validate_message(message.blocks, text=message.text, updating=updating) == []
    assert size(message.blocks) <= MOST_CHARACTERS
    found = [button["action_id"] for button in buttons(message)]
    assert len(found) == len(set(found))


@pytest.mark.parametrize("name", CASES)
def test_question_is_taken_by_slack_open_and_answered(name: str) -> None:
    """Every question stays within Slack's limits, with its buttons and with any of its answers."""
    case = CASES[name]
    assert asking.is_open(case.run, case.asked)
    refuse_nothing(render.question(case.run, case.asked))
    for answer in case.answers:
        refuse_nothing(render.question(apply(case.run, answer), case.asked))


@pytest.mark.parametrize("name", CASES)
def test_buttons_vanish_once_a_question_is_answered(name: str) -> None:
    """An open question has buttons that carry its number; answered it has none, and says who answered and why."""
    case = CASES[name]
    values = [read_button(button["value"]) for button in buttons(render.question(case.run, case.asked))]
    assert values
    assert all(value and (value.v, value.about) == (case.asked.seq, case.asked.about) for value in values)
    for answer in case.answers:
        answered = render.question(apply(case.run, answer), case.asked)
        assert buttons(answered) == []
        if answer.who == ONCALL:
            assert {"type": "user", "user_id": ONCALL} in list(parts(answered.blocks))
            assert answer.why[:60] in shown(answered)


@pytest.mark.parametrize("name", CASES)
def test_question_has_no_buttons_in_a_rollback_that_has_ended(name: str) -> None:
    """Whatever was asked, nothing but the hold on deployments can be answered when the rollback has ended."""
    case = CASES[name]
    journal = rollbacks.histories(case.run.plan)
    if case.asked.about is Asks.DEPLOYMENTS:
        return
    given_up = case.run
    if case.run.state is State.AUTHORISED:
        given_up = apply(given_up, events.Rejected(at=at(30), who=MANAGER, why="fix", name="J. Smith"))
    else:
        given_up = apply(given_up, events.AbortAsked(at=at(30), who=MANAGER, why="fix", name="J. Smith"))
        given_up = apply(given_up, journal["aborted"][-1])
    assert buttons(render.question(given_up, case.asked)) == []


@pytest.mark.parametrize("name", CASES)
def test_words_of_others_are_never_markup_in_a_question(name: str) -> None:
    """The fallback text of a question mentions and links nobody whom others wrote."""
    case = CASES[name]
    text = render.question(case.run, case.asked).text
    assert "<!" not in text
    assert "<@U0EVIL" not in text
    assert "<http" not in text


def test_more_remedies_than_buttons_can_be_typed() -> None:
    """Twelve remedies have buttons; the others are named, with the words that run the first of them."""
    case = SMALL_CASES[Asks.REMEDIES]
    message = render.question(case.run, case.asked)
    assert [button["action_id"] for button in buttons(message)] == [f"rollback_say_remedy_{n}" for n in range(12)]
    assert "Without a button: r12, r13. Type remedy rb-0001 stop r12." in shown(message)
    assert commands.parse("remedy rb-0001 stop r12") == commands.Say("remedy", "rb-0001", ("stop", "r12"))


def test_remedy_under_way_has_no_button_until_it_ends() -> None:
    """A remedy that was chosen is shown as running and cannot be clicked again until it has ended."""
    case = SMALL_CASES[Asks.REMEDIES]
    key = "remedy.r1.y.9"
    chosen = apply(
        case.run,
        events.RemedyChosen(at=at(22), who=MANAGER, why="to see", step="stop", remedy=key, name="J. Smith"),
    )
    going = render.question(chosen, case.asked)
    assert len(buttons(going)) == 11
    assert "rollback_say_remedy_1" not in [button["action_id"] for button in buttons(going)]
    assert "⏳ running" in shown(going)
    started = apply(chosen, events.StepStarted(at=at(23), who="worker-1", why="r", step=key, attempt=1))
    ended = apply(started, events.StepSucceeded(at=at(24), who="worker-1", why="r", step=key, attempt=1, words="2"))
    assert len(buttons(render.question(ended, case.asked))) == 12


def test_card_offers_what_can_be_said_now() -> None:
    """A rollback that runs can be held, one on hold resumed; one that is being given up can be steered no more."""
    paused = SMALL_CASES[Asks.PAUSE].run
    held = SMALL_CASES[Asks.REMEDIES].run
    ends = apply(paused, events.AbortAsked(at=at(30), who=MANAGER, why="we fix forward", name="J. Smith"))
    verbs = [[ids.verb_of(part["action_id"]) for part in asking.controls(run)] for run in (paused, held, ends)]
    assert verbs == [["resume", "extend", "handover", "abort"], ["hold", "extend", "handover", "abort"], []]


def test_card_says_why_nothing_goes_on() -> None:
    """A card tells who holds or gives up the rollback and why, who leads, and that a loss must be confirmed."""
    paused = SMALL_CASES[Asks.PAUSE].run
    assert "⏸ On hold as soon as the running steps end, by: A. Okafor: the replica lags" in shown(card(paused))
    ended = events.StepSucceeded(at=at(22), who="worker-1", why="s", step="stop", attempt=1, words="stopped")
    assert "⏸ On hold by: A. Okafor: the replica lags" in shown(card(apply(paused, ended)))
    given_up = events.AbortAsked(at=at(30), who=MANAGER, why="we fix forward", name="J. Smith")
    assert "🛑 Being given up by: J. Smith: we fix forward" in shown(card(apply(paused, given_up)))
    assert "A second person must confirm" in shown(card(SMALL_CASES[Asks.LOSS].run))
    handed = events.LeadHandedOver(at=at(22), who=ONCALL, why="w", name="A. Okafor", to=OWNER, to_name="R. Silva")
    assert {"type": "user", "user_id": OWNER} in list(parts(card(apply(paused, handed)).blocks))
    extended = SMALL_CASES[Asks.WINDOW].run
    assert "window until 2024-01-15 16:47 UTC (extended by 30 minutes)" in shown(card(extended))


def card(run: Run) -> render.Message:
    """Return the card of a rollback."""
    return render.card(run, POLICY, {})


@pytest.mark.parametrize("verb", [verb for verb in commands.SAYINGS if verb not in ("retry", "done", "skip")])
@pytest.mark.parametrize("name", CASES)
def test_form_is_taken_by_slack_for_every_word_in_every_state(name: str, verb: str) -> None:
    """The form behind every button is within Slack's limits, whatever it has to show."""
    case = CASES[name]
    url = "https://hooks.slack.com/actions/" + "x" * 100
    remedy_id = str(case.run.remedies(case.asked.step)[0].step["id"]) if case.asked.step else ""
    ticket = Ticket(
        case.run.id, case.asked.seq, case.asked.step, None, url, "C0OPS", "1.1", verb, case.asked.about, remedy_id
    )
    view = render.say_modal(ticket, case.run, POLICY)
    assert blockkit.validate_view(view) == []
    assert case.run.id in json.dumps(view["blocks"])


def test_form_names_what_is_decided() -> None:
    """A form tells what will be: the data that are lost, the remedy that runs, that nothing was run yet."""
    loss = SMALL_CASES[Asks.LOSS].run
    confirming = json.dumps(render.say_modal(Ticket("rb-0001", verb="confirm"), loss, POLICY), ensure_ascii=False)
    assert "Swap the databases: " in confirming
    assert "412 rows of transactions (backup of 2024-01-15 14:45 UTC)" in confirming
    standing_down = render.say_modal(Ticket("rb-0001", verb="abort"), loss, POLICY)
    assert standing_down["title"]["text"] == "Stand down"
    assert [block["type"] for block in standing_down["blocks"]] == ["rich_text", "input"]
    held = SMALL_CASES[Asks.REMEDIES].run
    helping = json.dumps(
        render.say_modal(Ticket("rb-0001", step="stop", verb="remedy", remedy="remedy.r1.y.9"), held, POLICY)
    )
    assert "Look at session 1: Names who is connected." in helping


def test_extension_needs_a_length_unless_one_is_drafted() -> None:
    """Without a draft the form of an extension demands by how much and why; with one it may be sent empty."""
    ticket = Ticket("rb-0001", verb="extend")
    inputs = {
        about: [
            block.get("optional", False)
            for block in render.say_modal(ticket, SMALL_CASES[about].run, POLICY)["blocks"]
            if block["type"] == "input"
        ]
        for about in (Asks.PAUSE, Asks.EXTENSION)
    }
    assert inputs == {Asks.PAUSE: [False, False], Asks.EXTENSION: [True, True]}


@pytest.mark.parametrize("name", CASES)
def test_what_happens_next_is_told_for_every_answer(name: str) -> None:
    """Whatever was said, its answer names the rollback and tells what happens next, in one paragraph."""
    verbs: dict[type[events.Event], str] = {
        events.ResumeAsked: "resume",
        events.AbortAsked: "abort",
        events.Rejected: "abort",
        events.Extended: "extend",
        events.ContinuationChosen: "continue",
        events.LossConfirmed: "confirm",
        events.DeploymentsReleased: "unblock",
    }
    case = CASES[name]
    for answer in case.answers:
        if type(answer) in verbs:
            told = outlook.what_next(apply(case.run, answer), verbs[type(answer)])
            assert case.run.id in told
            assert "on record" not in told
            refuse_nothing(render.saying(told))


def test_what_happens_next_depends_on_what_runs() -> None:
    """Held while a step runs, the hold begins when it ends; resumed beside a held step, that one still waits."""
    running = apply(
        rollbacks.every_run(SMALL)["executing"],
        events.HoldAsked(at=at(20), who=ONCALL, why="w", name="A. Okafor"),
    )
    assert outlook.what_next(running, "hold").startswith("rb-0001 is on hold as soon as «Stop the service» ends.")
    assert outlook.what_next(SMALL_CASES[Asks.PAUSE].run, "hold").startswith("rb-0001 is on hold as soon as")
    held = rollbacks.every_run(SMALL)["held"]
    assert outlook.what_next(held, "hold").startswith("rb-0001 is on hold. Nothing new begins")
    assert "still waits for a decision about «Stop the service»" in outlook.what_next(held, "resume")
    retried = apply(
        held,
        events.Decided(at=at(20), who=ONCALL, why="w", name="A", step="stop", choice=Choice.RETRY),
    )
    assert outlook.what_next(retried, "retry") == "rb-0001: «Stop the service» runs again: it goes on now."
    stopped = apply(running, events.AbortAsked(at=at(21), who=ONCALL, why="w", name="A. Okafor", stop=True))
    assert "«Stop the service» is being stopped" in outlook.what_next(stopped, "abort")


def test_no_word_is_offered_where_it_makes_no_sense() -> None:
    """What the card offers is never refused for the rollback's state, and what has ended takes no word."""
    for case in SMALL_CASES.values():
        for part in asking.controls(case.run):
            outlook.refuse_what_cannot_be(case.run, ids.verb_of(part["action_id"]))
    closed = rollbacks.every_run(SMALL)["closed"]
    assert closed.state not in control.STEERABLE
    for verb in commands.SAYINGS:
        if verb != "unblock":
            with pytest.raises(RefusedError, match="rb-0001"):
                outlook.refuse_what_cannot_be(closed, verb)
