from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from pydantic import SecretStr

from bot.domain.errors import RollbackError
from bot.main.acting import acting_user, tokens
from bot.main.settings import Settings
from storage.database import Database
from storage.migrations import upgrade
from storage.tokens import SqlTokens
from tests.support.pgserver import PgServer
from tests.support.pgserver import pg_server as server

__all__ = ["server"]


@pytest.fixture(scope="module")
def url(server: PgServer) -> str:
    """The address of a store."""
    server.execute("CREATE DATABASE acting")
    address = f"postgresql://{server.user}:{server.password}@127.0.0.1:{server.port}/acting"
    asyncio.run(upgrade(address))
    return address


@pytest.fixture
def settings(url: str) -> Settings:
    """The settings of a command line on that store."""
    return Settings(database_url=SecretStr(url))


@pytest.fixture
async def known(url: str) -> AsyncIterator[SqlTokens]:
    """The tokens of that store."""
    database = Database(url)
    yield tokens(database)
    await database.close()


@pytest.fixture
async def token(known: SqlTokens) -> str:
    """A token of U0ADA."""
    issued, _ = await known.issue(user_id="U0ADA", label="laptop", created_by="os:root")
    return issued


@pytest.fixture
def file(tmp_path: Path, token: str, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file with that token, which the command line was told of."""
    file = tmp_path / "token"
    file.write_text(f"{token}\n")
    file.chmod(0o600)
    monkeypatch.setenv("ROLLBACK_TOKEN_FILE", str(file))
    return file


@pytest.fixture(autouse=True)
def nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    """At first the command line has no token."""
    for name in ("ROLLBACK_TOKEN", "ROLLBACK_TOKEN_FILE"):
        monkeypatch.delenv(name, raising=False)


def opened_to(file: Path, mode: int) -> None:
    """Change who may read and write a file."""
    file.chmod(mode)


def replaced(file: Path, words: str | None) -> None:
    """Write other words into a file; None: put a folder in its place."""
    file.unlink()
    if words is None:
        file.mkdir()
    else:
        file.touch(0o600)
        file.write_text(words)


async def refusal(settings: Settings, known: SqlTokens) -> str:
    """Return why nobody acts; nothing was changed, and something can be done about it."""
    with pytest.raises(RollbackError) as refused:
        await acting_user(settings, known)
    assert refused.value.untouched.endswith("Nothing was changed.")
    assert refused.value.resolution
    return str(refused.value)


async def test_a_token_in_the_environment(
    settings: Settings, known: SqlTokens, token: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever has the token in ROLLBACK_TOKEN acts as its person; an empty variable counts as none."""
    monkeypatch.setenv("ROLLBACK_TOKEN", f" {token}\n")
    monkeypatch.setenv("ROLLBACK_TOKEN_FILE", "")
    assert await acting_user(settings, known) == "U0ADA"


@pytest.mark.parametrize("mode", [0o600, 0o400, 0o640])
async def test_a_token_in_a_file(settings: Settings, known: SqlTokens, file: Path, mode: int) -> None:
    """Whoever has the token in a file that is closed to others acts as its person."""
    opened_to(file, mode)
    assert await acting_user(settings, known) == "U0ADA"


@pytest.mark.parametrize("mode", [0o604, 0o644, 0o602, 0o666])
async def test_a_file_open_to_others(
    settings: Settings, known: SqlTokens, file: Path, token: str, mode: int
) -> None:
    """A token that every user of the machine may have read, or written, is not used."""
    opened_to(file, mode)
    words = await refusal(settings, known)
    assert f"{file} is open to every user of this machine (mode {mode:o})." in words
    assert token not in words


async def test_a_link_to_an_open_file(
    settings: Settings, known: SqlTokens, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A link is as open as the file that it leads to."""
    link = file.with_name("link")
    link.symlink_to(file)
    monkeypatch.setenv("ROLLBACK_TOKEN_FILE", str(link))
    assert await acting_user(settings, known) == "U0ADA"
    opened_to(file, 0o644)
    assert "is open to every user" in await refusal(settings, known)


async def test_a_token_by_a_pipe(
    settings: Settings, known: SqlTokens, token: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A token may come from another program by an inherited pipe, which is nobody else's to read."""
    reading, writing = os.pipe()
    os.write(writing, token.encode())
    os.close(writing)
    monkeypatch.setenv("ROLLBACK_TOKEN_FILE", f"/dev/fd/{reading}")
    assert await acting_user(settings, known) == "U0ADA"
    os.close(reading)


async def test_no_token(settings: Settings, known: SqlTokens) -> None:
    """Without a token nobody acts, and the way to one is said."""
    words = await refusal(settings, known)
    assert words.startswith("It is not known who acts: there is no access token.")
    assert "ROLLBACK_TOKEN" in words
    assert "rollback token issue" in words


async def test_two_tokens(
    settings: Settings, known: SqlTokens, file: Path, token: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a token in both places nobody is guessed, even if they are the same."""
    monkeypatch.setenv("ROLLBACK_TOKEN", token)
    monkeypatch.setenv("ROLLBACK_TOKEN_FILE", str(file))
    assert "it is not clear who acts" in await refusal(settings, known)


async def test_a_file_that_cannot_be_read(
    settings: Settings, known: SqlTokens, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file that cannot be read is named, with the reason."""
    replaced(file, None)
    assert f"cannot be read from {file}: Is a directory." in await refusal(settings, known)
    monkeypatch.setenv("ROLLBACK_TOKEN_FILE", f"{file}-gone")
    assert f"cannot be read from {file}-gone: No such file or directory." in await refusal(settings, known)


@pytest.mark.parametrize("wrong", ["xoxb-secret-of-slack", "correct horse battery", "\xff\xfe\x00"])
async def test_another_secret(settings: Settings, known: SqlTokens, file: Path, wrong: str) -> None:
    """What is no access token, maybe another secret, is neither asked about nor repeated."""
    replaced(file, wrong)
    words = await refusal(settings, known)
    assert "holds no access token" in words
    assert wrong not in words


async def test_an_unknown_token(
    settings: Settings, known: SqlTokens, token: str, server: PgServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A token of another store, or a revoked one, acts for nobody: the store is named, no secret is."""
    await known.revoke(token)
    for wrong in (token, f"{token}x", "rbt_"):
        monkeypatch.setenv("ROLLBACK_TOKEN", wrong)
        words = await refusal(settings, known)
        assert f"unknown to the store at 127.0.0.1:{server.port}/acting, or it was revoked" in words
        assert token not in words
        assert server.password not in words
