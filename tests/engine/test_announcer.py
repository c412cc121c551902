from __future__ import annotations

import pytest

from bot.domain import ports
from bot.domain.actuation import Progress
from bot.domain.announcements import Place, announcements
from bot.domain.errors import RollbackError, StoreUnavailableError
from bot.domain.lifecycle import State
from bot.domain.ports import Entry, MessageRef
from storage.runs import RunUnreadableError
from tests.support.announcing import Cut, claimed, expected, noted, noted_in_ledger, wait_out
from tests.support.engine import Lab
from tests.support.wires import Passing, Wire

AFTER_DOUBT = pytest.approx(3, abs=0.5)
"""Seconds after which a message in doubt is looked for: claims are judged by the database's clock."""


async def test_everything_is_said_in_order(lab: Lab) -> None:
    """What the journal calls for is posted once and in order, the card first, and the ledger knows where it is."""
    run = await lab.after(await lab.approved())
    announcer = lab.announcer()
    assert run.state is State.CLOSED
    assert await announcer.sync(run.id) is None
    assert lab.chat.keys() == expected(lab, run)
    assert lab.chat.keys()[0] == "card"
    titles = [getattr(posted.content, "title", "") for posted, _ in lab.chat.posted]
    assert titles.index("ROLLBACK IN PROGRESS") < titles.index("✅ ROLLBACK COMPLETE")
    assert await announcer.sync(run.id) is None
    assert await noted_in_ledger(lab, run) == {posted.key: ref for posted, ref in lab.chat.posted}
    assert lab.chat.edits == []


async def test_a_restart_posts_what_is_missing(lab: Lab) -> None:
    """A new announcer posts only what the old one had not, and shows the card as it now is."""
    run = await lab.requested()
    first = lab.announcer()
    await first.sync(run.id)
    await first.leave()
    run = await lab.after(run)
    second = lab.announcer()
    await second.sync(run.id)
    assert lab.chat.keys() == expected(lab, run)
    assert lab.chat.edits == [run.seq]
    await second.leave()
    await lab.announcer().sync(run.id)
    assert lab.chat.edits == [run.seq], "the card shows it already"


@pytest.mark.parametrize("key", ["card", "0002-incident_opened"])
async def test_a_crash_after_posting(lab: Lab, key: str) -> None:
    """A message of somebody who died before noting it is found, not posted again; a found card is updated."""
    run = await noted(lab, await lab.requested())
    posted = announcements(run, lab.policy)
    for wanted in posted[: 1 if key == "card" else 2]:
        await claimed(lab, run, wanted.key)
        thread = lab.chat.posted[0][1] if wanted.place is Place.THREAD else None
        ref = await lab.chat.post(run, wanted, thread=thread, progress={})
        if wanted.key != key:
            await lab.ledger.posted(run.id, wanted.key, ref)
    announcer = lab.announcer()
    assert await announcer.sync(run.id) == AFTER_DOUBT
    assert lab.chat.finds == []
    await wait_out(lab, 3)
    assert await announcer.sync(run.id) is None
    assert lab.chat.finds == [key]
    assert lab.chat.keys() == expected(lab, run)
    assert lab.chat.edits == [run.seq]
    assert (await noted_in_ledger(lab, run))[key] == next(ref for found, ref in lab.chat.posted if found.key == key)


async def test_a_claim_that_was_never_posted(lab: Lab) -> None:
    """A message that somebody claimed and never posted is posted once it is not found; nothing overtakes it."""
    run = await noted(lab, await lab.requested(), times=2)
    await claimed(lab, run, "0002-incident_opened")
    announcer = lab.announcer()
    assert await announcer.sync(run.id) == AFTER_DOUBT
    assert lab.chat.keys() == ["card"]
    await wait_out(lab, 2)
    assert await announcer.sync(run.id) == pytest.approx(1, abs=0.5)
    await wait_out(lab, 1)
    assert await announcer.sync(run.id) is None
    assert lab.chat.finds == ["0002-incident_opened"]
    assert lab.chat.keys() == ["card", "0002-incident_opened", "0003-incident_opened"]


