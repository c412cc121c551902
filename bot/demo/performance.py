"""The demo's play: an estate, a bot, an engineer who types and a change manager who clicks."""

from __future__ import annotations

import asyncio
import os
import shutil
import sys
import webbrowser
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path

import aiohttp
from rich.console import Console
from rich.markup import escape

from bot.demo import scenario, summary
from bot.demo.bot_process import BotProcess
from bot.demo.estate import NEW_VERSION, OLD_VERSION, Estate, Measured
from bot.demo.measuring import baseline_of, wait_for_errors
from bot.demo.screen import Json, Screen, moment
from bot.domain.criteria import Reading, milliseconds, percent
from bot.domain.errors import RollbackError
from bot.domain.ports import Clock
from bot.main.chat import free_port
from handlers.console import ConsoleClient
from handlers.slack import ids
from storage.embedded import EmbeddedPostgres, Server

CHANNEL = "C0000OPS"
_PEOPLE = {scenario.OPERATOR: "O. Larsen", scenario.MANAGER: "J. Smith", scenario.OWNER: "P. Rao"}
_SET_UP = timedelta(minutes=2)
_POLL = 0.2
_BASELINE_SECONDS = 4.0
_TROUBLE_SECONDS = 4.0
_CLOSED = "Records written and linked"
_BAD_ENDS = ("Refused.", "Stood down.", "Expired.", "Aborted;", "✋ Held:")
_MOMENTS = (
    ("authorised", "AUTHORISATION RECORDED"),
    ("started", "ROLLBACK IN PROGRESS"),
    ("complete", "ROLLBACK COMPLETE"),
    ("records", _CLOSED),
)


@dataclass
class Story:
    """What happened, for the summary.

    Attributes:
        before: The traffic just before the rollback.
        after: The traffic after it.
        baseline: What was measured before the deployment.
        moments: Times by name.
        memory: Resident memory of the bot at the end, bytes.
        deaths: How often the bot died and was started again.
        messages: The operations channel as it was last seen.
    """

    before: Measured | None = None
    after: Measured | None = None
    baseline: Reading = field(default_factory=Reading)
    moments: dict[str, datetime] = field(default_factory=dict)
    memory: int | None = None
    deaths: int = 0
    messages: list[Json] = field(default_factory=list)


