"""What the chat does not take, and who cannot be reached, holds up nobody for ever and is not forgotten."""

from __future__ import annotations

import pytest

from bot.domain.announcements import (
    CARD,
    Announcement,
    Card,
    Content,
    HeldQuestion,
    Note,
    Place,
    Standard,
    announcements,
)
from bot.domain.messages import Asks, Question
from bot.domain.ports import ChatBusyError, ChatRefusedError
from bot.domain.run import Run
from bot.domain.speech import Entry
from bot.engine import wanted
from tests.support import plans
from tests.support.announcing import Cut, claimed, expected, noted, wait_out
from tests.support.engine import Lab

POISON = "0002-incident_opened"
REFUSED = ChatRefusedError("Slack does not take it (invalid_blocks).")


async def tried(lab: Lab, run: Run, times: int) -> list[float | None]:
    """Let an announcer speak that often, with the pauses that it asks for, and return those."""
    announcer = lab.announcer()
    pauses = []
    for _ in range(times):
        pauses.append(await announcer.sync(run.id))
        await wait_out(lab, pauses[-1] or 0)
    await announcer.leave()
    return pauses


async def test_a_refused_message_is_posted_as_plain_text(lab: Lab) -> None:
    """What the chat refuses three times is posted as text alone, without looking for it, and in its place."""
    run = await noted(lab, await lab.requested(), times=2)
    lab.chat.trouble = Cut(REFUSED, post_0002=3)
    assert await tried(lab, run, 4) == [2.0, 2.0, 2.0, None]
    assert lab.chat.keys() == expected(lab, run)
    assert list(lab.chat.plain) == [POISON]
    assert "INC0000001" in lab.chat.plain[POISON]
    assert lab.chat.finds == []


async def test_a_message_that_is_refused_for_good(lab: Lab, caplog: pytest.LogCaptureFixture) -> None:
    """What the chat refuses as plain text too is given up, with a line in the log; what follows is said."""
    run = await noted(lab, await lab.requested(), times=2)
    trouble = Cut(REFUSED, post_0002=99)
    lab.chat.trouble = trouble
    assert await tried(lab, run, 6) == [2.0] * 5 + [None]
    rest = [key for key in expected(lab, run) if key != POISON]
    assert lab.chat.keys() == rest
    assert trouble.calls.count(f"post {POISON}") == 6
    given_up = [record for record in caplog.records if "GIVEN UP" in record.getMessage()]
    assert len(given_up) == 1
    assert given_up[0].levelname == "ERROR"
    for part in (run.id, POISON, "invalid_blocks", "INC0000001"):
        assert part in given_up[0].getMessage()
    assert await tried(lab, run, 2) == [None, None]
    assert lab.chat.keys() == rest


async def test_refusals_are_counted_across_processes(lab: Lab) -> None:
    """A process that takes over goes on counting where the one before was."""
    run = await noted(lab, await lab.requested())
    lab.chat.trouble = Cut(REFUSED, post_0002=5)
    for _ in range(3):
        await tried(lab, run, 2)
    assert list(lab.chat.plain) == [POISON]


async def test_the_card_is_never_given_up(lab: Lab) -> None:
    """Everything hangs on the card: it is tried until the chat takes it, then all the rest is said."""
    run = await noted(lab, await lab.requested())
    lab.chat.trouble = Cut(REFUSED, post_card=9)
    assert await tried(lab, run, 10) == [2.0] * 9 + [None]
    assert lab.chat.keys() == expected(lab, run)
    assert lab.chat.edits == [run.seq], "as soon as the plain one is there, the card is tried again by an edit"


async def test_a_card_that_the_chat_does_not_take_as_it_is(lab: Lab) -> None:
    """An edit that the chat refuses is not made again and again, only when something changes."""
    run = await lab.requested()
    announcer = lab.announcer()
    await announcer.sync(run.id)
    trouble = Cut(REFUSED, edit=99)
    lab.chat.trouble = trouble
    for count in (1, 2):
        run = await noted(lab, run)
        await wait_out(lab, 5)
        assert await announcer.sync(run.id) is None
        assert await announcer.sync(run.id) is None
        assert trouble.calls.count("edit") == count


