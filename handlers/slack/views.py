"""The submitted modals."""

from __future__ import annotations

from handlers.slack import deliveries, homes, ids, render, slash, tickets
from handlers.slack.commands import LONGEST_REASON
from handlers.slack.desk import Desk
from handlers.slack.tickets import Body, Ticket


async def on_request(desk: Desk, body: Body) -> None:
    """Ask for the rollback of the chosen change.

    Raises:
        RollbackError: The service refuses.
        DuplicateDeliveryError: Slack delivered the submission again.
    """
    chosen = (field_in(body, ids.CHANGE).get("selected_option") or {}).get("value") or ""
    await slash.request(desk, body, deliveries.of_view(body), change=str(chosen), reason=reason_in(body))


async def on_reject(desk: Desk, body: Body) -> None:
    """Stand a rollback down.

    Raises:
        RollbackError: The service refuses.
        DuplicateDeliveryError: Slack delivered the submission again.
    """
    ticket = tickets.read_ticket(body["view"].get("private_metadata"))
    actor = deliveries.of_view(body)
    await desk.service.reject(ticket.id, actor, version=ticket.v, reason=reason_in(body))
    await home_again(desk, body, ticket)


async def on_decide(desk: Desk, body: Body) -> None:
    """Decide about a held step.

    Raises:
        RollbackError: The service refuses.
        DuplicateDeliveryError: Slack delivered the submission again.
        ValueError: The modal was not one of ours.
    """
    ticket = tickets.read_ticket(body["view"].get("private_metadata"))
    if ticket.choice is None:
        raise ValueError("a decision without a choice was submitted")
    actor = deliveries.of_view(body)
    run = await desk.service.decide(
        ticket.id,
        actor,
        version=ticket.v,
        step=ticket.step,
        choice=ticket.choice,
        reason=reason_in(body),
        confirmed=ticket.warned,
    )
    if ticket.channel:
        # The question has its answer: its buttons go, and everybody sees who decided what.
        asked = render.held(run, ticket.step)
        update = desk.client.chat_update(channel=ticket.channel, ts=ticket.ts, text=asked.text, blocks=asked.blocks)
        await desk.best_effort(update)
    await home_again(desk, body, ticket)


async def home_again(desk: Desk, body: Body, ticket: Ticket) -> None:
    """Show what came of it in the App Home, if the modal was opened there: there a click has no response URL."""
    if not ticket.url:
        await desk.best_effort(homes.publish(desk, deliveries.user_of(body)))


def field_in(body: Body, name: str) -> Body:
    """Return the state of an input of the submitted modal; empty if there is none."""
    found = ((body["view"].get("state") or {}).get("values") or {}).get(name) or {}
    field: Body = found.get(name) or {}
    return field


def reason_in(body: Body) -> str:
    """Return the reason that was entered; empty if none was."""
    return str(field_in(body, ids.REASON).get("value") or "").strip()[:LONGEST_REASON]
