"""The App Home."""

from __future__ import annotations

from handlers.slack import deliveries, render
from handlers.slack.desk import Desk
from handlers.slack.tickets import Body

_RECENT = 20


async def on_opened(desk: Desk, body: Body) -> None:
    """Publish the App Home of who opened it.

    Raises:
        StoreUnavailableError: The store cannot be reached.
    """
    if (body.get("event") or {}).get("tab") == "home":
        await publish(desk, deliveries.user_of(body))


async def publish(desk: Desk, user: str) -> None:
    """Publish the App Home of a person as things stand now.

    Raises:
        StoreUnavailableError: The store cannot be reached.
    """
    view = render.home(
        user,
        active=await desk.service.status(),
        recent=await desk.service.recent(_RECENT),
        policy=desk.service.policy,
        now=desk.clock.now(),
        command=desk.settings.command,
    )
    await desk.client.views_publish(user_id=user, view=view)
