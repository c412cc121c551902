"""Every message and view that the bot sends, in every state, small and as large as it gets."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bot.domain import announcements
from bot.domain.actuation import Progress
from bot.domain.announcements import Note, Standard
from bot.domain.errors import PlanInvalidError, RefusedError
from bot.domain.events import Choice
from bot.domain.lifecycle import State
from bot.domain.plan import Plan
from bot.domain.ports import PlanSummary
from bot.domain.run import Run, StepState
from handlers.console import blockkit
from handlers.slack import commands, ids, render
from handlers.slack.render import standing
from handlers.slack.render.message import MOST_CHARACTERS, size
from handlers.slack.tickets import Ticket, read_button
from tests.support import rollbacks
from tests.support.rollbacks import MANAGER, ONCALL, OWNER, POLICY, STRANGER, every_run, plan

HOSTILE = '<!channel> <@U0EVIL> *bold* ~x~ `code` ```block``` <https://evil.example|safe> & "q" \\ '
SMALL = plan()
LONG = plan(
    phases=[[f"step-{phase}-{number}" for number in range(20)] for phase in range(3)],
    words=HOSTILE * 40,
    window="10m",
)
CROWDED = plan(phases=[[f"s{number}"] for number in range(60)], words="https://a.b " * 30)
PLANS = {"small": SMALL, "60 long steps": LONG, "60 phases of links": CROWDED}
WORDS = {"small": "", "60 long steps": HOSTILE * 40, "60 phases of links": "<@U0ONCALL> https://a.b " * 80}
RUNS = {
    f"{name}, {state}": run
    for name, of in PLANS.items()
    for state, run in every_run(of, words=WORDS[name], findings=3 if name == "small" else 60).items()
}
SMALL_RUNS = every_run(SMALL)


def progress(run: Run) -> dict[str, Progress]:
    """Return progress of every step that runs."""
    started = [step.id for step in run.plan.steps() if run.status(step.id).state is StepState.STARTED]
    return {step: Progress(done=130e6, total=200e6, unit="bytes", words="restoring") for step in started}


def refuse_nothing(message: render.Message, *, updating: bool = False) -> None:
    """Fail if Slack would not take the message."""
    assert message.text.strip()
    assert blockkit.validate_message(message.blocks, text=message.text, updating=updating) == []
    assert size(message.blocks) <= MOST_CHARACTERS


def parts(value: Any) -> Iterator[dict[str, Any]]:
    """Yield every object inside blocks."""
    if isinstance(value, dict):
        yield value
    for each in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        yield from parts(each)


def shown(blocks: list[dict[str, Any]]) -> str:
    """Return all that the blocks show, mentions as Slack writes them."""
    found = []
    for part in parts(blocks):
        if part.get("type") == "user":
            found.append(f"<@{part['user_id']}>")
        elif part.get("type") == "link":
            found.append(part["url"])
        else:
            found += [part[key] for key in ("text", "title") if isinstance(part.get(key), str)]
    return "".join(found)


def buttons(blocks: list[dict[str, Any]]) -> list[str]:
    """Return the action ids of all buttons, in order."""
    return [part["action_id"] for part in parts(blocks) if part.get("type") == "button"]


@pytest.mark.parametrize("name", RUNS)
def test_card_is_taken_by_slack_in_every_state(name: str) -> None:
    """The card stays within Slack's limits in every state, whatever the plan and the journal hold."""
    run = RUNS[name]
    message = render.card(run, POLICY, progress(run))
    refuse_nothing(message, updating=True)
    payload = {"rollback": run.id, "key": "card"}
    assert message.metadata == {"event_type": "rollback", "event_payload": payload}


@pytest.mark.parametrize("name", RUNS)
def test_every_announcement_is_taken_by_slack(name: str) -> None:
    """Whatever the journal calls for, in any state, is a message that Slack takes."""
    run = RUNS[name]
    for wanted in announcements.announcements(run, POLICY):
        match wanted.content:
            case Standard():
                refuse_nothing(render.standard(wanted.content, mentions={run.requester}))
            case Note():
                refuse_nothing(render.note(wanted.content, mentions={run.requester}))
            case announcements.HeldQuestion(step=step):
                refuse_nothing(render.held(run, step), updating=True)
            case announcements.Card():
                assert wanted == announcements.CARD