@pytest.mark.parametrize("when", ["post", "posted"])
async def test_a_post_that_fails(lab: Lab, when: str) -> None:
    """A post that failed, before or after it reached the chat, is looked for before it is posted again."""
    run = await noted(lab, await lab.requested(), times=3)
    lab.chat.trouble = Cut(ConnectionError("reset"), **{f"{when}_0003": 1})
    announcer = lab.announcer()
    with pytest.raises(ConnectionError):
        await announcer.sync(run.id)
    assert lab.chat.keys()[-1] in ("0002-incident_opened", "0003-incident_opened")
    assert await announcer.sync(run.id) == AFTER_DOUBT
    await wait_out(lab, 3)
    assert await announcer.sync(run.id) is None
    assert lab.chat.keys() == expected(lab, run)
    assert lab.chat.finds == ["0003-incident_opened"]


async def test_another_announcer_posts_meanwhile(lab: Lab) -> None:
    """A message that somebody else posts between reading the ledger and the claim is not posted again."""
    run = await lab.requested()
    other = MessageRef("C0OPS", "1.000100")
    announcer = lab.announcer()
    known = lab.ledger.all

    async def before(rollback_id: str) -> dict[str, Entry]:
        empty = await known(rollback_id)
        await lab.ledger.posted(run.id, "card", other)
        return empty

    lab.ledger.all = before  # type: ignore[method-assign] # somebody else, at the worst moment
    lab.chat.posted.append((announcements(run, lab.policy)[0], other))
    lab.chat.cards[run.id] = other
    assert await announcer.sync(run.id) is None
    assert lab.chat.keys() == ["card"]


async def test_a_store_that_is_away_behind_a_post(lab: Lab) -> None:
    """A message that was posted and could not be noted, since the store was away, is found again."""
    run = await noted(lab, await lab.requested())
    known, away = lab.ledger.posted, True

    async def posted(rollback_id: str, key: str, ref: MessageRef, *, shown: str = "") -> MessageRef:
        if away and key == "0002-incident_opened":
            raise StoreUnavailableError("away")
        return await known(rollback_id, key, ref, shown=shown)

    lab.ledger.posted = posted  # type: ignore[method-assign] # the store, at the worst moment
    announcer = lab.announcer()
    with pytest.raises(StoreUnavailableError):
        await announcer.sync(run.id)
    away = False
    await wait_out(lab, 3)
    assert await announcer.sync(run.id) is None
    assert lab.chat.finds == ["0002-incident_opened"]
    assert lab.chat.keys() == expected(lab, run)


async def test_two_messages_under_one_key(lab: Lab) -> None:
    """Who finds that another process has posted the same, while it was frozen, takes its own message back."""
    run = await noted(lab, await lab.requested())
    other = MessageRef("C0OPS", "1.000100")

    async def overtaken(what: str) -> None:
        if what == "posted 0002-incident_opened":
            await lab.ledger.posted(run.id, "0002-incident_opened", other)

    lab.chat.trouble = overtaken
    await lab.announcer().sync(run.id)
    assert lab.chat.keys() == ["card"]
    assert len(lab.chat.withdrawn) == 1
    assert (await noted_in_ledger(lab, run))["0002-incident_opened"] == other


async def test_a_message_that_cannot_be_taken_back(lab: Lab, caplog: pytest.LogCaptureFixture) -> None:
    """A second message that the chat does not delete is told in the log, and what follows is said all the same."""
    run = await noted(lab, await lab.requested(), times=2)

    async def overtaken(what: str) -> None:
        if what == "posted 0002-incident_opened":
            await lab.ledger.posted(run.id, "0002-incident_opened", MessageRef("C0OPS", "1.000100"))
        if what == "withdraw":
            raise ConnectionError("reset")

    lab.chat.trouble = overtaken
    await lab.announcer().sync(run.id)
    assert lab.chat.keys() == expected(lab, run)
    assert "stands twice in the chat" in caplog.text


