"""The console: a chat of our own that speaks Slack's protocol to the same Bolt app.

`Console` serves the bot's half (the Web API, response URLs, signed requests) and people's half (a page, its API and
its stream); `ConsoleClient` is a client of the latter. Described in docs/console.md.
"""

from handlers.console.client import ConsoleClient, ConsoleError
from handlers.console.model import ConsoleChannel, ConsoleUser
from handlers.console.server import Console

__all__ = ["Console", "ConsoleChannel", "ConsoleClient", "ConsoleError", "ConsoleUser"]
