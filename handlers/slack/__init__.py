"""What reaches us from Slack, and what we send there; the console speaks the same protocol."""

from handlers.slack.app import build
from handlers.slack.chat import SlackChat
from handlers.slack.settings import SlackSettings
from handlers.slack.underway import Underway

__all__ = ["SlackChat", "SlackSettings", "Underway", "build"]
