"""The names by which Slack tells us what was clicked or submitted. They live on in old messages: reuse none."""

from typing import Final

from bot.domain.events import Choice

APPROVE: Final = "rollback_approve"
REJECT: Final = "rollback_reject"
VIEW_PLAN: Final = "rollback_view_plan"
DECIDE: Final = {
    "rollback_retry": Choice.RETRY,
    "rollback_mark_done": Choice.MARK_DONE,
    "rollback_skip": Choice.SKIP,
    "rollback_abort": Choice.ABORT,
}
"""The buttons of a held step."""

REQUEST_VIEW: Final = "rollback_request_view"
REJECT_VIEW: Final = "rollback_reject_view"
DECIDE_VIEW: Final = "rollback_decide_view"

CHANGE: Final = "change"
REASON: Final = "reason"
"""Block and action ids of the inputs in the modals."""

METADATA_EVENT: Final = "rollback"
"""The event type of the metadata on every message about a rollback."""
