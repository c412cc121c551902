"""The demo: one real rollback of a real service on this machine, from the first command to the closed books."""

from __future__ import annotations

import asyncio
import os
import shutil
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path

import aiohttp
from rich.console import Console
from rich.markup import escape

from bot.demo import bot_process, scenario, summary
from bot.demo.bot_process import BotProcess
from bot.demo.estate import NEW_VERSION, OLD_VERSION, Estate, Measured, PgServer
from bot.demo.measuring import baseline_of, wait_for_errors
from bot.demo.screen import Json, Screen, moment
from bot.domain.criteria import Reading, milliseconds, percent
from bot.domain.errors import RollbackError
from bot.domain.ports import Clock
from bot.main.chat import free_port
from bot.main.clock import SystemClock
from handlers.console import ConsoleClient
from handlers.slack import ids
from storage.embedded.launcher import EmbeddedPostgres
from storage.embedded.postmaster import Server

CHANNEL = "C0000OPS"
_SET_UP_SECONDS = 120.0
_POLL = 0.2
_CLOSED = "Records written and linked"
_BAD_ENDS = ("Refused.", "Stood down.", "Expired.", "Aborted;", "must decide")
_PATIENCE = timedelta(seconds=120)
_LIVE_PATIENCE = timedelta(hours=2)
_BASELINE_SECONDS = 4.0
_TROUBLE_SECONDS = 4.0


@dataclass
class Story:
    """What happened, for the summary.

    Attributes:
        before: The traffic just before the rollback.
        after: The traffic after it.
        baseline: What was measured before the deployment.
        moments: Times by name, in order.
        memory: Resident memory of the bot at the end, bytes.
        deaths: How often the bot died and was started again.
        last: The newest message of the operations channel.
    """

    before: Measured | None = None
    after: Measured | None = None
    baseline: Reading = field(default_factory=Reading)
    moments: dict[str, datetime] = field(default_factory=dict)
    memory: int | None = None
    deaths: int = 0
    messages: list[Json] = field(default_factory=list)


async def perform(
    folder: Path,
    *,
    live: bool,
    keep: bool,
    out: Console,
    command: Sequence[str] = bot_process.COMMAND,
    story: Story | None = None,
) -> int:
    """Perform the demo.

    Args:
        folder: Where everything is kept.
        live: Whether a person types and clicks.
        keep: Whether the folder stays.
        out: The terminal.
        command: How the bot is started.
        story: Takes what happened, for a caller who wants to know more than the exit code.

    Returns:
        The exit code: 0 if the rollback completed and the service is well again.
    """
    clock = SystemClock()
    folder = usable(folder)
    story = story or Story()
    failures: list[str] = []
    try:
        async with stage(folder, clock) as (server, estate):
            await _act(folder, server, estate, story=story, live=live, out=out, clock=clock, command=command)
    except* (RollbackError, TimeoutError) as group:
        failures = [str(error) for error in leaves(group)]
    for failure in failures:
        out.print(f"[bold red]✗ The demo failed:[/] {escape(failure)}", highlight=False)
    if failures:
        out.print(f"  Everything is kept in {folder}: the bot's log is {folder / 'bot' / 'bot.log'}.")
        return 1
    if not keep:
        shutil.rmtree(folder)
    return 0


def leaves(group: BaseExceptionGroup[BaseException]) -> list[BaseException]:
    """Return the exceptions of a group, however deep they lie."""
    found: list[BaseException] = []
    for error in group.exceptions:
        found += leaves(error) if isinstance(error, BaseExceptionGroup) else [error]
    return found


def usable(folder: Path) -> Path:
    """Return the folder, absolute; as root one that PostgreSQL's unprivileged user can reach as well."""
    folder = folder.resolve()
    if os.geteuid() == 0:
        closed = [parent for parent in folder.parents if not parent.stat().st_mode & 0o001]
        if closed:
            folder = Path("/var/tmp/rollback-demo")  # noqa: S108 - a folder of root's own, made 0755 below
    folder.mkdir(parents=True, exist_ok=True)
    return folder


@asynccontextmanager
async def stage(folder: Path, clock: Clock) -> AsyncIterator[tuple[Server, Estate]]:
    """Yield the estate's PostgreSQL and a new estate on it; both are stopped at the end."""
    async with EmbeddedPostgres(folder / "database", clock=clock) as server:
        access = PgServer(
            host=server.host,
            port=server.port,
            user=server.user,
            password=server.password.get_secret_value(),
            bin_dir=server.bin_dir,
        )
        async with await Estate.create(folder / "estate", access, clock=clock, replace=True) as estate:
            yield server, estate


async def _act(
    folder: Path,
    server: Server,
    estate: Estate,
    *,
    story: Story,
    live: bool,
    out: Console,
    clock: Clock,
    command: Sequence[str],
) -> None:
    files = scenario.site_files(folder / "site")
    screen = Screen(out, {scenario.OPERATOR: "O. Larsen", scenario.MANAGER: "J. Smith", scenario.OWNER: "P. Rao"})
    screen.chapter("The estate")
    screen.say(f"PostgreSQL {server.host}:{server.port}, payments {OLD_VERSION} on {estate.facts.base_url}")
    bot_folder = folder / "bot"
    if bot_folder.exists():
        # A new estate has nothing in common with the journal of an earlier demo.
        await _forget(bot_folder, clock)
    scenario.write_inventory(estate, files)
    scenario.write_policy(files)
    files.plans.mkdir(parents=True, exist_ok=True)
    for old in files.plans.glob("*.yaml"):
        old.unlink()

    def died(code: int) -> None:
        story.deaths += 1
        screen.say(f"the bot died (exit code {code}); it is started again", mark="✝", style="red")

    port = free_port("127.0.0.1", 0)
    bot = BotProcess(bot_folder, files, port=port, clock=clock, on_death=died, command=command)
    await bot.start()
    async with asyncio.TaskGroup() as group, aiohttp.ClientSession() as session:
        supervising = group.create_task(bot.supervise())
        try:
            await _deploy(estate, files, story, screen, live=live, clock=clock)
            tokens = await bot.ready(session)
            people = {user: ConsoleClient(bot.url, token, session) for user, token in tokens.items()}
            screen.chapter("The operations channel")
            story.before = await estate.measure_last(_TROUBLE_SECONDS)
            if live:
                _invite(screen, bot, tokens)
            await _roll_back(people, story, screen, live=live, clock=clock)
            story.memory = bot.memory()
            story.after = await estate.measure_last(scenario.SETTLE.total_seconds())
        finally:
            screen.idle()
            await bot.stop()
            supervising.cancel()
    summary.show(out, story, estate, folder=folder)
    summary.require_recovery(story)


