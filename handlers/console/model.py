"""The values the console is made of: who uses it, where they talk, and how its Web API refuses."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final, TypeAlias

from pydantic import SecretStr

Json: TypeAlias = dict[str, Any]

APP_ID: Final = "A0CONSOLE"
BOT_ID: Final = "B0CONSOLE"
BOT_NAME: Final = "Rollback Bot"


@dataclass(frozen=True)
class ConsoleUser:
    """A person who may sign in.

    Attributes:
        id: Slack-like user id, for example `U0ONCALL`; authority is keyed on it.
        name: Handle, for example `j.smith`.
        title: What the person is, for example `Change Manager`.
        token: The sign-in token; it is the identity, so it never appears in a repr.
    """

    id: str
    name: str
    title: str
    token: SecretStr


@dataclass(frozen=True)
class ConsoleChannel:
    """A channel that everybody sees.

    Attributes:
        id: Slack-like channel id, for example `C0OPS`.
        name: Name without the `#`.
    """

    id: str
    name: str


@dataclass(frozen=True)
class Identity:
    """Which workspace and which app the console plays.

    Attributes:
        team_id: Workspace id, for example `T0LOCAL`.
        bot_user_id: The bot's user id.
        bot_token: The bearer token the bot must show to the Web API.
        signing_secret: What requests to the bot are signed with.
    """

    team_id: str
    bot_user_id: str
    bot_token: str = field(repr=False)
    signing_secret: str = field(repr=False)


class SlackError(Exception):
    """The Web API refuses: `{"ok": false, "error": code}`.

    Args:
        code: Slack's error code.
        messages: Lines for `response_metadata.messages`.
    """

    def __init__(self, code: str, messages: Sequence[str] = ()) -> None:
        super().__init__(code, *messages)
        self.code = code
        self.messages = list(messages)

    def answer(self) -> Json:
        """Return the JSON that Slack answers with."""
        body: Json = {"ok": False, "error": self.code}
        if self.messages:
            body["errors"] = [line.removeprefix("[ERROR] ") for line in self.messages]
            body["response_metadata"] = {"messages": self.messages}
        return body


class PageError(Exception):
    """The page's own API refuses.

    Args:
        code: A short code for programs.
        message: A sentence for people: what happened, what was left untouched, what to do next.
        status: The HTTP status.
        errors: Messages by block id, when fields of a form are to blame.
    """

    def __init__(self, code: str, message: str, *, status: int = 400, errors: dict[str, str] | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.status = status
        self.errors = errors or {}

    def answer(self) -> Json:
        """Return the JSON body."""
        return {"ok": False, "error": self.code, "message": self.message, "errors": self.errors}
