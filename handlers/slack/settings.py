"""What the Slack side must be told."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True)
class SlackSettings:
    """How the bot stands in its workspace. The secrets never appear in a repr.

    Attributes:
        bot_token: The bot's token (``xoxb-...``); the app serves this one workspace.
        signing_secret: Proves that an HTTP request comes from Slack; may be empty with Socket Mode only.
        ops_channel: Id of the operations channel, for plans that name none.
        app_token: The app-level token (``xapp-...``) for Socket Mode; empty without it.
        command: The slash command.
        teams: Workspace ids (``T...``) or organisation ids (``E...``) whose people are served; empty: those of the
            workspace that the bot token belongs to, and nobody else.
    """

    bot_token: str = field(repr=False)
    signing_secret: str = field(repr=False)
    ops_channel: str
    app_token: str = field(default="", repr=False)
    command: str = "/rollback"
    teams: frozenset[str] = frozenset()