@pytest.mark.parametrize("name", RUNS)
def test_nothing_that_others_wrote_is_markup(name: str) -> None:
    """Words from plans, people and tools mention nobody, format nothing and hide no link, in blocks and text."""
    run = RUNS[name]
    messages = [render.card(run, POLICY, progress(run)), render.plan_message(run.plan)]
    messages += [render.held(run, step.id) for step in list(run.plan.steps())[:1]]
    messages += [
        render.standard(wanted.content)
        for wanted in announcements.announcements(run, POLICY)
        if isinstance(wanted.content, Standard)
    ]
    for message in messages:
        assert not [part for part in parts(message.blocks) if part.get("type") == "mrkdwn"]
        mentioned = {part["user_id"] for part in parts(message.blocks) if part.get("type") == "user"}
        assert mentioned <= {ONCALL, MANAGER, OWNER}
        assert all("text" not in part for part in parts(message.blocks) if part.get("type") == "link")
        assert "<!" not in message.text
        assert "<@U0EVIL>" not in message.text
        assert "<https" not in message.text


def test_card_before_the_click_tells_what_an_approver_must_know() -> None:
    """The card that asks for approval holds all that the decision needs, and the buttons for it."""
    run = SMALL_RUNS["awaiting_authority"]
    blocks = render.card(run, POLICY, {}).blocks
    told = shown(blocks)
    for expected in (
        "Rollback of CHG0012345: waiting for authority",
        "CHG0012345 - Payment service v2.4.0 deployment",
        "payments v2.4.0 → v2.3.1, on payments-db",
        "<@U0ONCALL> at 2024-01-15 15:45 UTC",
        "Error rate 12.3% (threshold: 10%)",
        "30 minutes; expected duration 25 minutes",
        "2024-01-15 15:53 UTC, 8 minutes left at the request",
        "error rate 12.3% (threshold 10%, baseline 0.2%)",
        "response time 640ms p95 (threshold 262ms, baseline 175ms)",
        "immediate rollback",
        "1 to be weighed, 2 fine",
        "db-before (database, 2024-01-15 14:45 UTC, 38 minutes before the deployment)",
        run.plan.digest()[:12],
        run.inventory.digest()[:12],
        "J. Smith (Change Manager), R. Silva (Service Owner); business hours",
        "2024-01-15 16:45 UTC",
    ):
        assert expected in told
    assert buttons(blocks) == [ids.APPROVE, ids.REJECT, ids.VIEW_PLAN]
    value = next(part["value"] for part in parts(blocks) if part.get("action_id") == ids.APPROVE)
    assert read_button(value) is not None
    assert json.loads(value) == {"id": "rb-0001", "v": run.state_seq}


def test_blocking_checks_come_before_everything_that_is_fine() -> None:
    """A reader finds what blocks first."""
    told = shown(render.card(SMALL_RUNS["refused"], POLICY, {}).blocks)
    assert "1 blocking, 1 to be weighed, 1 fine" in told
    assert told.index("❌ Backup 0") < told.index("⚠️ Backup 1") < told.index("✅ Backup 2")
    assert "no step was run, nothing was changed" in told


def test_passed_point_of_no_return_and_short_window_are_pointed_out() -> None:
    """A rollback that comes too late or takes too long says so on its card."""
    of = plan(window="10m", point_of_no_return={"after": "5m", "reason": "settlement"})
    told = shown(render.card(every_run(of)["awaiting_authority"], POLICY, {}).blocks)
    assert "⚠️ passed 17 minutes before the request; settlement" in told
    assert "⚠️ longer than the window" in told


def test_long_spans_are_told_in_hours_and_days() -> None:
    """Nobody has to divide by sixty in an incident."""
    spans = (timedelta(minutes=38), timedelta(minutes=119), timedelta(hours=5.5), timedelta(days=3, hours=4))
    assert [standing.span(value) for value in spans] == ["38 minutes", "119 minutes", "5 hours", "3 days"]


