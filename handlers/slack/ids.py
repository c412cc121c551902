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

SAY: Final = "rollback_say_"
"""Begins the action ids of the buttons that say something to a rollback that runs."""


def say(verb: str) -> str:
    """Return the action id of a button that says something to a rollback that runs."""
    return f"{SAY}{verb}"


def verb_of(action_id: str) -> str:
    """Return what such a button says; several of one verb in a message are numbered at the end."""
    return action_id.removeprefix(SAY).partition("_")[0]


REQUEST_VIEW: Final = "rollback_request_view"
REJECT_VIEW: Final = "rollback_reject_view"
DECIDE_VIEW: Final = "rollback_decide_view"
SAY_VIEW: Final = "rollback_say_view"

CHANGE: Final = "change"
REASON: Final = "reason"
BY: Final = "by"
TO: Final = "to"
RUNNING: Final = "running"
EVIDENCE: Final = "evidence"
"""Block and action ids of the inputs in the modals."""

METADATA_EVENT: Final = "rollback"
"""The event type of the metadata on every message about a rollback."""