async def test_an_outage_is_no_refusal(lab: Lab) -> None:
    """However long the chat is away, nothing is posted as plain text and nothing is given up."""
    run = await noted(lab, await lab.requested())
    lab.chat.trouble = Cut(ConnectionError("away"), post_0002=20)
    announcer = lab.announcer()
    for _ in range(20):
        with pytest.raises(ConnectionError):
            await announcer.sync(run.id)
        await wait_out(lab, 4)
    assert await announcer.sync(run.id) is None
    assert lab.chat.keys() == expected(lab, run)
    assert lab.chat.plain == {}
    assert lab.chat.finds == [POISON] * 20, "each time it may have been posted all the same"


async def test_a_busy_chat_is_waited_for(lab: Lab) -> None:
    """A message for which the chat has no room comes after the time that it asks for, without being looked for."""
    run = await noted(lab, await lab.requested(), times=2)
    lab.chat.trouble = Cut(ChatBusyError(7.0), post_0002=3)
    assert await tried(lab, run, 4) == [7.0, 7.0, 7.0, None]
    assert lab.chat.keys() == expected(lab, run)
    assert lab.chat.finds == []
    assert lab.chat.plain == {}


async def test_a_chat_too_busy_to_look(lab: Lab) -> None:
    """A message in doubt stays in doubt while the chat has no room for a look."""
    run = await noted(lab, await lab.requested())
    await claimed(lab, run, POISON)
    await wait_out(lab, 3)
    lab.chat.trouble = Cut(ChatBusyError(7.0), find_0002=2)
    assert await tried(lab, run, 3) == [7.0, 7.0, None]
    assert lab.chat.finds == [POISON] * 3
    assert lab.chat.keys() == expected(lab, run)


class Unreachable:
    """One person whom the chat does not know, or who cannot be reached for now."""

    def __init__(self, error: Exception) -> None:
        self.error: Exception | None = error
        self.calls: list[str] = []

    async def __call__(self, what: str) -> None:
        """Fail whatever concerns that person directly."""
        self.calls.append(what)
        if what.endswith(f"-{plans.OWNER}") and self.error:
            raise self.error


def for_owner(lab: Lab, run: Run) -> list[str]:
    """Return the keys of what the service owner is told directly."""
    return [each.key for each in announcements(run, lab.policy) if each.user == plans.OWNER]


async def test_who_cannot_be_reached_is_named_in_the_thread(lab: Lab) -> None:
    """Whom the chat does not know is tried six times while all else is said; then the thread names them."""
    run = await lab.asked()
    trouble = Unreachable(ChatRefusedError("Slack knows no such person (user_not_found)."))
    lab.chat.trouble = trouble
    (missing,) = for_owner(lab, run)
    assert await tried(lab, run, 1) == [2.0]
    assert lab.chat.keys() == [key for key in expected(lab, run) if key != missing]
    await tried(lab, run, 5)
    assert trouble.calls.count(f"post {missing}") == 6
    note, ref = lab.chat.posted[-1]
    assert (note.key, note.place) == (f"{missing}-unreached", Place.THREAD)
    assert note.content == Note(
        "A. Okafor could not be reached directly about ROLLBACK NEEDS AUTHORITY. Tell them by another way.",
        tone="warn",
    )
    before = lab.chat.keys()
    assert None in await tried(lab, run, 2)
    assert lab.chat.keys() == before, "another process knows it from the ledger, and says it no second time"
    assert (await lab.ledger.all(run.id))[note.key].ref == ref


