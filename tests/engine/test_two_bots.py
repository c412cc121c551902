"""Processes that are killed, frozen and cut off speak at the real console: every message stands there once."""

from __future__ import annotations

import asyncio
import json
import random
import signal
import sys
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from bot.domain.announcements import announcements
from bot.domain.forecast import countdown
from bot.domain.run import Run
from bot.engine.wanted import COUNTDOWN
from bot.main.clock import SystemClock
from handlers.console import ConsoleUser
from handlers.slack import render
from tests.support import console, plans
from tests.support.announcing import Hangs
from tests.support.engine import Lab
from tests.support.relay import Call, Fate, Relay, relay

INTERVALS = {"floor": 1.0, "floor_keep": 0.2, "floor_poll": 0.1, "doubt": 0.5, "card_interval": 0.2}
INTERVALS |= {"countdown_interval": 1.0}
"""A fifth of the real ones, so that takeovers take a second."""
TAKEOVER = 1.0 + 0.1 + 2.0
"""The floor, the question for it, and what a busy machine adds."""
PEOPLE = (plans.MANAGER, plans.OWNER, plans.ON_CALL, plans.OTHER_OWNER, plans.COMMANDER)
CHILD = str(Path(__file__).parent / "speaking_child.py")
CLOCK = SystemClock()


@dataclass
class Stage:
    """A store, a console, what stands between, and the bots.

    Attributes:
        lab: The store and people.
        console: The chat.
        relay: Carries the bots' calls.
        bots: The processes by name.
    """

    lab: Lab
    store: str
    console: console.Lab
    relay: Relay
    bots: dict[str, asyncio.subprocess.Process] = field(default_factory=dict)

    async def start(self, name: str) -> None:
        """Start a bot."""
        settings = {"owner": name, "store": self.store, "chat": self.relay.of(name), "intervals": INTERVALS}
        self.bots[name] = await asyncio.create_subprocess_exec(sys.executable, CHILD, json.dumps(settings))

    async def end(self, name: str, how: signal.Signals) -> int:
        """End a bot and return its exit code."""
        process = self.bots.pop(name)
        process.send_signal(how)
        return await process.wait()

    async def speaker(self) -> str:
        """Return who speaks; empty if nobody does."""
        rows = await self.lab.sql("SELECT owner FROM speaker WHERE until > clock_timestamp()")
        return str(rows[0][0]) if rows else ""

    async def until_speaks(self, *names: str) -> str:
        """Wait until one of these bots speaks, and return which."""
        async with asyncio.timeout(20):
            while (found := await self.speaker()) not in names:
                await CLOCK.sleep(0.02)
        return found

    async def said(self, rollback: str = "rb-0001") -> list[str]:
        """Return the keys of what stands in the chat about a rollback, direct messages last; no countdown."""
        found = []
        for channel in (console.OPS.id, *PEOPLE):
            user = channel if channel in PEOPLE else plans.ON_CALL
            for message in await self.console.client(USERS[user]).messages(channel):
                payload = message["metadata"]["event_payload"]
                if payload["rollback"] == rollback:
                    found.append(payload["key"])
        return [key for key in found if key != COUNTDOWN]

    async def expected(self, rollback: str = "rb-0001") -> list[str]:
        """Return the keys of what must stand there, those in the channel in their order, then the others."""
        due = announcements(await self.lab.runs.load(rollback), self.lab.policy)
        room = [each.key for each in due if not each.user]
        return room + [each.key for person in PEOPLE for each in due if each.user == person]

    async def all_said(self, rollback: str = "rb-0001", *, seconds: float = 30) -> None:
        """Wait until exactly what must be said stands in the chat, each once and in order."""
        deadline = CLOCK.monotonic() + seconds
        while (said := await self.said(rollback)) != (due := await self.expected(rollback)):
            twice, lost = Counter(said) - Counter(due), Counter(due) - Counter(said)
            assert CLOCK.monotonic() < deadline, f"twice {dict(twice)}, lost {dict(lost)}, in order {said}"
            await CLOCK.sleep(0.05)

    async def all_shown(self, rollback: str) -> None:
        """Wait until the card shows how the rollback stands, and the countdown what there was to count down."""
        run = await self.lab.runs.load(rollback)
        card = render.card(run, self.lab.policy, {}).text
        final = countdown(run, now=CLOCK.now(), paces={})
        assert final is not None
        deadline = CLOCK.monotonic() + 60
        while True:
            found = await self.console.client(USERS[plans.ON_CALL]).messages(console.OPS.id)
            about = [each for each in found if each["metadata"]["event_payload"]["rollback"] == rollback]
            texts = {each["metadata"]["event_payload"]["key"]: each["text"] for each in about}
            counted = texts.get(COUNTDOWN, final.lines[0])
            if texts["card"] == card and final.lines[0] in counted:
                return
            assert CLOCK.monotonic() < deadline, (texts["card"], card, counted, final.lines)
            await CLOCK.sleep(0.05)

    def count(self, method: str, key: str) -> Counter[str]:
        """Return how often each bot called a method for a message."""
        return Counter(call.bot for call in self.relay.calls if (call.method, call.key) == (method, key))