def test_running_steps_are_task_cards() -> None:
    """While it runs, each step shows its status, its progress in percent and words, its duration or its error."""
    run = SMALL_RUNS["executing"]
    tasks = _tasks(render.card(run, POLICY, progress(run)).blocks)
    assert [task["status"] for task in tasks] == ["in_progress", *["pending"] * 5]
    assert tasks[0]["title"] == "Phase 1 · Stop the service"
    assert shown([tasks[0]["details"]]) == "65%, 130 MB of 200 MB, restoring"
    assert shown([tasks[1]["details"]]) == "expected 40 seconds"
    assert tasks[-1]["title"] == "Verification · test.look on payments-metrics"
    held = _tasks(render.card(SMALL_RUNS["held"], POLICY, {}).blocks)
    assert held[0]["status"] == "error"
    assert shown([held[0]["details"]]) == "a person must decide; the service did not stop"
    over = _tasks(render.card(SMALL_RUNS["complete"], POLICY, {}).blocks)
    assert {task["status"] for task in over} == {"complete"}
    assert shown([over[0]["details"]]) == "12 seconds; done"


def test_large_plan_is_folded_around_what_needs_attention() -> None:
    """Of a plan that is too large every step is counted, and the one that is held keeps its card."""
    of = plan(phases=[[f"step-{p}-{n}" for n in range(30)] for p in range(2)], words="x" * 300)
    tasks = _tasks(render.card(every_run(of, words="y" * 300)["held"], POLICY, {}).blocks)
    assert "step-0-0" in {task["task_id"] for task in tasks}
    assert next(task["status"] for task in tasks if task["task_id"] == "step-0-0") == "error"
    folded = next(task for task in tasks if task["task_id"] == "folded-0")
    shown_steps = sum(task["task_id"].startswith("step-0") for task in tasks)
    assert f"… and {30 - shown_steps} more steps" in folded["title"]
    ahead = next(task for task in tasks if task["task_id"] == "folded-ahead")
    assert "31 steps to come" in shown([ahead["details"]])


def _tasks(blocks: list[dict[str, Any]]) -> list[dict[str, Any]]:
    tasks: list[dict[str, Any]] = next(block["tasks"] for block in blocks if block["type"] == "plan")
    return tasks


def test_card_ends_with_what_was_reached() -> None:
    """The last card says what was restored, how long it took, what was measured and where the records are."""
    told = shown(render.card(SMALL_RUNS["closed"], POLICY, {}).blocks)
    for expected in (
        "✅ Rollback of CHG0012345: complete, records closed",
        "v2.3.1, 2024-01-15 16:12 UTC after 25 minutes",
        "error rate 0.3% (baseline 0.2%); response time 180ms p95 (baseline 175ms)",
        "incident INC0056789; problem PRB0003456",
        "2024-01-17 15:45 UTC",
        "<@U0MANAGER> (Change Manager) at 2024-01-15 15:47 UTC",
    ):
        assert expected in told
    aborted = shown(render.card(SMALL_RUNS["aborted_closed"], POLICY, {}).blocks)
    assert "aborted, records closed" in aborted
    assert "Restored" not in aborted


STEERED = {"executing", "failed_attempt", "held", "resumed", "verifying"}


@pytest.mark.parametrize("name", [name for name in SMALL_RUNS if name != "awaiting_authority"])
def test_only_a_waiting_card_can_be_approved(name: str) -> None:
    """In every other state the card steers what runs and shows the plan, and has nothing to approve."""
    controls = [ids.say(verb) for verb in ("hold", "extend", "handover", "abort")] if name in STEERED else []
    assert buttons(render.card(SMALL_RUNS[name], POLICY, {}).blocks) == [*controls, ids.VIEW_PLAN]


def test_standard_message_is_its_lines_to_the_letter() -> None:
    """A standard message shows exactly its lines, the first in bold, and its text is exactly these lines."""
    run = SMALL_RUNS["complete"]
    content = announcements.complete(run)
    message = render.standard(content, mentions={run.requester})
    assert message.text == content.text()
    assert shown(message.blocks) == content.text()
    first = next(part for part in parts(message.blocks) if part.get("type") == "text")
    assert first == {"type": "text", "text": "✅ ROLLBACK COMPLETE", "style": {"bold": True}}
    began = announcements.in_progress(run, run.history[5])  # type: ignore[arg-type] # the test knows its journal
    started = render.standard(began, mentions={run.requester})
    assert started.text == began.text()
    assert {"type": "user", "user_id": ONCALL} in list(parts(started.blocks))
    assert {"type": "link", "url": "https://meet.example.org/incident-bridge"} in list(parts(started.blocks))


