"""Rollbacks to which people say something, in the workspace of the Slack tests."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from bot.domain import events
from bot.domain.events import AnyEvent
from bot.domain.plan import Plan
from handlers.slack import ids
from tests.support import rollbacks
from tests.support.console import SystemClock
from tests.support.rollbacks import MANAGER, ONCALL
from tests.support.slack import World

Json = dict[str, Any]
RUN = "rb-0001"
RETURN = "the new schema is written to, and old code cannot read it"


def by(who: str = "worker-1", why: str = "because") -> Json:
    """Return who says so, when and why."""
    return {"at": SystemClock().now(), "who": who, "why": why}


async def authorised(slack: World) -> None:
    """Let the only rollback be authorised by the change manager."""
    await slack.type(ONCALL, "CHG0012345")
    run = await slack.ask_for_authority()
    digests = {"plan_digest": run.plan.digest(), "targets_digest": run.inventory.digest()}
    await slack.add(
        events.Authorised(name="J. Smith", role="Change Manager", grounds="hours", **digests, **by(MANAGER))
    )


async def begun(slack: World, *more: AnyEvent) -> None:
    """Let the only rollback run its first step, and whatever happens more."""
    await authorised(slack)
    started = events.StepStarted(step="stop", attempt=1, **by())
    await slack.add(events.ExecutionBegan(blocks=True, **by()), started, *more)


def failed() -> tuple[AnyEvent, AnyEvent]:
    """Return what holds the first step."""
    fault = events.StepFailed(step="stop", attempt=1, brief="it did not stop", **by())
    return fault, events.Held(steps=("stop",), **by())


def drafted() -> events.ExtensionDrafted:
    """Return a draft of an extension by half an hour."""
    half, hour = timedelta(minutes=30), timedelta(minutes=60)
    return events.ExtensionDrafted(window=half, estimate=hour, share=0.65, **by(why="the restore is slow"))


def remedies() -> events.RemediesOffered:
    """Return a diagnosis and a remedy that acts."""
    offered = [
        events.RemedyOffered(
            id=name, title=title, words="As recorded.", acts=acts, settles=False,
            step={"id": f"remedy.{name}.1", "kind": "test.act", "target": "payments-db"},
        )
        for name, title, acts in (("sessions", "Name the sessions", False), ("kill", "End the sessions", True))
    ]  # fmt: skip
    return events.RemediesOffered(step="stop", remedies=tuple(offered), **by())


def dangerous() -> Plan:
    """Return the example's plan with a point of no return at its first step."""
    document = rollbacks.plan().model_dump(mode="json")
    document["phases"][0]["steps"][0]["point_of_no_return"] = RETURN
    return rollbacks.MODEL.model_validate(document)


def journal(slack: World) -> tuple[AnyEvent, ...]:
    """Return the journal of the only rollback."""
    return slack.runs.runs[RUN].history


def key_of(slack: World, kind: type[events.Event]) -> str:
    """Return the key of the message about the newest event of that class."""
    number = max(n for n, event in enumerate(journal(slack), 1) if isinstance(event, kind))
    return f"{number:04d}-{journal(slack)[number - 1].kind}"


def verbs(message: Json) -> list[str]:
    """Return what the buttons of a message say."""
    elements = [each for block in message["blocks"] if block["type"] == "actions" for each in block["elements"]]
    return [ids.verb_of(each["action_id"]) for each in elements if each["action_id"].startswith(ids.SAY)]


async def told(slack: World, user: str) -> str:
    """Return the newest answer for the eyes of a person."""
    return (await slack.whispers(user))[-1]
