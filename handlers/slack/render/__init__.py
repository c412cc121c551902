"""What is sent to Slack, as values: no client, no clock, no I/O."""

from handlers.slack.render.answers import (
    begun,
    help_message,
    not_understood,
    read_only,
    refusal,
    runs_message,
    saying,
)
from handlers.slack.render.asking import is_open as waits
from handlers.slack.render.asking import question
from handlers.slack.render.cards import card
from handlers.slack.render.homes import home, home_trouble
from handlers.slack.render.message import Message, View
from handlers.slack.render.modals import (
    FORMS,
    decide_modal,
    loading_modal,
    message_modal,
    reject_modal,
    request_modal,
    say_modal,
    saying_modal,
)
from handlers.slack.render.notes import note
from handlers.slack.render.plans import plan_message, plan_modal
from handlers.slack.render.questions import held
from handlers.slack.render.standards import standard

__all__ = [
    "FORMS",
    "Message",
    "View",
    "begun",
    "card",
    "decide_modal",
    "held",
    "help_message",
    "home",
    "home_trouble",
    "loading_modal",
    "message_modal",
    "not_understood",
    "note",
    "plan_message",
    "plan_modal",
    "question",
    "read_only",
    "refusal",
    "reject_modal",
    "request_modal",
    "runs_message",
    "say_modal",
    "saying",
    "saying_modal",
    "standard",
    "waits",
]
