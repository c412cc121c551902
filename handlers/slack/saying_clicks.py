"""The buttons and forms by which people steer a rollback that runs."""

from __future__ import annotations

from dataclasses import replace

from bot.domain import control
from bot.domain.errors import RefusedError
from bot.domain.messages import Asks, Question
from bot.domain.run import Run
from bot.domain.times import parse_duration
from handlers.slack import actions, deliveries, homes, ids, render, saying
from handlers.slack.desk import Desk, response_url
from handlers.slack.saying import Word
from handlers.slack.tickets import Body, ButtonValue, Ticket, read_ticket
from handlers.slack.views import field_in, home_again, reason_in


async def on_say(desk: Desk, body: Body) -> None:
    """Do it at once where one click is enough, else ask why in a modal.

    Raises:
        RollbackError: The service refuses.
        DuplicateDeliveryError: Slack delivered the click again.
    """
    value, verb = actions.value_of(body), ids.verb_of(body["actions"][0]["action_id"])
    if verb == "extend" and value.about == Asks.EXTENSION:
        await _send_extension(desk, body, value)
        return
    channel, ts = actions.place_of(body)
    ticket = Ticket(
        id=value.id, v=value.v, step=value.step, url=response_url(body), channel=channel, ts=ts, verb=verb,
        about=value.about, remedy=value.remedy,
    )  # fmt: skip

    async def make() -> render.View:
        run = await actions.standing(desk, value.id)
        warned = verb == "abort" and bool(control.abort_warning(run))
        return render.say_modal(replace(ticket, warned=warned), run, desk.service.policy)

    await desk.show(body, "Rollback", make)


async def on_submitted(desk: Desk, body: Body) -> None:
    """Do what the form says.

    Raises:
        RollbackError: The service refuses, or something in the form cannot be understood.
        DuplicateDeliveryError: Slack delivered the submission again.
    """
    ticket = read_ticket(body["view"].get("private_metadata"))
    run = await saying.say(desk.service, ticket.id, deliveries.of_view(body), _word(body, ticket))
    await _show(desk, run, ticket)
    await home_again(desk, body, ticket)


async def _send_extension(desk: Desk, body: Body, value: ButtonValue) -> None:
    await actions.strip_buttons(desk, body, "Send extension")
    channel, ts = actions.place_of(body)
    ticket = Ticket(id=value.id, v=value.v, channel=channel, ts=ts, about=value.about)
    try:
        await saying.say(desk.service, value.id, deliveries.of_click(body), Word("extend", ""))
    finally:
        await desk.best_effort(_shown_anew(desk, ticket))
        if (body.get("view") or {}).get("type") == "home":
            await desk.best_effort(homes.publish(desk, deliveries.user_of(body)))


def _word(body: Body, ticket: Ticket) -> Word:
    by = str(field_in(body, ids.BY).get("value") or "").strip()
    chosen = (field_in(body, ids.TO).get("selected_option") or {}).get("value") or ""
    running = (field_in(body, ids.RUNNING).get("selected_option") or {}).get("value") or ""
    try:
        longer = parse_duration(by) if by else None
    except ValueError as error:
        raise RefusedError(f"{error}.", untouched="The window stands.", resolution="Click again.") from error
    return Word(
        ticket.verb,
        reason_in(body),
        step=ticket.step,
        remedy=ticket.remedy,
        person=str(chosen),
        by=longer,
        stop=running == "stop",
        confirmed=ticket.warned,
        version=ticket.v if ticket.verb == "confirm" and ticket.about else None,
    )


async def _shown_anew(desk: Desk, ticket: Ticket) -> None:
    await _show(desk, await actions.standing(desk, ticket.id), ticket)


async def _show(desk: Desk, run: Run, ticket: Ticket) -> None:
    """Show the question as it stands now: answered questions lose their buttons."""
    if not ticket.channel or ticket.about not in set(Asks):
        return
    step = ticket.step if ticket.about == Asks.REMEDIES else ""
    message = render.question(run, Question(Asks(ticket.about), ticket.v, step))
    update = desk.client.chat_update(channel=ticket.channel, ts=ticket.ts, text=message.text, blocks=message.blocks)
    await desk.best_effort(update)
