"""What a person is told when something does not work out, and what the log is told."""

from __future__ import annotations

import logging
import secrets

from slack_sdk.errors import SlackApiError

from bot.domain.errors import RollbackError, StoreUnavailableError
from bot.engine.service import DuplicateDeliveryError
from handlers.slack import deliveries, render
from handlers.slack.desk import UNREACHABLE, Desk, error_code
from handlers.slack.tickets import Body

log = logging.getLogger(__name__)

STORE_IS_AWAY = (
    "⚠️ The bot's own store cannot be reached at the moment.\n"
    "It is not certain whether what you did just now was noted; doing it again is harmless.\n"
    "Look at the rollback's card in a moment, and try again if it does not show it. Rollbacks under way go on by "
    "themselves as soon as the store is back."
)


TOO_LATE = (
    "⚠️ The form could not be opened within the three seconds that Slack allows.\n"
    "Nothing was changed.\n"
    "Click or type again."
)
_TOO_LATE = frozenset({"expired_trigger_id", "exchanged_trigger_id", "invalid_trigger_id"})


def words_for(error: Exception) -> render.Message | None:
    """Return what to tell the person; None to say nothing. What nobody expected is logged with its traceback."""
    match error:
        case DuplicateDeliveryError():
            # The first delivery has been or is being answered.
            log.info("delivered again, not obeyed again: %s", error)
            return None
        case RollbackError():
            return render.refusal(error)
        case StoreUnavailableError():
            log.warning("the store could not be reached: %s", error)
            return render.saying(STORE_IS_AWAY)
        case SlackApiError() if error_code(error) in _TOO_LATE:
            return render.saying(TOO_LATE)
        case _:
            return render.saying(
                f"⚠️ Something went wrong here, reference {unforeseen(error)}.\n"
                "It is not certain whether what you asked for was done: look at the card of the rollback.\n"
                "Give the reference to whoever looks after the bot."
            )


async def report(desk: Desk, body: Body, error: Exception) -> None:
    """Tell the person behind a payload why it did not work out. Does not raise for what Slack may refuse."""
    message = words_for(error)
    if message is not None:
        await tell(desk, body, message)


def unforeseen(error: Exception) -> str:
    """Log an error with its traceback, and return the reference by which it is found in the log."""
    reference = secrets.token_hex(4)
    log.error("a request from Slack failed, reference %s", reference, exc_info=error)
    return reference


async def tell(desk: Desk, body: Body, message: render.Message) -> None:
    """Answer a person, in the App Home if that is what they opened."""
    event = body.get("event")
    try:
        if isinstance(event, dict) and event.get("type") == "app_home_opened":
            await desk.client.views_publish(
                user_id=deliveries.user_of(body), view={"type": "home", "blocks": message.blocks}
            )
        else:
            await desk.answer(body, message)
    except UNREACHABLE as error:
        log.warning("nobody could be told: %s", error)
