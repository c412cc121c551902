"""Command to acknowledgement: signed slash commands at a steady rate against a bot that really works on them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from urllib.parse import urlencode

import aiohttp
from aiohttp import web
from pydantic import SecretStr

from bot.demo import performance, scenario
from bot.domain.ports import Clock
from bot.main import chat
from bot.main.listening import listening
from handlers.console import delivery, payloads
from handlers.console.model import ConsoleChannel, ConsoleUser, Identity
from tests.bench import machine
from tests.bench.figures import Figure
from tests.bench.site import change_number, missing_change
from tests.bench.stage import BenchBot, Workshop, bench_bot, plain_server
from tests.bench.statistics import percentile, spread

RATE = 50
SECONDS = 20
GOAL_MS = 100.0
_WARM_UP = 20
_ANSWER_SECONDS = 30.0
_OK = 200
_ROUND = (
    "status", "plan", "help", "one", "typo", "plan", "status", "help", "typo", "plan",
    "status", "missing", "help", "one", "status", "plan", "typo", "request", "status", "help",
)  # fmt: skip
"""What twenty commands are: status 5, help 4, plan 4, typo 3, status of one change 2, no plan 1, rollback 1."""


@dataclass(frozen=True)
class Request:
    """A signed request, ready to be sent."""

    body: bytes
    headers: dict[str, str]


@dataclass
class Answers:
    """Takes the messages by which the bot answers commands, as Slack's response URLs do.

    Attributes:
        url: The beginning of the response URLs.
        at: When the answers of a command arrived, by its number.
    """

    url: str = ""
    at: dict[int, list[float]] = field(default_factory=dict)


async def measure(shop: Workshop) -> list[Figure]:
    """Return the p99 of the acknowledgement and the number of lost answers."""
    count = RATE * SECONDS
    rollbacks = count // len(_ROUND) * _ROUND.count("request")
    async with bench_bot(shop, "ack", changes=rollbacks + 1, steps=1) as bot, _answers(shop.clock) as answers:
        shop.say(f"{RATE} commands/s for {SECONDS} s, {rollbacks} of them begin a rollback")
        requests = _requests(bot, answers, shop.clock, count)
        # The first of a process load code and open connections; a bot is warm when somebody needs it.
        await _fire(bot.session, bot.url, requests[:_WARM_UP], rate=10, clock=shop.clock)
        sent, usage = shop.clock.monotonic(), _usage(bot.process.pid)
        took, refused = await _fire(bot.session, bot.url, requests[_WARM_UP:], rate=RATE, clock=shop.clock)
        busy = _in_words(usage, _usage(bot.process.pid), seconds=shop.clock.monotonic() - sent)
        load = machine.load()
        wanted = range(_WARM_UP, _WARM_UP + count)
        await _all_answered(answers, wanted, shop.clock)
        lost = refused + sum(len(answers.at.get(number, [])) != 1 for number in wanted)
        waits = [answers.at[n][0] - sent - (n - _WARM_UP) / RATE for n in wanted if n in answers.at]
        shop.say("the same requests to a bare handler")
        async with plain_server(shop, "ack", secret=bot.signing_secret) as (url, _):
            await _fire(bot.session, url, requests[:_WARM_UP], rate=10, clock=shop.clock)
            plain, _ = await _fire(bot.session, url, requests[_WARM_UP:], rate=RATE, clock=shop.clock)
    p99, plain_p99 = percentile(took, 0.99) * 1000, percentile(plain, 0.99) * 1000
    return [
        Figure(
            name="Command to acknowledgement, p99",
            measured=p99,
            goal=GOAL_MS,
            unit="ms",
            plain=plain_p99,
            plain_tool="bare aiohttp handler that verifies the signature",
            detail=f"{count} commands at {RATE}/s: {spread(took, scale=1000, unit='ms')}{busy}",
            load=load,
        ),
        Figure(
            name="Commands without exactly one answer",
            measured=lost,
            goal=0,
            unit="",
            detail=f"answers after {spread(waits, scale=1000, unit='ms')}",
            load=load,
        ),
    ]


def _usage(pid: int) -> tuple[float, float] | None:
    """Return the bot's processor seconds and the idle seconds of all cores."""
    used, idle = machine.processor_seconds(pid), machine.idle_seconds()
    return None if used is None or idle is None else (used, idle)