class Performance:
    """One performance of the demo.

    Args:
        folder: Where everything is kept.
        estate: A new estate.
        out: The terminal.
        live: Whether a person types and clicks.
        patience: How long the rollback may take.
        clock: The time.
        story: Takes what happened.
    """

    def __init__(
        self,
        folder: Path,
        estate: Estate,
        *,
        out: Console,
        live: bool,
        patience: timedelta,
        clock: Clock,
        story: Story,
    ) -> None:
        self._folder = folder
        self._estate = estate
        self._out = out
        self._live = live
        self._patience = patience
        self._clock = clock
        self._files = scenario.site_files(folder / "site")
        self._screen = Screen(out, _PEOPLE)
        self._story = story

    async def act(self, server: Server, *, command: Sequence[str]) -> None:
        """Play the whole rollback, and show it.

        Args:
            server: The estate's PostgreSQL.
            command: How the bot is started.

        Raises:
            RollbackError: If it ended otherwise than well.
            TimeoutError: If it did not end in time.
        """
        self._screen.chapter("The estate")
        address = self._estate.facts.base_url
        self._screen.say(f"PostgreSQL {server.host}:{server.port}, payments {OLD_VERSION} on {address}")
        await self._set_up()
        bot = BotProcess(
            self._folder / "bot",
            self._files,
            port=free_port("127.0.0.1", 0),
            clock=self._clock,
            on_death=self._died,
            command=command,
        )
        await bot.start()
        async with asyncio.TaskGroup() as group, aiohttp.ClientSession() as session:
            supervising = group.create_task(bot.supervise())
            try:
                await self.deploy()
                await self._use(bot, session)
            finally:
                self._screen.idle()
                await bot.stop()
                supervising.cancel()
        summary.show(self._out, self._story, self._estate, folder=self._folder)
        summary.require_recovery(self._story)

    def _died(self, code: int) -> None:
        self._story.deaths += 1
        self._screen.say(f"the bot died (exit code {code}); it is started again", mark="✝", style="red")

    async def _set_up(self) -> None:
        bot_folder = self._folder / "bot"
        if bot_folder.exists():
            # A new estate has nothing in common with the journal of an earlier demo, whose server may still run.
            async with EmbeddedPostgres(bot_folder / "postgres", clock=self._clock):
                pass
            shutil.rmtree(bot_folder)
        scenario.write_inventory(self._estate, self._files)
        scenario.write_policy(self._files)
        self._files.plans.mkdir(parents=True, exist_ok=True)
        for old in self._files.plans.glob("*.yaml"):
            old.unlink()

    async def deploy(self) -> None:
        """Measure the baseline, take the backup, deploy the faulty release, and wait until customers feel it."""
        estate, screen = self._estate, self._screen
        await estate.start_old()
        await estate.start_traffic(seconds=(self._patience + _SET_UP).total_seconds())
        screen.busy("measuring the baseline")
        self._story.baseline = await baseline_of(estate, seconds=_BASELINE_SECONDS, clock=self._clock)
        backup = await estate.take_backup()
        size = sum(file.size for file in (backup.database, backup.artifact, backup.config))
        screen.say(f"baseline: {_words(self._story.baseline)}")
        screen.say(f"pre-deployment backup taken: database, artifact and configuration, {size / 1e6:.1f} MB")
        screen.busy(f"deploying {NEW_VERSION}")
        await estate.deploy()
        scenario.write_plan(estate, self._files, baseline=self._story.baseline)
        screen.busy("customers are hitting the new release")
        failing = await wait_for_errors(estate, seconds=_TROUBLE_SECONDS, clock=self._clock)
        screen.idle()
        screen.say(f"{NEW_VERSION} deployed: {percent(failing)} of the transactions fail", mark="✗", style="red")

    async def _use(self, bot: BotProcess, session: aiohttp.ClientSession) -> None:
        tokens = await bot.ready(session)
        people = {user: ConsoleClient(bot.url, token, session) for user, token in tokens.items()}
        self._screen.chapter("The operations channel")
        self._story.before = await self._estate.measure_last(_TROUBLE_SECONDS)
        if self._live:
            self._invite(bot, tokens)
        else:
            await self._type(people[scenario.OPERATOR])
        self._story.moments["command"] = self._clock.now()
        await self._watch(people[scenario.MANAGER])
        self._story.memory = bot.memory()
        self._story.after = await self._estate.measure_last(scenario.SETTLE.total_seconds())

    def _invite(self, bot: BotProcess, tokens: dict[str, str]) -> None:
        say = self._screen.say
        say("Your turn. Open the console as the engineer on call and type:")
        say(f"    [bold]/rollback {scenario.CHANGE} {scenario.REASON}[/]", mark=" ")
        say(f"    {bot.url}/?token={tokens[scenario.OPERATOR]}", mark=" ")
        if sys.platform == "darwin" or {"DISPLAY", "WAYLAND_DISPLAY"} & set(os.environ):
            webbrowser.open(bot.url)  # without a token: a program's arguments are seen by everybody
        say("Then approve as the change manager, in another browser or a private window:")
        say(f"    {bot.url}/?token={tokens[scenario.MANAGER]}", mark=" ")

    async def _type(self, operator: ConsoleClient) -> None:
        command = f"/rollback {scenario.CHANGE} {scenario.REASON}"
        self._screen.say(f"O. Larsen types [bold]{escape(command)}[/]", mark="⌨")
        await operator.command(CHANNEL, command)

    async def _watch(self, manager: ConsoleClient) -> None:
        deadline = self._clock.monotonic() + self._patience.total_seconds()
        decided = self._live
        while self._clock.monotonic() < deadline:
            if await self._look(manager):
                return
            card = _with_button(self._story.messages, ids.APPROVE)
            if card is not None and not decided:
                decided = await self._approve(manager, card)
            await self._clock.sleep(_POLL)
        raise TimeoutError(f"the rollback did not end within {self._patience}")

    async def _look(self, client: ConsoleClient) -> bool:
        """Show what is new in the channel, and return whether the rollback is over."""
        try:
            self._story.messages = list(await client.messages(CHANNEL))
        except (aiohttp.ClientError, OSError):
            return False  # the bot is being started again
        over = False
        for message in self._screen.show(self._story.messages):
            text = message.get("text", "")
            for name, mark in _MOMENTS:
                if mark in text:
                    self._story.moments[name] = moment(message)
            if not self._live and any(words in text for words in _BAD_ENDS):
                raise RollbackError(self._screen.readable(text))
            over = over or _CLOSED in text
        return over

    async def _approve(self, manager: ConsoleClient, card: Json) -> bool:
        self._screen.say("J. Smith clicks [bold]Approve[/]", mark="🖱")
        try:
            await manager.click(CHANNEL, card, ids.APPROVE)
        except (aiohttp.ClientError, OSError):
            return False  # the bot died under the click; the card still has the button when it is back
        self._story.moments.setdefault("approval", self._clock.now())
        return True


def _words(reading: Reading) -> str:
    rate = "unknown" if reading.error_rate is None else percent(reading.error_rate)
    speed = "unknown" if reading.p95 is None else milliseconds(reading.p95)
    return f"error rate {rate}, {speed} p95"


def _with_button(messages: list[Json], action: str) -> Json | None:
    for message in messages:
        for block in message.get("blocks", []):
            if any(element.get("action_id") == action for element in block.get("elements", [])):
                return message
    return None
