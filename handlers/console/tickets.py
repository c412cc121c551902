"""What Slack hands out with a payload: trigger ids (one use, 3 s) and response URLs (5 uses, 30 min)."""

import secrets
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from itertools import takewhile
from typing import Any, Final

from bot.domain import ports
from handlers.console.model import Json, SlackError

# https://docs.slack.dev/interactivity/handling-user-interaction ("modals", "message responses").
TRIGGER_SECONDS: Final = 3.0
TRIGGER_REMEMBERED_SECONDS: Final = 60.0
RESPONSE_USES: Final = 5
RESPONSE_LIFE: Final = timedelta(minutes=30)
BUCKET: Final = "responses"


@dataclass
class Trigger:
    """A user's interaction that entitles to one modal.

    Attributes:
        user_id: Who interacted.
        issued: Clock.monotonic() in seconds.
        view_id: The modal in which the interaction happened, if any.
        used: Whether it was exchanged already.
    """

    user_id: str
    issued: float
    view_id: str | None = None
    used: bool = False


class Triggers:
    """Issue and redeem trigger ids."""

    def __init__(self, clock: ports.Clock) -> None:
        self._clock = clock
        self._issued: dict[str, Trigger] = {}

    def issue(self, user_id: str, *, view_id: str | None = None) -> str:
        """Return a new trigger id for a user."""
        now = self._clock.monotonic()
        # The oldest come first, so that this costs nothing per command, however many there were.
        while self._issued and now - next(iter(self._issued.values())).issued > TRIGGER_REMEMBERED_SECONDS:
            del self._issued[next(iter(self._issued))]
        trigger_id = f"{len(self._issued)}.{secrets.token_hex(16)}"
        self._issued[trigger_id] = Trigger(user_id, now, view_id)
        return trigger_id

    def redeem(self, trigger_id: str) -> Trigger:
        """Use a trigger id up.

        Raises:
            SlackError: invalid_trigger_id, exchanged_trigger_id or expired_trigger_id.
        """
        trigger = self._issued.get(trigger_id)
        if trigger is None:
            raise SlackError("invalid_trigger_id")
        if trigger.used:
            raise SlackError("exchanged_trigger_id")
        if self._clock.monotonic() - trigger.issued > TRIGGER_SECONDS:
            raise SlackError("expired_trigger_id")
        trigger.used = True
        return trigger


@dataclass(frozen=True)
class Ticket:
    """What a response URL is good for.

    Attributes:
        channel: Where its messages go.
        user_id: Who alone sees the ephemeral ones.
        message_ts: The message it came from, which it may replace or delete; None for a command.
        ephemeral: Whether that message is an ephemeral one.
        thread_ts: The thread of that message, if any.
        expires: When it ends, aware UTC.
        uses: How many posts are left.
    """

    channel: str
    user_id: str
    message_ts: str | None
    ephemeral: bool
    thread_ts: str | None
    expires: datetime
    uses: int = RESPONSE_USES

    def document(self) -> Json:
        """Return the ticket as JSON."""
        return {**self.__dict__, "expires": self.expires.isoformat()}

    @classmethod
    def of(cls, document: dict[str, Any]) -> "Ticket":
        """Read a ticket back from its JSON."""
        return cls(**{**document, "expires": datetime.fromisoformat(document["expires"])})


class Responses:
    """Issue and use response URLs; they survive a restart, as a click made just before one must be answerable."""

    def __init__(self, *, store: ports.DocumentStore, clock: ports.Clock) -> None:
        self._store = store
        self._clock = clock
        self._tickets: dict[str, Ticket] = {}

    def restore(self, key: str, document: Json) -> None:
        """Take one stored ticket back at the start."""
        self._tickets[key] = Ticket.of(document)

    def restored(self) -> None:
        """Put the tickets in the order of their ends once all are back."""
        self._tickets = dict(sorted(self._tickets.items(), key=lambda each: each[1].expires))

    async def issue(
        self,
        *,
        channel: str,
        user_id: str,
        message_ts: str | None = None,
        ephemeral: bool = False,
        thread_ts: str | None = None,
    ) -> str:
        """Return the id of a new response URL."""
        now = self._clock.now()
        for old in self._lapsed(now):
            self._tickets.pop(old, None)
            await self._store.put(BUCKET, old, None)
        key = secrets.token_urlsafe(24)
        ticket = Ticket(channel, user_id, message_ts, ephemeral, thread_ts, now + RESPONSE_LIFE)
        await self._store.put(BUCKET, key, ticket.document())
        self._tickets[key] = ticket
        return key

    def _lapsed(self, now: datetime) -> list[str]:
        """List the tickets that ended; they stand in the order of their ends."""
        return [key for key, _ in takewhile(lambda each: each[1].expires < now, self._tickets.items())]

    async def use(self, key: str) -> Ticket:
        """Use a response URL once.

        Raises:
            SlackError: expired_url (unknown, too old) or used_url (five times used).
        """
        ticket = self._tickets.get(key)
        if ticket is None or ticket.expires < self._clock.now():
            raise SlackError("expired_url")
        if ticket.uses == 0:
            raise SlackError("used_url")
        used = self._tickets[key] = replace(ticket, uses=ticket.uses - 1)
        await self._store.put(BUCKET, key, used.document())
        return ticket
