"""The buttons and forms by which people steer a rollback that runs."""

from __future__ import annotations

from dataclasses import replace

from bot.domain import control, events
from bot.domain.errors import RefusedError
from bot.domain.messages import Asks, Question
from bot.domain.run import Run
from bot.domain.times import parse_duration
from bot.engine.service import DuplicateDeliveryError
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
        run = await _still_asked(desk, ticket)
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
    try:
        run = await saying.say(desk.service, ticket.id, deliveries.of_view(body), _word(body, ticket))
    except control.ConfirmationNeededError as error:
        error.resolution = "To give it up all the same, click Abort again: the form now tells what that means."
        raise
    await _show(desk, run, ticket)
    await home_again(desk, body, ticket)


async def _send_extension(desk: Desk, body: Body, value: ButtonValue) -> None:
    channel, ts = actions.place_of(body)
    ticket = Ticket(id=value.id, v=value.v, channel=channel, ts=ts, about=value.about)
    await _not_twice(desk, body, ticket)
    await actions.strip_buttons(desk, body, "Send extension")
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
        version=ticket.v if ticket.about == Asks.MANUAL or (ticket.verb == "confirm" and ticket.about) else None,
        by_hand=ticket.about == Asks.MANUAL,
        evidence=str(field_in(body, ids.EVIDENCE).get("value") or "").strip(),
    )


async def _still_asked(desk: Desk, ticket: Ticket) -> Run:
    """Return the rollback, if the question still waits for an answer; the card's own buttons belong to none.

    Raises:
        RefusedError: Somebody answered it by another way, or it has no meaning any more; it lost its buttons now.
    """
    run = await actions.standing(desk, ticket.id)
    asked = _asked(run, ticket)
    if asked is None or render.waits(run, asked):
        return run
    await _show(desk, run, ticket)
    raise RefusedError(
        "This button is out of date: the question has been answered, or needs no answer any more.",
        untouched="Your click changed nothing.",
        resolution="The card of the rollback shows what can be done now.",
    )


async def _not_twice(desk: Desk, body: Body, ticket: Ticket) -> None:
    """Let nobody's click count twice, nor one on a draft that was overtaken: the service sees only the newest.

    Raises:
        RefusedError: The extension was answered by somebody else, or has no meaning any more.
        DuplicateDeliveryError: It was this person's own click: they need not be told of a mistake.
    """
    try:
        await _still_asked(desk, ticket)
    except RefusedError:
        run = await actions.standing(desk, ticket.id)
        sent = [event for event in run.history[max(ticket.v, 0) :] if isinstance(event, events.Extended)]
        if sent and sent[0].who == deliveries.user_of(body):
            raise DuplicateDeliveryError(deliveries.of_click(body).delivery) from None
        raise


def _asked(run: Run, ticket: Ticket) -> Question | None:
    """Return the question that a button belongs to; None if it belongs to none that the journal knows."""
    if ticket.about not in set(Asks) or not 0 < ticket.v <= run.seq:
        return None
    step = ticket.step if ticket.about in (Asks.REMEDIES, Asks.MANUAL) else ""
    return Question(Asks(ticket.about), ticket.v, step)


async def _shown_anew(desk: Desk, ticket: Ticket) -> None:
    await _show(desk, await actions.standing(desk, ticket.id), ticket)


async def _show(desk: Desk, run: Run, ticket: Ticket) -> None:
    """Show the question as it stands now: answered questions lose their buttons."""
    asked = _asked(run, ticket)
    if asked is None or not ticket.channel:
        return
    message = render.question(run, asked)
    update = desk.client.chat_update(channel=ticket.channel, ts=ticket.ts, text=message.text, blocks=message.blocks)
    await desk.best_effort(update)