def _in_words(before: tuple[float, float] | None, after: tuple[float, float] | None, *, seconds: float) -> str:
    """Say how busy bot and machine were: latencies of a machine without idle time are those of its queue."""
    if before is None or after is None:
        return ""
    used = (after[0] - before[0]) / seconds
    idle = (after[1] - before[1]) / seconds / machine.cores()
    return f"; the bot used {used:.0%} of a core, {max(0.0, idle):.0%} of the machine was idle"


def _requests(bot: BenchBot, answers: Answers, clock: Clock, count: int) -> list[Request]:
    """Return the warm-up and then the round, over and over, all signed before the clock starts."""
    identity = Identity(chat._CONSOLE_TEAM, chat._CONSOLE_BOT, "", bot.signing_secret)
    user = ConsoleUser(scenario.OPERATOR, "o.larsen", "On-call Engineer", SecretStr("unused"))
    warm_up = ["help", "status", "plan", "typo"] * (_WARM_UP // 4)
    begun = 0
    found = []
    for number, kind in enumerate((*warm_up, *(_ROUND * (count // len(_ROUND))))):
        fields = payloads.command(
            identity,
            user=user,
            channel=ConsoleChannel(performance.CHANNEL, "ops"),
            name="/rollback",
            text=_text(kind, number=number, begun=begun),
            trigger_id=f"bench.{number}",
            response_url=f"{answers.url}/{number}",
        )
        begun += kind == "request"
        body = urlencode(fields)
        signed = delivery.sign(body, secret=bot.signing_secret, timestamp=int(clock.now().timestamp()))
        headers = {"Content-Type": "application/x-www-form-urlencoded", **signed}
        found.append(Request(body.encode(), headers))
    return found


def _text(kind: str, *, number: int, begun: int) -> str:
    match kind:
        case "status" | "help":
            return kind
        case "one":
            return f"status {change_number(max(0, begun - 1))}"
        case "plan":
            return f"plan {change_number(begun)}"
        case "typo":
            return f"statsu {number}"
        case "missing":
            return f"{missing_change(number)} there is no plan for this one"
        case _:
            return f"{change_number(begun)} benchmark {number}"


async def _fire(
    session: aiohttp.ClientSession, url: str, requests: Sequence[Request], *, rate: float, clock: Clock
) -> tuple[list[float], int]:
    """Send requests on a schedule that does not wait for answers.

    Returns:
        Seconds from each request's scheduled time to its acknowledgement, and how many were refused.
    """
    took: list[float] = []
    refused = 0
    start = clock.monotonic() + 0.05

    async def send(number: int, request: Request) -> None:
        nonlocal refused
        due = start + number / rate
        await clock.sleep(due - clock.monotonic())
        async with session.post(f"{url}/slack/events", data=request.body, headers=request.headers) as response:
            await response.read()
            refused += response.status != _OK
        took.append(clock.monotonic() - due)

    async with asyncio.TaskGroup() as group:
        for number, request in enumerate(requests):
            group.create_task(send(number, request))
    return took, refused


async def _all_answered(answers: Answers, wanted: range, clock: Clock) -> None:
    """Wait for the last answers, but not for ever: what is missing then counts as lost."""
    deadline = clock.monotonic() + _ANSWER_SECONDS
    while clock.monotonic() < deadline and not all(number in answers.at for number in wanted):
        await clock.sleep(0.1)


@asynccontextmanager
async def _answers(clock: Clock) -> AsyncIterator[Answers]:
    answers = Answers()

    async def take(request: web.Request) -> web.Response:
        await request.read()
        answers.at.setdefault(int(request.match_info["number"]), []).append(clock.monotonic())
        return web.Response(text="ok")

    app = web.Application()
    app.add_routes([web.post("/answer/{number}", take)])
    port = chat.free_port("127.0.0.1", 0)
    answers.url = f"http://127.0.0.1:{port}/answer"
    async with listening(app, "127.0.0.1", port):
        yield answers
