"""The console: the product's chat when there is no Slack, and the way in when Slack is down."""

from collections.abc import Sequence

from aiohttp import web

from bot.domain import ports
from handlers.console import messages, tickets, views
from handlers.console.core import RateLimit, build_core
from handlers.console.delivery import BotEndpoint
from handlers.console.directory import Directory
from handlers.console.gate import Gate
from handlers.console.interactions import Interactions
from handlers.console.model import ConsoleChannel, ConsoleUser, Identity
from handlers.console.page import Page
from handlers.console.webapi import WebApi


class Console:
    """A Slack of our own: its Web API for the bot, its signed requests to the bot, and a page for people.

    Args:
        team_id: The workspace's id, for example `T0LOCAL`.
        bot_user_id: The bot's user id.
        users: Who may sign in; the token decides who somebody is.
        channels: The channels that all of them see. Direct messages with the bot come by themselves.
        signing_secret: What requests to the bot are signed with; also the root of the session cookies.
        bot_token: The bearer token the bot must show to the Web API.
        events_url: The bot's address for commands, interactions and events (Bolt's endpoint).
        store: Where messages, views and read pointers are kept.
        clock: The only source of time.
        public_url: The address that people reach the page under, without a slash at its end, for permalinks; None
            takes the address on which the process listens.
        rate_limit: Asked before each Web API call with the method and its arguments; seconds to wait refuse the
            call with HTTP 429 and Retry-After, None lets it pass.

    Raises:
        ValueError: Two users or two channels share an id, or two users share a token or have an empty one.
    """

    def __init__(
        self,
        *,
        team_id: str,
        bot_user_id: str,
        users: Sequence[ConsoleUser],
        channels: Sequence[ConsoleChannel],
        signing_secret: str,
        bot_token: str,
        events_url: str,
        store: ports.DocumentStore,
        clock: ports.Clock,
        public_url: str | None = None,
        rate_limit: RateLimit | None = None,
    ) -> None:
        tokens = [user.token.get_secret_value() for user in users]
        if len(set(tokens)) < len(tokens) or not all(tokens):
            raise ValueError(
                "Two users of the console share a token, or one has none; give each a token of its own."
            )
        identity = Identity(team_id, bot_user_id, bot_token, signing_secret)
        directory = Directory(identity, users=users, channels=channels)
        self._store = store
        self._core = build_core(
            identity=identity, clock=clock, store=store, directory=directory, public_url=public_url
        )
        self._bot = BotEndpoint(events_url, signing_secret=signing_secret, clock=clock)
        self._webapi = WebApi(self._core, rate_limit=rate_limit)
        interactions = Interactions(self._core, bot=self._bot, webapi=self._webapi)
        gate = Gate(directory.users, secret=signing_secret, clock=clock)
        self._page = Page(self._core, gate=gate, interactions=interactions)

    async def start(self) -> None:
        """Load what was kept and open the connection pool to the bot.

        Raises:
            Exception: Whatever the store raises.
        """
        for bucket, key, document in await self._store.load():
            if bucket in (messages.MESSAGES, messages.READS):
                self._core.messages.restore(bucket, key, document)
            elif bucket in (views.VIEWS, views.HOMES):
                self._core.views.restore(bucket, key, document)
            elif bucket == tickets.BUCKET:
                self._core.responses.restore(key, document)
        self._core.messages.restored()
        self._core.responses.restored()
        await self._bot.start()

    async def close(self) -> None:
        """End the streams, so that the server stops at once, and close the connection pool."""
        self._core.hub.close()
        await self._bot.close()

    def routes(self) -> list[web.RouteDef]:
        """Return all routes, to add to an application that serves other things too.

        aiohttp refuses sub-applications at "/", so a shared application takes these; it should call
        `end_streams` in its `on_shutdown`.
        """
        return [*self._webapi.routes(), *self._page.routes()]

    def app(self) -> web.Application:
        """Return an application of the console alone."""
        app = web.Application()
        app.add_routes(self.routes())
        app.on_shutdown.append(self.end_streams)
        return app

    async def end_streams(self, _app: web.Application | None = None) -> None:
        """End the pages' streams; otherwise a server waits for them until its shutdown timeout."""
        self._core.hub.close()
