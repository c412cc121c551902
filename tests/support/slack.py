"""The Slack side with everything around it: the console as Slack, the real service, stores in memory."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import json
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import time, timedelta
from typing import Any
from urllib.parse import urlencode

import aiohttp
from aiohttp import web
from pydantic import SecretStr
from slack_sdk.web.async_client import AsyncWebClient

from bot.domain import events, ports
from bot.domain.actuation import Progress
from bot.domain.authority import BusinessHours
from bot.domain.errors import PlanUnavailableError, StoreUnavailableError
from bot.domain.events import AnyEvent
from bot.domain.lifecycle import LOCKING
from bot.domain.plan import Plan
from bot.domain.run import Run, apply
from bot.engine.announcer import Means
from bot.engine.service import Service
from bot.engine.settings import EngineSettings
from handlers.console import ConsoleClient, ConsoleUser
from handlers.console.core import RateLimit
from handlers.slack import SlackChat, SlackSettings, Underway, build, http
from tests.support import console, rollbacks
from tests.support.console import BOT_TOKEN, SECRET, Lab, SystemClock
from tests.support.voices import MemoryLedger, NoHistory, OpenFloor, Voice

USERS = {
    user: ConsoleUser(user, name, name, SecretStr(f"token-of-{user}"))
    for user, name in (
        (rollbacks.ONCALL, "a.okafor"),
        (rollbacks.MANAGER, "j.smith"),
        (rollbacks.OWNER, "r.silva"),
        (rollbacks.STRANGER, "stranger"),
    )
}
ALWAYS = BusinessHours(days=(1, 2, 3, 4, 5, 6, 7), start=time(0), end=time.max)
POLICY = rollbacks.POLICY.model_copy(update={"hours": ALWAYS})
SETTINGS = SlackSettings(bot_token=BOT_TOKEN, signing_secret=SECRET, ops_channel=rollbacks.OPS, app_token="xapp-1")
Json = dict[str, Any]


class Runs:
    """The journals, in memory; can be out of reach."""

    def __init__(self) -> None:
        self.runs: dict[str, Run] = {}
        self.away = False
        self.gate = asyncio.Event()
        self.gate.set()

    def _here(self) -> None:
        if self.away:
            raise StoreUnavailableError("connection refused")

    async def create(self, plan: Plan, inventory: Any, event: AnyEvent, *, locks: Sequence[str]) -> Run:
        """Write a new rollback, unless another holds a target."""
        self._here()
        await self.gate.wait()
        for other in self.runs.values():
            if other.state in LOCKING and set(locks) & set(other.plan.targets()):
                raise ports.TargetBusyError(
                    f"{other.id} holds a target.", holder=other.id, targets=other.plan.targets()
                )
        run = apply(Run(id=f"rb-{len(self.runs) + 1:04}", plan=plan, inventory=inventory), event)
        self.runs[run.id] = run
        return run

    async def load(self, rollback_id: str) -> Run:
        """Return a rollback."""
        self._here()
        return self.runs[rollback_id]

    async def append(self, run: Run, event: AnyEvent, **_how: Any) -> Run:
        """Write one event."""
        self._here()
        if self.runs[run.id].seq != run.seq:
            raise ports.ConflictError
        self.runs[run.id] = apply(run, event)
        return self.runs[run.id]

    async def active(self) -> tuple[Run, ...]:
        """Return what has not ended."""
        self._here()
        return tuple(run for run in self.runs.values() if run.state in LOCKING)

    async def recent(self, limit: int) -> tuple[Run, ...]:
        """Return the newest."""
        self._here()
        return tuple(reversed(self.runs.values()))[:limit]

    async def latest_of(self, change: str) -> Run | None:
        """Return the newest of a change."""
        self._here()
        return next((run for run in reversed(self.runs.values()) if run.plan.change == change), None)

    async def blocking(self, service: str) -> tuple[Run, ...]:
        """Return what blocks deployments of a service, the newest first."""
        return tuple(run for run in await self.blocked() if run.plan.service == service)

    async def blocked(self) -> tuple[Run, ...]:
        """Return what blocks deployments of any service, the newest first."""
        self._here()
        return tuple(run for run in reversed(self.runs.values()) if run.blocks_deployments)


class Plans:
    """The plans, in memory."""

    def __init__(self) -> None:
        self.plans = {"CHG0012345": rollbacks.plan(), "CHG0012340": rollbacks.plan(change="CHG0012340")}

    async def find(self, change: str) -> Plan:
        """Return the plan of a change."""
        if change not in self.plans:
            raise PlanUnavailableError(
                f"There is no rollback plan for {change}.",
                untouched="Nothing was run.",
                resolution="The change manager has been told.",
            )
        return self.plans[change]

    async def list(self) -> tuple[ports.PlanSummary, ...]:
        """Return all plans."""
        return tuple(
            ports.PlanSummary(plan.change, plan.title, plan.service, plan.deployed_at, valid=True)
            for plan in self.plans.values()
        )


class Audit:
    """The audit, in memory."""

    def __init__(self) -> None:
        self.entries: list[ports.AuditEntry] = []
        self.deliveries: list[str] = []

    async def write(self, entry: ports.AuditEntry) -> None:
        """Add an entry."""
        self.entries.append(entry)

    async def first_delivery(self, delivery_id: str) -> bool:
        """Note a delivery."""
        self.deliveries.append(delivery_id)
        return self.deliveries.count(delivery_id) == 1


class Board:
    """Progress, in memory."""

    def __init__(self) -> None:
        self.progress: dict[str, dict[str, Progress]] = {}

    async def write(self, rollback_id: str, step: str, progress: Progress) -> None:
        """Write the newest progress."""
        self.progress.setdefault(rollback_id, {})[step] = progress

    async def read(self, rollback_id: str) -> dict[str, Progress]:
        """Return the newest progress."""
        return self.progress.get(rollback_id, {})


class Carrier:
    """Notes what was asked to be carried."""

    def __init__(self) -> None:
        self.deferred: list[str] = []

    async def defer(self, rollback_id: str, zone: str) -> None:
        """Note it."""
        self.deferred.append(f"{rollback_id}@{zone}")


@dataclass
class World:
    """A workspace with the bot in it."""

    lab: Lab
    bot_url: str
    runs: Runs
    plans: Plans
    audit: Audit
    board: Board
    service: Service
    chat: SlackChat
    announcer: Voice
    underway: Underway
    refreshed: list[str] = field(default_factory=list)
    _triggers: int = 0

    def as_(self, user: str) -> ConsoleClient:
        """Return a client that acts as a person."""
        return self.lab.client(USERS[user])

    async def settle(self) -> None:
        """Wait until the bot has done all it was asked to, then bring the chat in line."""
        await self.underway.idle()
        for rollback_id in self.runs.runs:
            await self.announcer.sync(rollback_id)

    async def type(self, user: str, text: str) -> None:
        """Type the slash command and wait for all that follows from it."""
        await self.as_(user).command(rollbacks.OPS, f"/rollback {text}")
        await self.settle()

    async def click(self, user: str, action_id: str, *, key: str = "card") -> None:
        """Click a button of a message about the only rollback, and wait for all that follows from it."""
        await self.as_(user).click(rollbacks.OPS, await self.message(key), action_id)
        await self.settle()

    async def submit(self, user: str, **values: str) -> None:
        """Submit the modal that the person has before them, and wait for all that follows from it."""
        await self.as_(user).submit(await self.modal(user), values)
        await self.settle()

    async def message(self, key: str = "card") -> Json:
        """Return the message of that mark in the operations channel."""
        for found in await self.as_(rollbacks.ONCALL).messages(rollbacks.OPS):
            if found.get("metadata", {}).get("event_payload", {}).get("key") == key:
                return found
        raise AssertionError(f"there is no message {key}")

    async def whispers(self, user: str) -> list[str]:
        """Return the texts that only this person sees in the operations channel, oldest first."""
        state = await self.as_(user).state(rollbacks.OPS)
        return [each["text"] for each in state["ephemerals"]]

    async def modal(self, user: str) -> Json:
        """Return the topmost modal of a person."""
        views: list[Json] = (await self.as_(user).state(rollbacks.OPS))["views"]
        return views[-1]

    async def home(self, user: str) -> Json:
        """Return the App Home of a person."""
        found: Json = (await self.as_(user).state(rollbacks.OPS))["home"]
        return found

    async def add(self, *journal: AnyEvent) -> Run:
        """Append to the journal of the only rollback, as a worker does, and bring the chat in line."""
        run = next(reversed(self.runs.runs.values()))
        for event in journal:
            run = await self.runs.append(run, event)
        await self.settle()
        return run

    async def ask_for_authority(self) -> Run:
        """Let the only rollback come as far as waiting for authority."""
        run = next(reversed(self.runs.runs.values()))
        now = SystemClock().now()
        by: Json = {"at": now, "who": "worker-1", "why": "checks"}
        digests = {"plan_digest": run.plan.digest(), "targets_digest": run.inventory.digest()}
        checked = rollbacks.checked(run.plan).model_copy(update={"at": now})
        asked = events.AuthorityAsked(
            expires_at=now + timedelta(hours=1), who_may="the change manager", **digests, **by
        )
        return await self.add(events.CheckingBegan(**by), checked, asked)

    async def hold(self, step: str = "stop") -> Run:
        """Let the only rollback, waiting for authority, run into a step that somebody must decide about."""
        run = next(reversed(self.runs.runs.values()))
        by: Json = {"at": SystemClock().now(), "who": "worker-1", "why": "because"}
        digests = {"plan_digest": run.plan.digest(), "targets_digest": run.inventory.digest()}
        return await self.add(
            events.Authorised(name="J. Smith", role="Change Manager", grounds="hours", **digests, **by),
            events.ExecutionBegan(**by),
            events.StepStarted(step=step, attempt=1, **by),
            events.StepFailed(step=step, attempt=1, brief="it did not stop", **by),
            events.Held(steps=(step,), **by),
        )

    async def send(
        self, body: str, *, kind: str = "application/x-www-form-urlencoded", **how: Any
    ) -> tuple[int, str]:
        """Send a signed request to the bot; see `signed` for what `how` may change, and `sign` for another body.

        Returns:
            Status and body.
        """
        headers = {"Content-Type": kind, **signed(how.pop("sign", body), **how)}
        async with self.lab.http.post(
            f"{self.bot_url}/slack/events", data=body.encode(), headers=headers
        ) as answer:
            return answer.status, await answer.text()

    def command(self, text: str, *, user: str = rollbacks.ONCALL, **fields: str) -> str:
        """Return the body of a slash command, typed anew each time."""
        self._triggers += 1
        place = {"team_id": "T0LOCAL", "channel_id": rollbacks.OPS, "trigger_id": f"raw.{self._triggers}"}
        return urlencode({"command": "/rollback", "text": text, "user_id": user, **place, **fields})


def interaction(payload: Json) -> str:
    """Return the body of a click or submission."""
    return urlencode({"payload": json.dumps(payload)})


def signed(body: str, *, secret: str = SECRET, age: timedelta = timedelta(), drop: str = "") -> dict[str, str]:
    """Return the headers that prove that a body comes from Slack.

    Args:
        body: The body.
        secret: The secret to sign with.
        age: How long ago it was signed, counted when it is sent.
        drop: A header to leave out.
    """
    stamp = int((SystemClock().now() - age).timestamp())
    digest = hmac.new(secret.encode(), f"v0:{stamp}:{body}".encode(), hashlib.sha256).hexdigest()
    headers = {"X-Slack-Request-Timestamp": str(stamp), "X-Slack-Signature": f"v0={digest}"}
    return {name: value for name, value in headers.items() if name != drop}


@asynccontextmanager
async def world(*, rate_limit: RateLimit | None = None, settings: SlackSettings = SETTINGS) -> AsyncIterator[World]:
    """Start the console and the bot, joined by signed HTTP both ways."""
    clock = SystemClock()
    routes: list[web.RouteDef] = []

    def bot_app() -> web.Application:
        # The bot needs the console's address and the console the bot's: the routes follow when both are known.
        async def deliver(request: web.Request) -> web.StreamResponse:
            handle: Any = routes[0].handler
            answer: web.StreamResponse = await handle(request)
            return answer

        app = web.Application()
        app.router.add_post("/slack/events", deliver)
        return app

    async with (
        console.serve(bot_app()) as bot_url,
        console.lab(clock=clock, users=list(USERS.values()), rate_limit=rate_limit, bot_app=bot_app()) as lab,
        aiohttp.ClientSession() as session,
    ):
        client = AsyncWebClient(token=BOT_TOKEN, base_url=f"{lab.url}/slack-api/", session=session)
        found = _assemble(lab, bot_url, client, clock, settings)
        routes += http.routes(found[1], settings)
        yield found[0]
        await found[0].underway.idle()


def _assemble(
    lab: Lab, bot_url: str, client: AsyncWebClient, clock: SystemClock, settings: SlackSettings
) -> tuple[World, Any]:
    runs, plans, audit, board, underway = Runs(), Plans(), Audit(), Board(), Underway()
    journals: Any = runs  # it lacks what only workers use
    chat = SlackChat(client, ops_channel=settings.ops_channel, policy=POLICY, clock=clock)
    service = Service(
        runs=journals, plans=plans, inventory=rollbacks.INVENTORY, policy=POLICY, carrier=Carrier(), audit=audit,
        chat=chat, clock=clock,
    )  # fmt: skip
    means = Means(
        runs=journals, chat=chat, ledger=MemoryLedger(), board=board, history=NoHistory(), policy=POLICY,
        clock=clock, settings=EngineSettings(owner="test", card_interval=timedelta(0)),
    )  # fmt: skip
    announcer = Voice(means, floor=OpenFloor())
    made = World(lab, bot_url, runs, plans, audit, board, service, chat, announcer, underway)

    async def refresh(rollback_id: str) -> None:
        made.refreshed.append(rollback_id)
        await announcer.refresh(rollback_id)

    app = build(
        service=service,
        settings=settings,
        client=client,
        board=board,
        clock=clock,
        refresh=refresh,
        underway=underway,
    )
    return made, app
