"""The slash command: understand it, ask the service, answer."""

from __future__ import annotations

from typing import assert_never

from bot.engine.service import Actor
from handlers.slack import commands, deliveries, outlook, render, saying
from handlers.slack.commands import Ask, Help, ListRecent, Request, Say, ShowPlan, Status, Unknown
from handlers.slack.desk import Desk, response_url
from handlers.slack.tickets import Body, Ticket


async def on_command(desk: Desk, body: Body) -> None:
    """Do what was typed. The answer is for the eyes of the person who typed it.

    Raises:
        RollbackError: The service refuses.
        StoreUnavailableError: The store cannot be reached.
        DuplicateDeliveryError: Slack delivered the command again.
    """
    command = commands.parse(str(body.get("text") or ""))
    match command:
        case Ask():
            await _ask(desk, body)
        case Request():
            await request(desk, body, deliveries.of_command(body), change=command.change, reason=command.reason)
        case Say():
            run = await saying.typed(desk.service, deliveries.of_command(body), command)
            await desk.answer(body, render.saying(f"✅ {outlook.what_next(run, command.verb)}"))
        case Status() | ListRecent() | ShowPlan() | Help() | Unknown():
            await desk.answer(body, await _read(desk, command))
        case _:
            assert_never(command)


async def request(desk: Desk, body: Body, actor: Actor, *, change: str, reason: str) -> None:
    """Ask for a rollback and say that its checks have begun.

    Raises:
        RollbackError: The service refuses.
        DuplicateDeliveryError: Slack delivered the request again.
    """
    run = await desk.service.request(change, actor, reason=reason)
    channel = run.plan.communication.channel or desk.settings.ops_channel
    place = {"type": "channel", "channel_id": channel}
    await desk.answer(body, render.begun(run, place))


async def _ask(desk: Desk, body: Body) -> None:
    async def make() -> render.View:
        return render.request_modal(await desk.service.changes(), Ticket(url=response_url(body)))

    await desk.show(body, "Roll back a change", make)


async def _read(desk: Desk, command: Status | ListRecent | ShowPlan | Help | Unknown) -> render.Message:
    typed = desk.settings.command
    match command:
        case Status(word=""):
            none = f"No rollback is under way. Begin one with {typed} CHG0012345, or see {typed} list."
            return render.runs_message("Under way", await desk.service.status(), none=none)
        case Status(word=word):
            return await _one(desk, word)
        case ListRecent():
            return render.runs_message("Latest", await desk.service.recent(), none="There was no rollback yet.")
        case ShowPlan(change=change):
            return render.plan_message(await desk.service.plan(change))
        case Help():
            return render.help_message(typed)
        case Unknown():
            return render.not_understood(typed, command)
        case _:
            assert_never(command)


async def _one(desk: Desk, word: str) -> render.Message:
    found = await desk.service.status(word)
    if not found:
        return render.saying(f"There is no rollback of {word[:60]}. See {desk.settings.command} list.")
    # The same card as in the channel, for reading only: decisions are made where everybody sees them.
    return render.read_only(render.card(found[0], desk.service.policy, await desk.board.read(found[0].id)))
