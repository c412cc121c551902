"""What people type to a rollback that runs, through the console, the Bolt app and the service."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import pytest
import pytest_asyncio
from hypothesis import example, given
from hypothesis import strategies as st

from bot.domain import events
from bot.domain.errors import RefusedError
from bot.domain.events import AnyEvent, Choice
from handlers.slack import commands, saying
from tests.support import rollbacks
from tests.support.rollbacks import MANAGER, ONCALL, OWNER, STRANGER
from tests.support.saying import (
    RETURN,
    RUN,
    authorised,
    begun,
    by,
    dangerous,
    drafted,
    failed,
    journal,
    remedies,
    told,
)
from tests.support.slack import World, world


@pytest_asyncio.fixture
async def slack() -> AsyncIterator[World]:
    """A workspace with the bot in it."""
    async with world() as found:
        yield found


Row = tuple[str, tuple[AnyEvent, ...], str, dict[str, Any], str]
TYPED: list[Row] = [
    ("hold rb-0001 the replica lags", (), "hold_asked", {"why": "the replica lags"}, "is on hold as soon as"),
    ("HOLD “the replica lags”", (), "hold_asked", {"why": "the replica lags"}, "«Stop the service» ends"),
    ("resume CHG0012345 it has caught up", (events.HoldAsked(name="A", **by(ONCALL)),), "resume_asked",
     {"why": "it has caught up"}, "rb-0001 is resumed: it goes on now."),
    ("abort we fix forward", (), "abort_asked", {"why": "we fix forward", "stop": False}, "may end"),
    ("abort rb-0001 now we fix forward", (), "abort_asked", {"why": "we fix forward", "stop": True},
     "is being stopped"),
    ("retry rb-0001 stop it is up again", failed(), "decided", {"choice": Choice.RETRY, "why": "it is up again"},
     "«Stop the service» runs again"),
    ("done it is stopped", failed(), "decided", {"choice": Choice.MARK_DONE, "step": "stop"}, "counts as done"),
    ("skip Stop: host is gone", failed(), "decided", {"choice": Choice.SKIP, "why": "host is gone"}, "is skipped"),
    ("remedy rb-0001 stop kill they hang", (*failed(), remedies()), "remedy_chosen",
     {"remedy": "remedy.kill.1", "why": "they hang"}, "«End the sessions» is run now"),
    ("remedy sessions", (*failed(), remedies()), "remedy_chosen", {"remedy": "remedy.sessions.1"}, "decide about"),
    ("extend rb-0001 20m the restore is slow", (), "extended", {"estimate": timedelta(minutes=50)},
     "the window is 50 minutes now"),
    ("extend", (drafted(),), "extended", {"estimate": timedelta(minutes=60), "why": "the restore is slow"},
     "ROLLBACK EXTENSION is being sent"),
    ("continue ten more minutes", (), "continuation_chosen", {"why": "ten more minutes"}, "beyond its window"),
    (f"handover rb-0001 <@{OWNER}|r.silva> end of my shift", (), "lead_handed_over",
     {"to": OWNER, "why": "end of my shift"}, "R. Silva leads rb-0001 from now on"),
    (f"handover <@{OWNER}> rb-0001 end of my shift", (), "lead_handed_over", {"to": OWNER}, "R. Silva"),
]  # fmt: skip


@pytest.mark.parametrize("row", TYPED, ids=[row[0] for row in TYPED])
async def test_typed_word_reaches_its_use_case(slack: World, row: Row) -> None:
    """Each verb writes its own event with the right words, and its author is told what happens next."""
    typed, before, kind, fields, answer = row
    await begun(slack, *before)
    await slack.type(MANAGER, typed)
    written: Any = journal(slack)[-1]
    assert written.kind == kind, await told(slack, MANAGER)
    assert written.who == MANAGER
    assert {name: getattr(written, name) for name in fields} == fields
    said = await told(slack, MANAGER)
    assert RUN in said
    assert answer in said


ABOUT_OTHERS = [verb for verb in commands.SAYINGS if verb != "cannot"]
"""Every word but the one about steps that people do, see `test_by_hand`."""


@pytest.mark.parametrize("verb", ABOUT_OTHERS)
async def test_person_without_a_role_is_refused_in_words(slack: World, verb: str) -> None:
    """Who holds no role can say nothing to a rollback, and is told so."""
    if verb == "confirm":
        await authorised(slack)
        await slack.add(events.ConfirmationAsked(losses=(), **by()))
    else:
        await begun(slack, *failed(), remedies(), drafted())
    if verb == "unblock":
        await slack.add(events.AbortAsked(name="J", **by(MANAGER)), events.Aborted(**by()))
    before = len(journal(slack))
    words = {"remedy": "rb-0001 stop kill why", "handover": f"rb-0001 <@{OWNER}> why"}.get(verb, "rb-0001 20m why")
    await slack.type(STRANGER, f"{verb} {words}")
    assert "You hold no role here" in await told(slack, STRANGER)
    assert len(journal(slack)) == before


@pytest.mark.parametrize("verb", ABOUT_OTHERS)
async def test_word_without_its_reason_is_answered_with_an_example(slack: World, verb: str) -> None:
    """Grammar is explained by an example of the verb that was typed, and nothing is written."""
    if verb == "confirm":
        await authorised(slack)
        await slack.add(events.ConfirmationAsked(losses=(), **by()))
    else:
        await begun(slack, *failed())
    before = len(journal(slack))
    await slack.type(MANAGER, f"{verb} rb-0001")
    said = await told(slack, MANAGER)
    assert said.startswith("⛔")
    assert "20m" in said if verb == "extend" else f"For example: {commands.EXAMPLES[verb]}" in said
    assert len(journal(slack)) == before


@pytest.mark.parametrize(
    ("typed", "answer"),
    [
        ("hold rb-0002 why", "There is no rollback rb-0002."),
        ("abort rb0002 why", "There is no rollback rb-0002."),
        ("abort CHG 9999999 why", "There is no rollback CHG9999999."),
        ("abort CHG12 why", "There is no rollback CHG12."),
        ("resume rb-0001 why", "Nobody holds rb-0001."),
        ("retry rb-0001 stop why", "No step of rb-0001 waits for a decision: it is in progress."),
        ("confirm rb-0001 why", "rb-0001 asks for no confirmation of a loss"),
        ("unblock rb-0001 why", "deployments of payments stay blocked"),
        ("extend rb-0001 80d why", "A window is extended by up to"),
        ("extend rb-0001 slow", "Say by how much, e.g. 20m."),
        ("handover rb-0001 bob", "Hand over to whom?"),
        (f"handover rb-0001 <@{STRANGER}> why", "cannot lead this rollback"),
    ],
)
async def test_word_that_cannot_count_is_explained(slack: World, typed: str, answer: str) -> None:
    """What is typed about another rollback, or makes no sense now, changes nothing and is told why."""
    await begun(slack)
    before = len(journal(slack))
    await slack.type(MANAGER, typed)
    assert answer in await told(slack, MANAGER)
    assert len(journal(slack)) == before


async def test_rollback_must_be_named_among_several(slack: World) -> None:
    """With more than one under way none is guessed: both are named, with an example."""
    await begun(slack)
    other = rollbacks.plan(change="CHG0012340")
    run = rollbacks.run(other, rollbacks.histories(other)["executing"], rollback_id="rb-0002")
    slack.runs.runs[run.id] = run
    await slack.type(MANAGER, "abort everything")
    said = await told(slack, MANAGER)
    assert "Under way: rb-0001 (CHG0012345), rb-0002 (CHG0012340)." in said
    assert "For example: abort rb-0001 we fix forward" in said
    assert journal(slack)[-1].kind == "step_started"


async def test_nothing_can_be_said_when_nothing_is_under_way(slack: World) -> None:
    """Without a rollback a word is answered in one sentence."""
    await slack.type(MANAGER, "hold why")
    assert "No rollback is under way." in await told(slack, MANAGER)
    await slack.type(MANAGER, "unblock why")
    assert "No rollback blocks deployments." in await told(slack, MANAGER)


async def test_typed_abort_beyond_the_point_of_no_return_wants_its_word(slack: World) -> None:
    """Without «confirmed» nothing is given up: the warning is told, with the words that do."""
    slack.plans.plans["CHG0012345"] = dangerous()
    await begun(slack)
    await slack.type(MANAGER, "abort rb-0001 now we fix forward")
    said = await told(slack, MANAGER)
    assert RETURN in said
    assert "abort rb-0001 now confirmed and the reason" in said
    assert journal(slack)[-1].kind == "step_started"
    await slack.type(MANAGER, "abort rb-0001 now confirmed we fix forward")
    asked = slack.runs.runs[RUN].last(events.AbortAsked)
    assert (asked.why, asked.stop) == ("we fix forward", True)


RUNS = rollbacks.every_run(rollbacks.plan())
WORDS = st.lists(
    st.sampled_from(["now", "confirmed", "stop", "20m", "CHG0012345", "rb-1", "@a", "«", ""]) | st.text()
)


def said_or_refused(state: str, said: commands.Say) -> saying.Word | RefusedError:
    """Return what a typed word means for a rollback in a state, or why it is refused."""
    try:
        return saying.understood(RUNS[state], said)
    except RefusedError as error:
        return error


@given(st.sampled_from(commands.SAYINGS), WORDS, st.sampled_from(sorted(RUNS)))
@example("extend", ["9" * 400 + "d"], "executing")
@example("remedy", ["stop"], "held")
def test_any_words_are_understood_or_refused(verb: str, words: list[str], state: str) -> None:
    """Whatever stands behind a verb, it is understood with a reason of bounded length, or refused in words."""
    said = commands.parse(f"{verb} {' '.join(words)}")
    assert isinstance(said, commands.Say)
    assert said.verb == verb
    word = said_or_refused(state, said)
    if isinstance(word, RefusedError):
        assert word.brief
        assert word.resolution
        return
    assert word.verb == verb
    assert len(word.reason) <= commands.LONGEST_REASON


@pytest.mark.parametrize("verb", commands.SAYINGS)
def test_example_of_a_verb_is_understood(verb: str) -> None:
    """Every example is grammar that the bot itself takes, with the rollback, and a reason behind it."""
    said = commands.parse(commands.EXAMPLES[verb].replace("@name", f"<@{OWNER}|r.silva>"))
    assert isinstance(said, commands.Say)
    assert (said.verb, said.rollback) == (verb, RUN)
    assert saying.understood(RUNS["held"], said).reason