def test_text_of_a_standard_message_escapes_what_is_no_permitted_mention() -> None:
    """In the fallback text a plan's title cannot call a channel or a person."""
    message = render.standard(
        Standard("T", ("Change: <!channel> & <@U0EVIL>", "Lead: <@U0ONCALL>")), mentions={ONCALL}
    )
    assert message.text == "T\nChange: &lt;!channel&gt; &amp; &lt;@U0EVIL&gt;\nLead: <@U0ONCALL>"
    assert "Change: <!channel> & <@U0EVIL>" in shown(message.blocks)


def test_note_folds_its_output() -> None:
    """A tool's output stands folded in a code block, its end kept, and says how much is left out."""
    output = "\n".join(f"line {number} ``` <!here>" for number in range(500))
    message = render.note(Note("Restored", output, "good"))
    refuse_nothing(message)
    container = message.blocks[1]
    assert container["default_collapsed"] is True
    told = shown(container["child_blocks"])
    assert told.startswith("… 460 earlier lines are in the journal\n")
    assert told.endswith("line 499 ``` <!here>")
    assert len(render.note(Note("Restored")).blocks) == 1


def test_note_folds_its_detail() -> None:
    """What a check has to show stands folded in a code block from its beginning, and says how much is left out."""
    detail = "\n".join(f"line {number} ``` <!here>" for number in range(500))
    message = render.note(Note("Would change", detail=detail))
    refuse_nothing(message)
    told = shown(message.blocks[1]["child_blocks"])
    assert told.startswith("line 0 ``` <!here>")
    assert told.endswith("… 460 more lines are in the journal")
    refuse_nothing(render.note(Note("Would change", detail="x" * 9_000)))


def test_held_question_has_four_answers_until_it_has_one() -> None:
    """A held step shows its failure and four buttons; once decided it shows the decision and none."""
    run = SMALL_RUNS["held"]
    asked = render.held(run, "stop")
    assert buttons(asked.blocks) == list(ids.DECIDE)
    values = {part["value"] for part in parts(asked.blocks) if part.get("type") == "button"}
    assert [json.loads(value) for value in values] == [{"id": "rb-0001", "v": run.state_seq, "step": "stop"}]
    told = shown(asked.blocks)
    for expected in (
        "the service did not stop",
        "the database was not touched",
        "unknown: the host does not answer",
    ):
        assert expected in told
    for state, decision in (("abort_decided", "decided: abort"), ("resumed", "decided: skip")):
        answered = render.held(SMALL_RUNS[state], "stop")
        assert buttons(answered.blocks) == []
        assert decision in shown(answered.blocks)


@pytest.mark.parametrize("name", PLANS)
def test_plan_can_be_read_whatever_its_size(name: str) -> None:
    """A plan fits in a message and in a modal, and tells its digest in full."""
    of: Plan = PLANS[name]
    message, modal = render.plan_message(of), render.plan_modal(of)
    refuse_nothing(message)
    assert blockkit.validate_view(modal) == []
    assert of.digest()[:40] in shown(message.blocks)
    if name == "small":
        assert "wanted=v2.3.1" in shown(message.blocks)
        assert "/backups/pre-deploy/payments.dump" in shown(message.blocks)


@pytest.mark.parametrize("user", [ONCALL, MANAGER, STRANGER])
def test_home_is_taken_by_slack(user: str) -> None:
    """The App Home stays within its 100 blocks with 51 rollbacks of every state at once."""
    active = [replace(run, id=f"rb-{number:04}") for number, run in enumerate(RUNS.values())]
    view = render.home(user, active=active, recent=active, policy=POLICY, now=rollbacks.at(5), command="/rollback")
    assert blockkit.validate_view(view) == []
    empty = render.home(user, active=(), recent=(), policy=POLICY, now=rollbacks.at(5), command="/rollback")
    assert blockkit.validate_view(empty) == []
    assert "Nothing waits for you." in shown(empty["blocks"])
    assert blockkit.validate_view(render.home_trouble("x" * 9_000)) == []