async def _forget(bot_folder: Path, clock: Clock) -> None:
    """Stop what an earlier demo's bot left running, and remove its data."""
    async with EmbeddedPostgres(bot_folder / "postgres", clock=clock):
        pass
    shutil.rmtree(bot_folder)


async def _deploy(
    estate: Estate, files: scenario.SiteFiles, story: Story, screen: Screen, *, live: bool, clock: Clock
) -> None:
    await estate.start_old()
    await estate.start_traffic(seconds=(_LIVE_PATIENCE if live else _PATIENCE).total_seconds() + _SET_UP_SECONDS)
    screen.busy("measuring the baseline")
    story.baseline = await baseline_of(estate, seconds=_BASELINE_SECONDS, clock=clock)
    backup = await estate.take_backup()
    size = sum(file.size for file in (backup.database, backup.artifact, backup.config))
    screen.say(f"baseline: {_words(story.baseline)}")
    screen.say(f"pre-deployment backup taken: database, artifact and configuration, {size / 1e6:.1f} MB")
    screen.busy(f"deploying {NEW_VERSION}")
    await estate.deploy()
    scenario.write_plan(estate, files, baseline=story.baseline)
    screen.busy("customers are hitting the new release")
    failing = await wait_for_errors(estate, seconds=_TROUBLE_SECONDS, clock=clock)
    screen.idle()
    screen.say(f"{NEW_VERSION} deployed: {percent(failing)} of the transactions fail", mark="✗", style="red")


def _words(reading: Reading) -> str:
    rate = "unknown" if reading.error_rate is None else percent(reading.error_rate)
    speed = "unknown" if reading.p95 is None else milliseconds(reading.p95)
    return f"error rate {rate}, {speed} p95"


def _invite(screen: Screen, bot: BotProcess, tokens: dict[str, str]) -> None:
    screen.say("Your turn. Open the console as the engineer on call and type:")
    screen.say(f"    [bold]/rollback {scenario.CHANGE} {scenario.REASON}[/]", mark=" ")
    screen.say(f"    {bot.url}/?token={tokens[scenario.OPERATOR]}", mark=" ")
    screen.say("Then approve as the change manager, in another browser or a private window:")
    screen.say(f"    {bot.url}/?token={tokens[scenario.MANAGER]}", mark=" ")


async def _roll_back(
    people: dict[str, ConsoleClient], story: Story, screen: Screen, *, live: bool, clock: Clock
) -> None:
    if not live:
        command = f"/rollback {scenario.CHANGE} {scenario.REASON}"
        screen.say(f"O. Larsen types [bold]{escape(command)}[/]", mark="⌨")
        await people[scenario.OPERATOR].command(CHANNEL, command)
    story.moments["command"] = clock.now()
    patience = _LIVE_PATIENCE if live else _PATIENCE
    deadline = clock.monotonic() + patience.total_seconds()
    approved = live
    while clock.monotonic() < deadline:
        for message in await _look(people[scenario.MANAGER], screen, story):
            text = message.get("text", "")
            _note_moment(story, message)
            if not live and _bad_end(text):
                raise RollbackError(screen.readable(text))
            if _CLOSED in text:
                return
        card = _with_button(story.messages, ids.APPROVE)
        if card is not None and not approved:
            screen.say("J. Smith clicks [bold]Approve[/]", mark="🖱")
            approved = await _click(people[scenario.MANAGER], card)
            story.moments.setdefault("approval", clock.now())
        await clock.sleep(_POLL)
    raise TimeoutError(f"the rollback did not end within {patience}")


async def _click(client: ConsoleClient, card: Json) -> bool:
    try:
        await client.click(CHANNEL, card, ids.APPROVE)
    except (aiohttp.ClientError, OSError):
        return False  # the bot died under the click; the card still shows the button when it is back
    return True


async def _look(client: ConsoleClient, screen: Screen, story: Story) -> list[Json]:
    try:
        story.messages = list(await client.messages(CHANNEL))
    except (aiohttp.ClientError, OSError):
        return []  # the bot is being started again
    return screen.show(story.messages)


def _with_button(messages: list[Json], action: str) -> Json | None:
    for message in messages:
        for block in message.get("blocks", []):
            if any(element.get("action_id") == action for element in block.get("elements", [])):
                return message
    return None


def _bad_end(text: str) -> bool:
    return any(words in text for words in _BAD_ENDS)


def _note_moment(story: Story, message: Json) -> None:
    text = message.get("text", "")
    for name, mark in (
        ("authorised", "AUTHORISATION RECORDED"),
        ("started", "ROLLBACK IN PROGRESS"),
        ("complete", "ROLLBACK COMPLETE"),
        ("records", _CLOSED),
    ):
        if mark in text:
            story.moments[name] = moment(message)
