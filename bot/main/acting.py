"""Who acts from the command line: the person whose access token it was given."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from pydantic import SecretStr
from pydantic_settings import BaseSettings, SettingsConfigDict

from bot.domain.errors import RollbackError
from bot.main.settings import Settings
from storage.database import Database, shown
from storage.tokens import PREFIX, SqlTokens

_LONGEST = 4096
"""Bytes of a file that can hold a token."""
_UNTOUCHED = "Nothing was changed."
_ASK = "Ask an administrator for one: `rollback token issue USER --label WHAT-FOR`."


class _Given(BaseSettings):
    """Where the command line was told to find its token: ``ROLLBACK_TOKEN`` or ``ROLLBACK_TOKEN_FILE``."""

    model_config = SettingsConfigDict(env_prefix="ROLLBACK_", env_ignore_empty=True, extra="ignore")

    token: SecretStr | None = None
    token_file: Path | None = None


def tokens(database: Database) -> SqlTokens:
    """Return the tokens of a store."""
    return SqlTokens(database)


async def acting_user(settings: Settings, tokens: SqlTokens) -> str:
    """Return the Slack user id of the person in whose name the command line acts.

    Args:
        settings: Tells the store's place for messages.
        tokens: The tokens of the store.

    Raises:
        RollbackError: If no token was given, its file is open to others or unreadable, or nobody acts by it. The
            token is never part of the message.
        StoreUnavailableError: If the store cannot be reached.
    """
    person = await tokens.person_of(_token(_Given()))
    if person is None:
        raise RollbackError(
            f"The access token is unknown to the store {_place(settings)}, or it was revoked.",
            untouched=_UNTOUCHED,
            resolution=f"See that token and store belong together. {_ASK}",
        )
    return person


def _token(given: _Given) -> str:
    if given.token and given.token_file:
        raise RollbackError(
            "Both ROLLBACK_TOKEN and ROLLBACK_TOKEN_FILE are set: it is not clear who acts.",
            untouched=_UNTOUCHED,
            resolution="Leave one of them.",
        )
    if given.token:
        where, token = "ROLLBACK_TOKEN", given.token.get_secret_value().strip()
    elif given.token_file:
        where, token = str(given.token_file), _read(given.token_file)
    else:
        raise RollbackError(
            "It is not known who acts: there is no access token.",
            untouched=_UNTOUCHED,
            resolution=f"Put yours into ROLLBACK_TOKEN, or its file's path into ROLLBACK_TOKEN_FILE. {_ASK}",
        )
    if not token.startswith(PREFIX):
        raise RollbackError(
            f"{where} holds no access token: one begins with {PREFIX}.", untouched=_UNTOUCHED, resolution=_ASK
        )
    return token


def _read(file: Path) -> str:
    try:
        with file.open("rb") as stream:
            # The file that is open is judged, not the path: that may lead elsewhere a moment later.
            mode = os.fstat(stream.fileno()).st_mode
            if stat.S_ISREG(mode) and mode & stat.S_IRWXO:
                raise RollbackError(
                    f"{file} is open to every user of this machine (mode {stat.S_IMODE(mode):o}).",
                    untouched=f"The token was not used. {_UNTOUCHED}",
                    resolution=f"`chmod 600 {file}`, and let the token be replaced if others may have read it.",
                )
            return stream.read(_LONGEST).decode(errors="replace").strip()
    except OSError as error:
        raise RollbackError(
            f"The access token cannot be read from {file}: {error.strerror or type(error).__name__}.",
            untouched=_UNTOUCHED,
            resolution="Correct ROLLBACK_TOKEN_FILE, or make the file readable for yourself.",
        ) from error


def _place(settings: Settings) -> str:
    if settings.database_url is None:
        return f"in {settings.data_dir}"
    return f"at {shown(settings.database_url.get_secret_value())}"
