"""Access tokens: by these a person is known who acts from the command line. The store keeps their digests only."""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

import psycopg
from sqlalchemy import RowMapping, TextClause, text
from sqlalchemy import exc as sa_exc

from bot.domain.errors import RollbackError
from storage.database import Database

PREFIX = "rbt_"
"""What every token begins with, so that scanners of logs and repositories know one."""

_BYTES = 32
_ID_DIGITS = 12

_COLUMNS = "digest, user_id, label, created_by, created_at, revoked_at"
_ISSUE = text(f"""
INSERT INTO access_token (digest, user_id, label, created_by) VALUES (:digest, :user_id, :label, :created_by)
RETURNING {_COLUMNS}
""")  # noqa: S608 - our own columns
_PERSON = text("SELECT user_id FROM access_token WHERE digest = :digest AND revoked_at IS NULL")
_ALL = text(f"SELECT {_COLUMNS} FROM access_token ORDER BY created_at, digest")  # noqa: S608 - our own columns
# What was revoked before stays as it was: the first moment counts.
_REVOKE = text(f"""
UPDATE access_token SET revoked_at = coalesce(revoked_at, clock_timestamp())
WHERE CAST(:wanted AS text) IN (digest, left(digest, {_ID_DIGITS})) RETURNING {_COLUMNS}
""")  # noqa: S608 - our own columns
_REVOKE_OF = text(f"""
UPDATE access_token SET revoked_at = clock_timestamp()
WHERE user_id = :user_id AND revoked_at IS NULL RETURNING {_COLUMNS}
""")  # noqa: S608 - our own columns


@dataclass(frozen=True)
class AccessToken:
    """What is known of a token; not the token.

    Attributes:
        id: The beginning of its digest; nobody can act by it, so it may be shown and logged.
        user_id: Slack user id of the person who acts by it.
        label: What it is for.
        created_by: Who issued it.
        created_at: When, by the database's clock.
        revoked_at: Since when nobody can act by it any more; None: it is in force.
    """

    id: str
    user_id: str
    label: str
    created_by: str
    created_at: datetime
    revoked_at: datetime | None


class SqlTokens:
    """Issues tokens and knows them again.

    Every method may raise StoreUnavailableError, and RollbackError if the store's schema is older than tokens.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    async def issue(self, *, user_id: str, label: str, created_by: str) -> tuple[str, AccessToken]:
        """Make a token for a person.

        Args:
            user_id: Slack user id of the person.
            label: What it is for, in words.
            created_by: Who issues it.

        Returns:
            The token, which is told this once and never again, and what may be known of it.
        """
        token = PREFIX + secrets.token_urlsafe(_BYTES)
        rows = await self._rows(_ISSUE, digest=_digest(token), user_id=user_id, label=label, created_by=created_by)
        return token, _known(rows[0])

    async def person_of(self, token: str) -> str | None:
        """Return the user id of who acts by the token, None if it is unknown or was revoked."""
        rows = await self._rows(_PERSON, digest=_digest(token))
        return rows[0]["user_id"] if rows else None

    async def list(self) -> tuple[AccessToken, ...]:
        """Return every token that was ever issued, the oldest first."""
        return tuple(_known(row) for row in await self._rows(_ALL))

    async def revoke(self, token: str) -> AccessToken | None:
        """Let nobody act by a token any more; harmless if it was revoked before.

        Args:
            token: Its id, or the token itself where that has come to light.

        Returns:
            The token as it is known now, None if there is none.
        """
        wanted = _digest(token) if token.startswith(PREFIX) else token
        return next((_known(row) for row in await self._rows(_REVOKE, wanted=wanted)), None)

    async def revoke_of(self, user_id: str) -> tuple[AccessToken, ...]:
        """Let a person act by none of their tokens any more, and return those that were in force."""
        return tuple(_known(row) for row in await self._rows(_REVOKE_OF, user_id=user_id))

    async def _rows(self, statement: TextClause, **values: str) -> Sequence[RowMapping]:
        try:
            return await self._database.rows(statement, **values)
        except sa_exc.ProgrammingError as error:
            if not isinstance(error.orig, psycopg.errors.UndefinedTable):
                raise
            raise RollbackError(
                f"The store at {self._database.where} has no place for access tokens: its schema is older.",
                untouched="Nothing was changed.",
                resolution="Start a bot of this version, which brings the store up to date, then try again.",
            ) from error


def _digest(token: str) -> str:
    # A token has 256 random bits: there is nothing to guess, so a slow digest would add nothing.
    return hashlib.sha256(token.encode()).hexdigest()


def _known(row: RowMapping) -> AccessToken:
    return AccessToken(
        id=row["digest"][:_ID_DIGITS],
        user_id=row["user_id"],
        label=row["label"],
        created_by=row["created_by"],
        created_at=row["created_at"],
        revoked_at=row["revoked_at"],
    )