def test_home_shows_what_waits_for_this_person() -> None:
    """Only who may approve finds the approval in the App Home's first part; held steps carry their buttons."""
    active = [SMALL_RUNS["awaiting_authority"], replace(SMALL_RUNS["held"], id="rb-0002")]
    ended = [replace(SMALL_RUNS["closed"], id="rb-0003")]

    def home(user: str) -> str:
        blocks = render.home(user, active=active, recent=ended, policy=POLICY, now=rollbacks.at(5), command="/rb")[
            "blocks"
        ]
        assert set(ids.DECIDE) <= set(buttons(blocks))
        return shown(blocks)

    assert "Nothing waits for you." not in home(MANAGER)
    assert "Nothing waits for you." in home(ONCALL)
    assert "took 25 minutes" in home(ONCALL)


def test_modals_are_taken_by_slack() -> None:
    """Every modal stays within the limits of modals, with the longest legal words."""
    long = Ticket(
        id="rb-" + "9" * 12, v=10**9, step="s" * 63, choice=Choice.ABORT, url="https://x.example/" + "y" * 400
    )
    changes = [
        PlanSummary(f"CHG{n:07}", HOSTILE * 9, "s" * 80, rollbacks.START, valid=n % 2 == 0) for n in range(150)
    ]
    for view in (
        render.request_modal([*changes, *changes], long),
        render.request_modal([], long),
        render.reject_modal(long),
        *(render.decide_modal(long, choice) for choice in Choice),
        render.loading_modal("A title that is far longer than allowed"),
        render.saying_modal("T", HOSTILE * 100),
        render.message_modal("T", render.help_message("/rollback")),
    ):
        assert blockkit.validate_view(view) == []
    assert len(next(iter(render.request_modal(changes, long)["blocks"]))["element"]["options"]) == 100


def test_unusable_plan_is_marked_in_the_list_of_changes() -> None:
    """A change whose plan cannot be used says so where it is chosen, however long its title."""
    summary = PlanSummary("CHG0012345", "t" * 120, "payments", None, valid=False)
    option = render.request_modal([summary], Ticket())["blocks"][0]["element"]["options"][0]
    assert option["text"]["text"].endswith("(plan unusable)")
    assert option["value"] == "CHG0012345"


def test_answers_are_taken_by_slack() -> None:
    """Every ephemeral answer is a message that Slack takes, with the longest words."""
    problems = tuple(f"plan.yaml:{n}: {HOSTILE * 20}" for n in range(60))
    place = {"type": "channel", "channel_id": "C0OPS"}
    for message in (
        render.help_message("/rollback"),
        render.begun(SMALL_RUNS["requested"], place),
        render.refusal(RefusedError(HOSTILE * 30, untouched=HOSTILE * 30, resolution=HOSTILE * 30)),
        render.refusal(PlanInvalidError("The plan is unusable.", problems=problems)),
        render.runs_message("Latest", list(RUNS.values()), none="None."),
        render.runs_message("Latest", [], none="None."),
        render.saying(HOSTILE * 50, detail=HOSTILE * 200),
        render.read_only(render.card(SMALL_RUNS["awaiting_authority"], POLICY, {})),
        *(
            render.not_understood("/rollback", commands.Unknown("x" * 60, *rest))
            for rest in ((), ("status", "No."))
        ),
    ):
        refuse_nothing(message)
        assert buttons(message.blocks) == []


def test_invalid_plan_shows_its_problems() -> None:
    """Every problem of a plan is shown as it was found."""
    error = PlanInvalidError("The plan is unusable.", problems=("CHG.yaml:3: `phases`: missing",))
    told = shown(render.refusal(error).blocks)
    assert "CHG.yaml:3: `phases`: missing" in told
    assert "Nothing was run." in told


@given(st.text(max_size=5_000), st.text(max_size=8_000))
@settings(max_examples=60, deadline=timedelta(seconds=5))
def test_any_words_make_a_message(words: str, output: str) -> None:
    """Whatever words a tool or a person produces, the message is one that Slack takes."""
    refuse_nothing(render.note(Note(words or "x", output)))
    refuse_nothing(render.note(Note(words or "x", detail=output)))
    refuse_nothing(render.standard(Standard("T", (words, output)), mentions={ONCALL}))
    refuse_nothing(render.saying(words or "x", detail=output))


def test_every_state_of_the_lifecycle_is_rendered_here() -> None:
    """The samples leave out no state."""
    assert {run.state for run in SMALL_RUNS.values()} == set(State)