async def test_the_note_comes_before_what_follows(lab: Lab) -> None:
    """The note about somebody unreachable is posted before anything that became due after it was due."""
    run = await lab.asked()
    lab.chat.trouble = Unreachable(ChatRefusedError("Slack knows no such person (user_not_found)."))
    (missing,) = for_owner(lab, run)
    await tried(lab, run, 5)
    run = await lab.approve(run)
    await tried(lab, run, 1)
    keys = lab.chat.keys()
    assert keys.index(f"{missing}-unreached") < keys.index(expected(lab, run)[-1])


async def test_who_cannot_even_be_looked_up(lab: Lab) -> None:
    """Somebody in doubt whom the chat does not know is counted as unreachable, too."""
    run = await lab.asked()
    (missing,) = for_owner(lab, run)
    await claimed(lab, run, missing)
    await wait_out(lab, 3)
    trouble = Unreachable(ChatRefusedError("Slack knows no such person (user_not_found)."))
    lab.chat.trouble = trouble
    announcer = lab.announcer()
    for _ in range(6):
        await announcer.sync(run.id)
        await wait_out(lab, 3)
    assert trouble.calls.count(f"find {missing}") == 6
    assert f"post {missing}" not in trouble.calls
    assert lab.chat.keys()[-1] == f"{missing}-unreached"


async def test_who_is_away_for_now_is_reached_later(lab: Lab) -> None:
    """A direct message that an outage stops is tried until it arrives, and blocks nobody meanwhile."""
    run = await lab.after(await lab.approved())
    trouble = Unreachable(ConnectionError("away"))
    lab.chat.trouble = trouble
    missing = for_owner(lab, run)
    announcer = lab.announcer()
    for _ in range(12):
        assert await announcer.sync(run.id) == 2.0
        await wait_out(lab, 4)
    assert lab.chat.keys() == [key for key in expected(lab, run) if key not in missing]
    assert {call for call in trouble.calls if call.startswith("post") and call.endswith(plans.OWNER)} == {
        f"post {missing[0]}"
    }, "what the person is told later does not overtake it"
    trouble.error = None
    assert await announcer.sync(run.id) is None
    assert sorted(lab.chat.keys()) == sorted(expected(lab, run))
    said = lab.chat.keys()
    assert [key for key in said if key in missing] == missing


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (Card(), "rb-0001"),
        (Standard("CHECKS", ("one", "two")), "CHECKS\none\ntwo"),
        (Note("Stopped.", "line of output"), "Stopped.\nline of output"),
        (HeldQuestion("stop"), "servers.stop on payments-servers"),
        (Question(Asks.REMEDIES, 7, "stop"), "servers.stop on payments-servers"),
        (Question(Asks.DEPLOYMENTS, 7), "deployments"),
    ],
)
async def test_every_message_has_words(lab: Lab, content: Content, words: str) -> None:
    """Whatever the chat does not take as it should be can be said in words alone; questions say how to answer."""
    run = await lab.requested()
    said = wanted.plain(run, Announcement("0007-x", Place.THREAD, content))
    assert words.lower() in said.lower()
    assert ("/rollback" in said) is isinstance(content, HeldQuestion | Question)


async def test_somebody_of_the_plan_is_named_by_role(lab: Lab) -> None:
    """Who is in no policy is named by the role that the plan gives them, and else by their id."""
    run = await lab.requested()
    entries = {key: Entry(given_up=True) for key in ("0001-x",)}
    assert list(wanted.wanted(run, lab.policy, entries)) == [CARD]
    for user, name in (("U0ESCALATION", "U0ESCALATION"), (run.plan.communication.escalation[0].user, None)):
        made = wanted._unreached(run, lab.policy.model_copy(update={"people": ()}), direct(user))
        assert isinstance(made.content, Note)
        role = next((each.role for each in run.plan.communication.escalation if each.user == user), name)
        assert made.content.text == f"{role} could not be reached directly. Tell them by another way."


def direct(user: str) -> Announcement:
    """Return a direct message."""
    return Announcement("0001-x", Place.DIRECT, Note("hello"), user)
