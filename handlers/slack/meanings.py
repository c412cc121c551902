"""What Slack's refusals mean: later, never like this, or not for anybody at the moment.

The codes are those of https://docs.slack.dev/reference/methods/chat.postMessage#errors
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from slack_sdk.errors import SlackApiError

from bot.domain import ports
from bot.domain.announcements import Announcement, Place
from bot.domain.run import Run
from handlers.slack.desk import error_code

_DEFAULT_RETRY_AFTER: Final = 30.0
_TOO_MANY: Final = 429
_SERVER_FAULT: Final = 500
_LIMITED: Final = frozenset({"ratelimited", "rate_limited", "message_limit_exceeded"})
_BOT: Final = frozenset(
    {"access_denied", "accesslimited", "account_inactive", "ekm_access_denied", "enterprise_is_restricted"}
    | {"invalid_auth", "missing_scope", "no_permission", "not_allowed_token_type", "not_authed"}
    | {"org_login_required", "team_access_not_granted", "team_added_to_org", "team_not_found", "token_expired"}
    | {"token_revoked", "two_factor_setup_required"}
    | {"fatal_error", "internal_error", "request_timeout", "service_unavailable"}
)
"""About the bot, its workspace or Slack itself: no message is taken, and all of them are when it has passed."""
_CHANNEL: Final = frozenset(
    {"channel_not_found", "is_archived", "is_inactive", "not_in_channel", "restricted_action"}
    | {"restricted_action_non_threadable_channel", "restricted_action_read_only_channel"}
    | {"restricted_action_thread_locked", "restricted_action_thread_only_channel"}
)
"""About the channel: nothing is taken there until somebody changes that. A person's own channel stays as it is."""


def is_limit(error: SlackApiError) -> bool:
    """Return whether Slack asks for fewer calls."""
    return error.response.status_code == _TOO_MANY or error_code(error) in _LIMITED


def retry_after(error: SlackApiError) -> float:
    """Return the seconds that Slack asks to wait; half a minute if it does not say."""
    headers: Mapping[str, Any] = error.response.headers
    found = next((value for key, value in headers.items() if key.lower() == "retry-after"), None)
    try:
        return max(1.0, float(found[0] if isinstance(found, list) else found))  # type: ignore[arg-type]
    except (TypeError, ValueError):
        return _DEFAULT_RETRY_AFTER


def meaning(error: SlackApiError, run: Run, announcement: Announcement) -> Exception:
    """Return a refusal as the engine understands it.

    Args:
        error: The refusal.
        run: The rollback.
        announcement: The message that was posted, edited or looked for.

    Returns:
        ChatBusyError: Later. ChatRefusedError: not this message, or not to this person. Else the error itself: it
        is about more than this message, so the next one would fare no better.
    """
    if is_limit(error):
        return ports.ChatBusyError(retry_after(error))
    code = error_code(error)
    general = _BOT if announcement.place is Place.DIRECT else _BOT | _CHANNEL
    if not code or code in general or error.response.status_code >= _SERVER_FAULT:
        return error
    return ports.ChatRefusedError(
        f"Slack does not take the message {announcement.key!r} of {run.id} ({code}).",
        untouched="The rollback itself goes on.",
        resolution="Look up the code in Slack's reference of chat.postMessage.",
    )


class Patience:
    """Remembers for how long Slack wants no calls of a kind.

    Args:
        clock: The time.
    """

    def __init__(self, clock: ports.Clock) -> None:
        self._clock = clock
        self._until: dict[str, float] = {}

    def check(self, kind: str) -> None:
        """Make sure that Slack's time is over.

        Raises:
            ChatBusyError: If it is not.
        """
        left = self._until.get(kind, float("-inf")) - self._clock.monotonic()
        if left > 0:
            raise ports.ChatBusyError(left)
        self._until.pop(kind, None)

    def note(self, kind: str, error: Exception) -> None:
        """Remember what an error asks for, if it is for patience."""
        if isinstance(error, ports.ChatBusyError):
            self._until[kind] = self._clock.monotonic() + error.retry_after