USERS = {user: ConsoleUser(user, user, user, SecretStr(f"token-of-{user}")) for user in PEOPLE}


@asynccontextmanager
async def open_stage(lab: Lab, store: str) -> AsyncIterator[Stage]:
    """Yield a stage without bots; those that are left at the end are killed."""
    async with console.lab(clock=CLOCK, users=list(USERS.values())) as chat, relay(chat.url) as wire:
        stage = Stage(lab, store, chat, wire)
        try:
            yield stage
        finally:
            for name in list(stage.bots):
                await stage.end(name, signal.SIGKILL)


@pytest.fixture
async def stage(lab: Lab, pg_server: Any) -> AsyncIterator[Stage]:
    """A stage with one rollback that has just been asked for, and two bots of which one speaks."""
    store = f"postgresql://{pg_server.user}:{pg_server.password}@127.0.0.1:{pg_server.port}/store"
    async with open_stage(lab, store) as opened:
        await lab.requested()
        await asyncio.gather(opened.start("bot-1"), opened.start("bot-2"))
        await opened.all_said()
        yield opened


def at(bot: str, key: str, hangs: Hangs) -> Callable[[Call], Any]:
    """Return what lets the post of a message by a bot hang."""

    async def wait(call: Call) -> Fate:
        if (call.bot, call.method, call.key) == (bot, "chat.postMessage", key):
            await hangs(key)
        return Fate.PASS

    return wait


async def checked(stage: Stage) -> Run:
    """Let the checks of the rollback be written: four messages are due."""
    return await stage.lab.after(await stage.lab.runs.load("rb-0001"))


@pytest.mark.parametrize("arrived", [True, False], ids=["sent", "not sent"])
async def test_a_killed_speaker(stage: Stage, *, arrived: bool) -> None:
    """After kill -9 in the middle of a post another speaks in time, looks, and says what is missing once."""
    first = await stage.speaker()
    (second,) = set(stage.bots) - {first}
    hangs = Hangs("0003-checked")
    if arrived:
        stage.relay.answering = at(first, "0003-checked", hangs)
    else:
        stage.relay.rule = at(first, "0003-checked", hangs)
    await checked(stage)
    async with asyncio.timeout(20):
        await hangs.reached.wait()
    killed_at = CLOCK.monotonic()
    await stage.end(first, signal.SIGKILL)
    await stage.until_speaks(second)
    assert CLOCK.monotonic() - killed_at < TAKEOVER
    await stage.all_said()
    hangs.go.set()
    assert stage.count("chat.postMessage", "0003-checked") == ({first: 1} if arrived else {first: 1, second: 1})
    assert any(call.method == "conversations.replies" and call.bot == second for call in stage.relay.calls)


async def test_a_frozen_speaker(stage: Stage) -> None:
    """A message that a frozen process sent, and that arrives after another said the same, is gone when it wakes."""
    first = await stage.speaker()
    (second,) = set(stage.bots) - {first}
    hangs = Hangs("0003-checked")
    stage.relay.rule = at(first, "0003-checked", hangs)
    await checked(stage)
    async with asyncio.timeout(20):
        await hangs.reached.wait()
    stage.bots[first].send_signal(signal.SIGSTOP)
    await stage.until_speaks(second)
    await stage.all_said()
    hangs.go.set()
    async with asyncio.timeout(20):
        while Counter(await stage.said())["0003-checked"] == 1:
            await CLOCK.sleep(0.02)
    stage.bots[first].send_signal(signal.SIGCONT)
    await stage.all_said()
    assert [call.bot for call in stage.relay.calls if call.method == "chat.delete"] == [first]
    assert await stage.speaker() == second
    run = await stage.lab.approve(await stage.lab.runs.load("rb-0001"))
    await stage.all_said()
    assert stage.count("chat.postMessage", f"{run.seq:04}-authorised") == {second: 1}


