"""What can go wrong with the embedded server, in words for the operator."""

from __future__ import annotations

from bot.domain.errors import RollbackError


class EmbeddedPostgresError(RollbackError):
    """The bot's own PostgreSQL cannot be started, reached or stopped."""


class FolderInUseError(EmbeddedPostgresError):
    """Another bot works on the folder."""
