"""What the console's parts share."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

from bot.domain import ports
from handlers.console.directory import Directory
from handlers.console.hub import Hub
from handlers.console.messages import Messages
from handlers.console.model import Identity, Json
from handlers.console.tickets import Responses, Triggers
from handlers.console.views import Views

RateLimit: TypeAlias = Callable[[str, Json], float | None]


@dataclass(frozen=True)
class Core:
    """The state of the console, one object per concern.

    Attributes:
        identity: Which workspace and app is played.
        clock: The only source of time.
        directory: Users and channels.
        hub: The stream to the pages.
        messages: The channels' messages.
        views: Modals and homes.
        triggers: Trigger ids.
        responses: Response URLs.
        public_url: The address that people reach the page under, for permalinks; None takes the request's.
    """

    identity: Identity
    clock: ports.Clock
    directory: Directory
    hub: Hub
    messages: Messages
    views: Views
    triggers: Triggers
    responses: Responses
    public_url: str | None


def build_core(
    *,
    identity: Identity,
    clock: ports.Clock,
    store: ports.DocumentStore,
    directory: Directory,
    public_url: str | None,
) -> Core:
    """Put the parts together."""
    hub = Hub()
    return Core(
        identity=identity,
        clock=clock,
        directory=directory,
        hub=hub,
        messages=Messages(store=store, clock=clock, hub=hub, directory=directory),
        views=Views(identity=identity, store=store, clock=clock, hub=hub),
        triggers=Triggers(clock),
        responses=Responses(store=store, clock=clock),
        public_url=public_url,
    )