async def test_a_graceful_stop(stage: Stage) -> None:
    """A bot that is told to stop hands the floor over at once, and nobody has to look for anything."""
    first = await stage.speaker()
    (second,) = set(stage.bots) - {first}
    stopped_at = CLOCK.monotonic()
    assert await stage.end(first, signal.SIGTERM) == 0
    await stage.until_speaks(second)
    assert CLOCK.monotonic() - stopped_at < TAKEOVER
    await checked(stage)
    await stage.all_said()
    assert not any(call.method == "conversations.replies" for call in stage.relay.calls)


async def test_a_storm_of_rate_limits(stage: Stage) -> None:
    """While the chat asks for patience, longer than a turn lasts, the same process speaks and keeps the order."""
    fences = await stage.lab.sql("SELECT fence FROM speaker")
    refused: Counter[str] = Counter()

    async def busy(call: Call) -> Fate:
        limited = call.method in ("chat.postMessage", "chat.update") and refused[call.key] < 2
        refused[call.key] += limited
        return Fate.BUSY if limited else Fate.PASS

    stage.relay.rule = busy
    await checked(stage)
    await stage.all_said()
    assert refused["0003-checked"] == 2
    assert await stage.lab.sql("SELECT fence FROM speaker") == fences
    assert not any(call.method == "conversations.replies" for call in stage.relay.calls)


async def test_lost_acknowledgements(stage: Stage) -> None:
    """Where each first call is lost, on its way or on its way back, every message is said once all the same."""
    seen: set[tuple[str, str]] = set()

    async def losing(call: Call) -> Fate:
        if call.method not in ("chat.postMessage", "chat.update") or (call.method, call.key) in seen:
            return Fate.PASS
        seen.add((call.method, call.key))
        return Fate.LOST if len(seen) % 2 else Fate.CUT

    stage.relay.rule = losing
    await checked(stage)
    await stage.all_said()
    assert len(seen) > 2


@pytest.mark.slow
async def test_all_of_it_at_once(stage: Stage) -> None:
    """Under kills, freezes, rate limits and lost calls of every kind nothing is said twice and nothing is lost."""
    dice = random.Random(20240115)  # noqa: S311 - the same storm each time

    async def storm(_call: Call) -> Fate:
        await CLOCK.sleep(dice.random() * 0.05)
        return dice.choices([Fate.PASS, Fate.BUSY, Fate.CUT, Fate.LOST], weights=[70, 10, 10, 10])[0]

    stage.relay.rule = storm
    probes = plans.plan_of([[plans.probe("look")]], verification=[plans.probe("health")])
    runs = [probes.model_copy(update={"change": f"CHG001235{number}"}) for number in range(4)]
    async with asyncio.TaskGroup() as group:
        work = group.create_task(_roll_back(stage.lab, runs))
        number = 2
        while not work.done() or number < 7:
            number += 1
            await stage.start(f"bot-{number}")
            await CLOCK.sleep(dice.random())
            await _strike(stage, dice)
    stage.relay.rule = Relay("").rule
    for number in range(1, 6):
        await stage.all_said(f"rb-{number:04}", seconds=60)
        await stage.all_shown(f"rb-{number:04}")


async def _roll_back(lab: Lab, wanted: list[Any]) -> None:
    await lab.after(await lab.approve(await lab.after(await lab.runs.load("rb-0001"))))
    for plan in wanted:
        await lab.after(await lab.approved(plan))


async def _strike(stage: Stage, dice: random.Random) -> None:
    """Kill, stop or freeze whoever speaks. Who was frozen may clean up behind itself before it is killed."""
    victim = await stage.speaker()
    if victim not in stage.bots:
        return
    how = dice.choice([signal.SIGKILL, signal.SIGTERM, signal.SIGSTOP])
    if how is signal.SIGSTOP:
        stage.bots[victim].send_signal(how)
        await CLOCK.sleep(1.2)
        stage.bots[victim].send_signal(signal.SIGCONT)
    else:
        await stage.end(victim, how)