async def test_the_card_is_edited_at_most_once_a_second(lab: Lab) -> None:
    """However fast the journal moves, the card is edited once a second at most, and not without need."""
    run = await lab.requested()
    announcer = lab.announcer()
    await announcer.sync(run.id)
    run = await noted(lab, run)
    assert await announcer.sync(run.id) == 1.0
    run = await noted(lab, run)
    await lab.clock.advance(0.25)
    assert await announcer.sync(run.id) == 0.75
    assert lab.chat.edits == []
    await lab.clock.advance(0.75)
    assert await announcer.sync(run.id) is None
    assert lab.chat.edits == [run.seq]
    await lab.clock.advance(9)
    assert await announcer.sync(run.id) is None
    assert lab.chat.edits == [run.seq]


async def test_a_busy_chat_gets_a_later_edit(lab: Lab) -> None:
    """An edit that the chat has no room for is made up for when it has, with what is true then."""
    run = await lab.requested()
    announcer = lab.announcer()
    await announcer.sync(run.id)
    await noted(lab, run)
    await lab.clock.advance(1)

    async def busy(what: str) -> None:
        if what.startswith("edit"):
            raise ports.ChatBusyError(7.0)

    lab.chat.trouble = busy
    assert await announcer.sync(run.id) == 7.0
    assert lab.chat.edits == []
    lab.chat.trouble = None
    await lab.clock.advance(7)
    run = await lab.runs.load(run.id)
    assert await announcer.sync(run.id) is None
    assert lab.chat.edits == [run.seq]


async def test_a_card_that_changes_under_an_edit_is_edited_again(lab: Lab) -> None:
    """What somebody did to the card while it was being edited, such as taking its buttons away, does not last."""
    run = await lab.requested()
    announcer = lab.announcer()
    await announcer.sync(run.id)
    run = await noted(lab, run)
    await lab.clock.advance(1)

    async def meddle(what: str) -> None:
        if what.startswith("edit"):
            await announcer.refresh(run.id)

    lab.chat.trouble = meddle
    assert await announcer.sync(run.id) == 1.0
    lab.chat.trouble = None
    await lab.clock.advance(1)
    assert await announcer.sync(run.id) is None
    assert lab.chat.edits == [run.seq, run.seq]


async def test_progress_edits_the_card(lab: Lab) -> None:
    """Progress of a step shows on the card without any event."""
    run = await lab.requested()
    announcer = lab.announcer()
    await announcer.sync(run.id)
    await lab.clock.advance(1)
    await lab.board.write(run.id, "restore", Progress(1, 2, "bytes"))
    await announcer.sync(run.id)
    assert lab.chat.edits == [run.seq]


async def test_an_edit_that_fails_is_made_again(lab: Lab) -> None:
    """An edit that the chat did not take is made again after the interval."""
    run = await lab.requested()
    announcer = lab.announcer()
    await announcer.sync(run.id)
    run = await noted(lab, run)
    await lab.clock.advance(1)
    lab.chat.trouble = Cut(ConnectionError("reset"), edit=1)
    with pytest.raises(ConnectionError):
        await announcer.sync(run.id)
    assert await announcer.sync(run.id) == 1.0
    await lab.clock.advance(1)
    assert await announcer.sync(run.id) is None
    assert lab.chat.edits == [run.seq]


async def test_a_deleted_card_is_let_go(lab: Lab) -> None:
    """A card that somebody deleted is not edited again and again, only when something changes; messages go on."""
    run = await lab.requested()
    announcer = lab.announcer()
    await announcer.sync(run.id)
    trouble = Cut(RollbackError("The card is gone."), edit=99)
    lab.chat.trouble = trouble
    for count in (1, 2):
        run = await noted(lab, run)
        await lab.clock.advance(5)
        assert await announcer.sync(run.id) is None
        assert await announcer.sync(run.id) is None
        assert trouble.calls.count("edit") == count
    assert lab.chat.keys() == expected(lab, run)


async def test_a_rollback_that_cannot_be_read(lab: Lab) -> None:
    """A rollback that does not exist, or that this program cannot read, is left alone until it changes."""
    announcer = lab.announcer()
    assert await announcer.sync("rb-9999") is None
    await announcer.leave()

    async def unreadable(passing: Passing) -> None:
        if passing.call == "load":
            raise RunUnreadableError("made by a newer version")

    run = await lab.requested()
    assert await lab.announcer(Wire(lab.runs, trouble=unreadable)).sync(run.id) is None
    assert lab.chat.posted == []
