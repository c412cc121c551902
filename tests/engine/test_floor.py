"""Several processes with an announcer on one store: one speaks, another goes on, nothing is said twice."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from functools import partial

import pytest

from bot.domain import speech
from bot.domain.errors import LeaseLostError, StoreUnavailableError
from bot.engine.podium import take
from storage.speaker import SqlFloor
from tests.support.announcing import (
    Hangs,
    Line,
    all_said,
    claimed,
    expected,
    lose_floor,
    noted,
    speakers,
    wait_out,
)
from tests.support.engine import Lab
from tests.support.fakes import meanwhile, turn, until
from tests.support.voices import Voice
from tests.support.wires import Wire

NOTE = "0002-incident_opened"


class Shaky:
    """The floor over a connection that may be cut or hang."""

    def __init__(self, floor: SqlFloor) -> None:
        self._floor = floor
        self.away = False
        self.hangs = False
        self.returned = 0

    async def _pass(self) -> None:
        if self.away:
            raise StoreUnavailableError("away")
        if self.hangs:
            await asyncio.Event().wait()

    async def take(self, owner: str) -> speech.Turn | None:
        """See the port."""
        await self._pass()
        return await self._floor.take(owner)

    async def keep(self, turn: speech.Turn) -> None:
        """See the port."""
        await self._pass()
        await self._floor.keep(turn)

    async def give_back(self, turn: speech.Turn) -> None:
        """See the port."""
        self.returned += 1
        await self._pass()
        await self._floor.give_back(turn)


def another(lab: Lab, owner: str = "bot-2", *, line: Line | None = None) -> Voice:
    """Return the announcer of another process."""
    return lab.announcer(owner=owner, chat=line or Line(lab.chat))


async def pass_until(lab: Lab, owner: str) -> None:
    """Let time pass until that process has the floor."""
    async with asyncio.timeout(20):
        while await speakers(lab) != [owner]:
            await lab.clock.advance(0.5)


async def test_one_speaks_and_the_other_is_ready(lab: Lab) -> None:
    """Of two processes one posts and edits everything; after its graceful stop the other goes on at once."""
    first, second = Line(lab.chat), Line(lab.chat)
    async with meanwhile(another(lab, "bot-1", line=first).run()) as speaking:
        await until(lambda: lab.clock.sleeping(1.0))
        async with meanwhile(another(lab, "bot-2", line=second).run()) as waiting:
            await until(lambda: lab.clock.sleeping(0.5))
            run = await lab.requested()
            await until(partial(all_said, lab, run))
            speaking.cancel()
            await until(speaking.done)
            assert await speakers(lab) == []
            run = await noted(lab, run)
            await lab.clock.advance(0.5)
            await until(partial(all_said, lab, run))
            waiting.cancel()
    assert first.calls == ["post card", "post card: done"]
    assert second.calls[:2] == [f"post {NOTE}", f"post {NOTE}: done"]
    assert lab.chat.finds == []


async def test_who_does_not_speak_makes_no_call(lab: Lab) -> None:
    """While another process has the floor nothing is read, remembered or timed but the next question for it."""
    await lab.floor.take("bot-1")
    wire = Wire(lab.runs)
    announcer = lab.announcer(wire, owner="bot-2")
    async with meanwhile(announcer.run()) as waiting:
        await until(lambda: lab.clock.sleeping(0.5))
        run = await lab.requested()
        await noted(lab, run, times=3)
        for _ in range(8):
            await lab.clock.advance(0.5)
            await lab.sql("SELECT 1")
        assert wire.calls == []
        assert lab.chat.posted == []
        await until(lambda: lab.clock.sleeping(0.5) == 1)
        waiting.cancel()


@pytest.mark.parametrize("sent", [True, False], ids=["sent", "not sent"])
async def test_the_speaker_dies(lab: Lab, *, sent: bool) -> None:
    """After the speaker died while it posted another looks for the message, and says what is missing once."""
    run = await noted(lab, await lab.requested(), times=2)
    hangs = Hangs(f"post {NOTE}: done" if sent else f"post {NOTE}")
    dying = asyncio.ensure_future(another(lab, "bot-1", line=Line(lab.chat, hangs)).run())  # noqa: TID251 - killed
    await hangs.reached.wait()
    async with meanwhile(another(lab).run()) as speaking:
        await lose_floor(lab)
        while lab.chat.keys() != expected(lab, run):
            await wait_out(lab, 0.5)
        speaking.cancel()
    assert lab.chat.finds == [NOTE]
    assert lab.chat.keys() == expected(lab, run)
    hangs.what = ""
    dying.cancel()
    hangs.go.set()
    with pytest.raises(asyncio.CancelledError):
        await dying


async def test_the_frozen_speaker_wakes(lab: Lab) -> None:
    """A speaker that was frozen while it sent takes its message back when another has said the same meanwhile."""
    run = await noted(lab, await lab.requested(), times=2)
    hangs = Hangs(f"post {NOTE}")
    frozen = Line(lab.chat, hangs)
    async with meanwhile(another(lab, "bot-1", line=frozen).run()) as first:
        await hangs.reached.wait()
        async with meanwhile(another(lab).run()) as second:
            await lose_floor(lab)
            while lab.chat.keys() != expected(lab, run):
                await wait_out(lab, 0.5)
            hangs.go.set()
            await until(lambda: lab.chat.withdrawn)
            assert lab.chat.keys() == expected(lab, run)
            run = await noted(lab, run)
            await until(partial(all_said, lab, run))
            assert await speakers(lab) == ["bot-2"]
            first.cancel()
            second.cancel()
    assert frozen.calls[-1] == "withdraw"


async def test_a_frozen_speaker_begins_nothing(lab: Lab) -> None:
    """A speaker that wakes after its time makes no call to the chat any more, whatever the store would say."""
    run = await noted(lab, await lab.requested())
    line = Line(lab.chat)
    announcer = another(lab, "bot-1", line=line)
    await announcer.sync(run.id)
    calls = list(line.calls)
    run = await noted(lab, run)
    lab.clock.jump(timedelta(days=1).total_seconds())
    with pytest.raises(LeaseLostError, match="in time"):
        await announcer.sync(run.id)
    assert line.calls == calls


async def test_the_ledger_stops_who_lost_the_floor(lab: Lab) -> None:
    """A speaker that does not know that it lost the floor, since its clock stood still, is stopped by the store."""
    run = await noted(lab, await lab.requested())
    line = Line(lab.chat)
    announcer = another(lab, "bot-1", line=line)
    await announcer.sync(run.id)
    calls = list(line.calls)
    run = await noted(lab, run)
    await lose_floor(lab)
    with pytest.raises(LeaseLostError):
        await announcer.sync(run.id)
    assert line.calls == calls


async def test_a_graceful_stop_ends_what_it_began(lab: Lab) -> None:
    """A process that is told to stop while it posts notes the message first; nobody has to look for it."""
    run = await noted(lab, await lab.requested(), times=2)
    hangs = Hangs(f"post {NOTE}: done")
    async with meanwhile(another(lab, "bot-1", line=Line(lab.chat, hangs)).run()) as stopping:
        await hangs.reached.wait()
        stopping.cancel()
        await turn()
        stopping.cancel()
        assert await speakers(lab) == ["bot-1"]
        hangs.go.set()
    assert await speakers(lab) == []
    async with meanwhile(another(lab).run()) as speaking:
        await until(partial(all_said, lab, run))
        speaking.cancel()
    assert lab.chat.finds == []


async def test_a_post_that_fails_at_the_stop(lab: Lab, caplog: pytest.LogCaptureFixture) -> None:
    """A post that fails while its process is told to stop leaves the message in doubt for the next."""
    run = await noted(lab, await lab.requested())

    async def cut(what: str) -> None:
        await hangs(what)
        if what == f"post {NOTE}: done":
            raise ConnectionError("reset")

    hangs = Hangs(f"post {NOTE}: done")
    async with meanwhile(another(lab, "bot-1", line=Line(lab.chat, cut)).run()) as stopping:
        await hangs.reached.wait()
        stopping.cancel()
        await until(lambda: not lab.clock.sleeping(1.0))  # the word has come to whoever keeps the floor
        for _ in range(20):
            await turn()  # and to whoever posts
        hangs.go.set()
    assert "may be there or not" in caplog.text
    async with meanwhile(another(lab).run()) as speaking:
        while not lab.chat.finds:
            await wait_out(lab, 0.5)
        speaking.cancel()
    assert lab.chat.keys() == expected(lab, run)


async def test_an_outage_of_the_store_is_waited_out(lab: Lab) -> None:
    """A speaker that cannot keep the floor is silent until it has it again, and then says what is missing."""
    floor = Shaky(SqlFloor(lab.database, lease=timedelta(seconds=4)))
    announcer = lab.announcer()
    announcer._floor = floor
    run = await lab.requested()
    async with meanwhile(announcer.run()) as speaking:
        await until(partial(all_said, lab, run))
        floor.away = True
        await lab.clock.advance(3)
        assert announcer._round is not None
        await lab.clock.advance(1)
        await until(lambda: announcer._round is None)
        run = await noted(lab, run)
        await until(lambda: lab.clock.sleeping(2.0))
        assert lab.chat.keys() == ["card"]
        await lose_floor(lab)
        floor.away = False
        await lab.clock.advance(2)
        await until(partial(all_said, lab, run))
        speaking.cancel()
    assert floor.returned == 2


async def test_a_store_that_does_not_answer(lab: Lab) -> None:
    """A speaker whose store hangs is silent as soon as its time is over, without any answer."""
    floor = Shaky(SqlFloor(lab.database, lease=timedelta(seconds=4)))
    podium = await take(floor, clock=lab.clock, settings=lab.settings())
    assert podium is not None
    floor.hangs = True
    keeping = asyncio.ensure_future(podium.keep())  # noqa: TID251 - awaited right here
    await until(lambda: lab.clock.sleeping(1.0) and lab.clock.sleeping(4.0))
    await lab.clock.advance(3.9)
    podium.ensure()
    await lab.clock.advance(0.1)
    with pytest.raises(ExceptionGroup) as lost:
        await keeping
    assert lost.group_contains(LeaseLostError, match="in time")


class Ending(Shaky):
    """A floor that is lost at the very moment at which its process is told to stop."""

    def __init__(self, floor: SqlFloor) -> None:
        super().__init__(floor)
        self.process: asyncio.Task[None] | None = None
        self.taken = 0

    async def take(self, owner: str) -> speech.Turn | None:
        """See the port."""
        self.taken += 1
        return await super().take(owner)

    async def keep(self, turn: speech.Turn) -> None:
        """See the port."""
        assert self.process is not None
        self.process.cancel()
        raise LeaseLostError(str(turn.fence))


async def test_a_stop_at_the_moment_of_the_loss(lab: Lab) -> None:
    """A process that is told to stop while it loses the floor stops, and does not ask for it again."""
    announcer, floor = lab.announcer(), Ending(lab.floor)
    announcer._floor = floor
    async with meanwhile(announcer.run()) as floor.process:
        await until(lambda: lab.clock.sleeping(1.0))
        await lab.clock.advance(1)
    assert floor.process.cancelled()
    assert (floor.taken, floor.returned) == (1, 1)


async def test_a_card_cut_off_in_the_middle(lab: Lab) -> None:
    """A card that was being edited when the floor was lost may show the past: the next speaker shows it again."""
    run = await lab.requested()
    hangs = Hangs("edit card: done")
    async with meanwhile(another(lab, "bot-1", line=Line(lab.chat, hangs)).run()) as first:
        await until(partial(all_said, lab, run))
        await lab.clock.advance(1)
        run = await noted(lab, run)
        await hangs.reached.wait()
        shown = list(lab.chat.edits)
        await lose_floor(lab)
        await lab.clock.advance(1)  # it cannot keep the floor
        async with meanwhile(another(lab).run()) as second:
            while len(lab.chat.edits) == len(shown):
                await lab.clock.advance(0.5)
            second.cancel()
        first.cancel()
    assert lab.chat.edits == [*shown, run.seq]


async def test_a_card_of_an_outage(lab: Lab, caplog: pytest.LogCaptureFixture) -> None:
    """If not even that can be asked for, since the store is away, the log says which message may show the past."""
    run = await lab.requested()
    hangs = Hangs("edit card")
    announcer = another(lab, "bot-1", line=Line(lab.chat, hangs))
    async with meanwhile(announcer.run()) as speaking:
        await until(partial(all_said, lab, run))
        await lab.clock.advance(1)
        await noted(lab, run)
        await hangs.reached.wait()

        async def away(rollback_id: str, key: str) -> None:
            raise StoreUnavailableError(f"{rollback_id} {key}")

        lab.ledger.refresh = away  # type: ignore[method-assign] # the store is away at the worst moment
        speaking.cancel()
    assert f"{run.id}: message card may show what was true before" in caplog.text


async def test_a_refresh_on_any_process(lab: Lab) -> None:
    """Whichever process is asked to show a card again, the speaker does it."""
    run = await lab.requested()
    async with meanwhile(another(lab, "bot-1").run()) as speaking:
        await until(partial(all_said, lab, run))
        await lab.clock.advance(1)
        await another(lab, "bot-2").refresh(run.id)
        async with asyncio.timeout(20):
            while lab.chat.edits != [run.seq]:
                await lab.clock.advance(0.1)  # it may have been in a pause between two edits
        speaking.cancel()


async def test_a_refresh_that_nobody_heard(lab: Lab) -> None:
    """A card that was to be shown again while nobody spoke is shown again by whoever takes the floor."""
    run = await lab.asked()
    first = another(lab, "bot-1")
    await first.sync(run.id)
    await first.leave()
    await first.refresh(run.id)
    async with meanwhile(another(lab).run()) as speaking:
        await until(lambda: lab.chat.edits == [run.seq])
        speaking.cancel()


async def test_who_takes_over_leaves_the_waiting_alone(lab: Lab) -> None:
    """Rollbacks that wait for a person cost a process that takes the floor no reading and no call to the chat."""
    run = await lab.asked()
    first = another(lab, "bot-1")
    assert await first.sync(run.id) is None
    await first.leave()
    wire, line = Wire(lab.runs), Line(lab.chat)
    async with meanwhile(lab.announcer(wire, owner="bot-2", chat=line).run()) as speaking:
        await pass_until(lab, "bot-2")
        for _ in range(20):
            await lab.sql("SELECT 1")
        assert (wire.calls, line.calls) == ([], [])
        speaking.cancel()


async def test_other_people_are_asked_after_a_change_of_the_policy(lab: Lab) -> None:
    """Whoever is in the policy since the last start is told about the rollbacks that wait for authority."""
    run = await lab.asked()
    first = another(lab, "bot-1")
    await first.sync(run.id)
    await first.leave()
    people = [*lab.policy.people, lab.policy.people[0].model_copy(update={"id": "U0NEW"})]
    lab.policy = lab.policy.model_copy(update={"people": tuple(people)})
    async with meanwhile(another(lab).run()) as speaking:
        await until(lambda: lab.chat.keys()[-1].endswith("-U0NEW"))
        speaking.cancel()
    assert sorted(lab.chat.keys()) == sorted(expected(lab, run))


async def test_claims_of_a_lapsed_turn_wait(lab: Lab) -> None:
    """What an earlier speaker claimed, however long ago, is looked for once its turn has been over long enough."""
    run = await noted(lab, await lab.requested())
    await lab.floor.take("bot-1")
    await claimed(lab, run, NOTE)
    await lab.sql("UPDATE message SET claimed_at = claimed_at - interval '1 hour'")
    await lose_floor(lab)
    announcer = another(lab)
    assert await announcer.sync(run.id) == pytest.approx(3, abs=0.5)
    await lab.clock.advance(3)
    assert await announcer.sync(run.id) is None
    assert lab.chat.finds == [NOTE]
