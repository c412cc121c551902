"""The buttons. A click is acknowledged, then the buttons go, then the service decides whether it counts."""

from __future__ import annotations

import logging
import re
from dataclasses import replace
from typing import Any, Final

from bot.domain import control
from bot.domain.errors import RefusedError
from bot.domain.events import Choice
from bot.domain.run import Run
from handlers.slack import deliveries, homes, ids, render, tickets
from handlers.slack.desk import Desk, response_url
from handlers.slack.tickets import Body, ButtonValue, Ticket

log = logging.getLogger(__name__)

_STRIP_SECONDS: Final = 2.0
"""Stripping is a courtesy: an approval does not wait longer for it."""
_MOST_BLOCKS: Final = 50
_SHOWN_TEXT: Final = 3_000


async def on_approve(desk: Desk, body: Body) -> None:
    """Approve at once.

    Raises:
        RollbackError: The service refuses; the card has its buttons back.
        DuplicateDeliveryError: Slack delivered the click again.
    """
    value = value_of(body)
    await strip_buttons(desk, body, "Approve")
    try:
        await desk.service.approve(value.id, deliveries.of_click(body), version=value.v)
    except Exception:
        # Whatever went wrong: the card must show what the journal says, buttons included.
        await desk.best_effort(desk.refresh(value.id))
        raise
    finally:
        if (body.get("view") or {}).get("type") == "home":
            await desk.best_effort(homes.publish(desk, deliveries.user_of(body)))


async def on_reject(desk: Desk, body: Body) -> None:
    """Ask why, in a modal."""
    value = value_of(body)
    ticket = Ticket(id=value.id, v=value.v, url=response_url(body))
    await desk.client.views_open(trigger_id=body["trigger_id"], view=render.reject_modal(ticket))


async def on_decide(desk: Desk, body: Body) -> None:
    """Ask why somebody decides so about a held step, in a modal."""
    value = value_of(body)
    choice = ids.DECIDE[body["actions"][0]["action_id"]]
    channel, ts = place_of(body)
    ticket = Ticket(value.id, value.v, value.step, choice, response_url(body), channel, ts)
    if choice is not Choice.ABORT:
        await desk.client.views_open(trigger_id=body["trigger_id"], view=render.decide_modal(ticket, choice))
        return

    async def make() -> render.View:
        warning = control.abort_warning(await standing(desk, value.id))
        return render.decide_modal(replace(ticket, warned=bool(warning)), choice, warning)

    await desk.show(body, "Abort the rollback", make)


async def on_view_plan(desk: Desk, body: Body) -> None:
    """Show the plan as it stood at the request: what an approval binds to.

    Raises:
        RefusedError: There is no such rollback.
    """
    value = value_of(body)

    async def make() -> render.View:
        return render.plan_modal((await standing(desk, value.id)).plan)

    await desk.show(body, "Rollback plan", make)


async def on_unknown(_desk: Desk, body: Body) -> None:
    """Answer a button that this version does not know.

    Raises:
        RefusedError: Always.
    """
    log.warning("a button that nobody knows was clicked: %r", str(body["actions"][0].get("action_id"))[:80])
    raise _out_of_date()


async def standing(desk: Desk, rollback_id: str) -> Run:
    """Return the rollback as it stands.

    Raises:
        RefusedError: There is no such rollback.
    """
    found = await desk.service.status(rollback_id)
    if not found:
        raise RefusedError(f"There is no rollback {rollback_id!r}.")
    return found[0]


def value_of(body: Body) -> ButtonValue:
    """Return what the clicked button carries.

    Raises:
        RefusedError: It is not one of this version's.
    """
    value = tickets.read_button(body["actions"][0].get("value"))
    if value is None:
        raise _out_of_date()
    return value


def _out_of_date() -> RefusedError:
    return RefusedError(
        "This button belongs to another version of the bot.",
        untouched="Your click changed nothing.",
        resolution="Use the buttons of the rollback's newest card, or type the command.",
    )


def place_of(body: Body) -> tuple[str, str]:
    """Return channel and timestamp of the message that was clicked in; empty in a view or an ephemeral message."""
    container = body.get("container") or {}
    if container.get("type") != "message" or container.get("is_ephemeral"):
        return "", ""
    return str(container.get("channel_id") or ""), str(container.get("message_ts") or "")


async def strip_buttons(desk: Desk, body: Body, label: str) -> None:
    """Take the buttons from the message at once, so that nobody clicks again while the click is worked on."""
    message, (channel, ts), person = body.get("message"), place_of(body), deliveries.user_of(body)
    if not isinstance(message, dict) or not channel or not re.fullmatch(r"[UW][A-Z0-9]{2,30}", person):
        return
    kept = [block for block in message.get("blocks", []) if block.get("type") != "actions"][: _MOST_BLOCKS - 1]
    doing = {"type": "mrkdwn", "text": f"<@{person}> clicked {label}, working…"}
    metadata: dict[str, Any] | None = message.get("metadata")
    stripped = desk.client.chat_update(
        channel=channel,
        ts=ts,
        text=str(message.get("text") or "")[:_SHOWN_TEXT] or f"{label}, working…",
        blocks=[*kept, {"type": "context", "elements": [doing]}],
        metadata=metadata,
    )
    await desk.best_effort(stripped, seconds=_STRIP_SECONDS)
