"""The Bolt app: which payload goes where. The same app serves Socket Mode, signed HTTP and the console."""

from __future__ import annotations

import logging
import re
from collections.abc import Awaitable, Callable
from typing import Any, Final

from slack_bolt.async_app import AsyncApp
from slack_bolt.context.ack.async_ack import AsyncAck
from slack_bolt.context.async_context import AsyncBoltContext
from slack_bolt.response import BoltResponse
from slack_sdk.web.async_client import AsyncWebClient

from bot.domain import ports
from bot.engine.service import Service
from handlers.slack import actions, deliveries, homes, ids, refusals, render, saying_clicks, slash, views
from handlers.slack.desk import Desk
from handlers.slack.settings import SlackSettings
from handlers.slack.tickets import Body
from handlers.slack.underway import Underway

log = logging.getLogger(__name__)

Work = Callable[[Desk, Body], Awaitable[None]]
_ANY_ACTION: Final = re.compile(r".*", re.DOTALL)
_SAYING: Final = re.compile(rf"^{ids.SAY}({'|'.join(sorted(render.FORMS))})(_[0-9]+)?$")


def build(
    *,
    service: Service,
    settings: SlackSettings,
    client: AsyncWebClient | None,
    board: ports.ProgressBoard,
    clock: ports.Clock,
    refresh: Callable[[str], Awaitable[None]],
    underway: Underway | None = None,
) -> AsyncApp:
    """Build the app. Every payload is acknowledged before anything else is done with it.

    Args:
        service: The use cases.
        settings: How the bot stands in its workspace.
        client: Calls Slack or the console; None makes one for Slack from the bot token. One that holds an open HTTP
            session saves a connection for each call. It must not wait for rate limits by itself: `SlackChat` does
            for what must arrive.
        board: The progress of running steps.
        clock: The time.
        refresh: Renders the card of a rollback anew from its journal; called when a click was refused.
        underway: Counts the listeners at work, so that a stop can wait for them.

    Returns:
        The app, to be served by `handlers.slack.http` or `handlers.slack.socket`.
    """
    client = client or AsyncWebClient(token=settings.bot_token)
    app = AsyncApp(name="rollback", client=client, signing_secret=settings.signing_secret)
    desk = Desk(service=service, settings=settings, client=client, board=board, clock=clock, refresh=refresh)
    app.use(_own_people(settings.teams))
    app.error(_unacknowledged)
    (underway or Underway()).watch(app)
    _route(app, desk)
    return app


def _route(app: AsyncApp, desk: Desk) -> None:
    app.command(desk.settings.command)(_acknowledged(desk, slash.on_command))
    app.action(ids.APPROVE)(_acknowledged(desk, actions.on_approve))
    app.action(ids.REJECT)(_acknowledged(desk, actions.on_reject))
    app.action(ids.VIEW_PLAN)(_acknowledged(desk, actions.on_view_plan))
    for action_id in ids.DECIDE:
        app.action(action_id)(_acknowledged(desk, actions.on_decide))
    app.action(_SAYING)(_acknowledged(desk, saying_clicks.on_say))
    # Listeners are tried in this order: what is left belongs to no version that we know.
    app.action(_ANY_ACTION)(_acknowledged(desk, actions.on_unknown))
    app.view(ids.REQUEST_VIEW)(_acknowledged(desk, views.on_request))
    app.view(ids.REJECT_VIEW)(_acknowledged(desk, views.on_reject))
    app.view(ids.DECIDE_VIEW)(_acknowledged(desk, views.on_decide))
    app.view(ids.SAY_VIEW)(_acknowledged(desk, saying_clicks.on_submitted))
    app.event("app_home_opened")(_acknowledged(desk, homes.on_opened))


def _acknowledged(desk: Desk, work: Work) -> Callable[[AsyncAck, dict[str, Any]], Awaitable[None]]:
    """Return a listener that acknowledges first: Slack allows three seconds, and people click again after one."""

    async def listener(ack: AsyncAck, body: dict[str, Any]) -> None:
        await ack()
        try:
            await work(desk, body)
        except Exception as error:  # noqa: BLE001 - the global handler for all listeners
            # Not left to Bolt: its runner forgets the acknowledgement of a listener that raises within 10 ms of it
            # (slack_bolt/listener/asyncio_runner.py), and the person is shown "operation_timeout" instead.
            await refusals.report(desk, body, error)

    return listener


async def _unacknowledged(error: Exception) -> BoltResponse:
    """Answer what failed before any listener: the workspace could not be asked who we are, as a rule."""
    reference = refusals.unforeseen(error)
    words = f"⚠️ The bot cannot reach the chat's API at the moment, reference {reference}. Nothing was started."
    return BoltResponse(status=200, body={"response_type": "ephemeral", "text": f"{words} Try again in a moment."})


def _own_people(teams: frozenset[str]) -> Callable[..., Awaitable[BoltResponse | None]]:
    """Return the middleware that lets only the people of the allowed workspaces in.

    In channels that are shared with other organisations their people can click too, and the user ids that roles are
    keyed on are only unique together with the team.
    """

    async def middleware(
        body: dict[str, Any], context: AsyncBoltContext, next_: Callable[[], Awaitable[BoltResponse]]
    ) -> BoltResponse | None:
        result = context.authorize_result
        allowed = teams or frozenset(each for each in (result.team_id if result else None,) if each)
        person = deliveries.team_of(body)
        if allowed & {person, context.enterprise_id}:
            return await next_()
        log.warning("a payload from team %r was ignored: it is not one of ours", person)
        return BoltResponse(status=200, body="")

    return middleware
