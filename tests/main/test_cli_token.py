from __future__ import annotations

import asyncio
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from bot.main import cli_token
from storage.migrations import upgrade
from tests.support.pgserver import PgServer
from tests.support.pgserver import pg_server as server

__all__ = ["server"]

_STORE = "administered"
_TOKEN = re.compile(r"rbt_[A-Za-z0-9_-]{43}")
_POLICY = """
people:
  - {id: U0JSMITH, name: J. Smith, roles: [change_manager]}
"""
Program = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="module")
def url(server: PgServer) -> str:
    """The address of a store that a bot has set up."""
    server.execute(f"CREATE DATABASE {_STORE}")
    address = f"postgresql://{server.user}:{server.password}@127.0.0.1:{server.port}/{_STORE}"
    asyncio.run(upgrade(address))
    return address


@pytest.fixture
def rollback(url: str, tmp_path: Path) -> Program:
    """The program, as an administrator runs it."""
    (tmp_path / "policy.yaml").write_text(_POLICY)
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(("ROLLBACK_", "SLACK_"))}

    def run(*arguments: str, **settings: str) -> subprocess.CompletedProcess[str]:
        environment = {**inherited, "ROLLBACK_DATABASE_URL": url, "COLUMNS": "200", **settings}
        return subprocess.run(
            [sys.executable, "-m", "bot", *arguments],
            cwd=tmp_path,
            env={**environment, "PYTHONPATH": str(Path(__file__).parents[2])},
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )

    return run


def audited(server: PgServer, token_id: str) -> list[tuple[str, ...]]:
    """Return who did what about a token."""
    return server.execute(
        "SELECT who, what, why, detail ->> 'user' FROM audit "  # noqa: S608 - the id is our own digest
        f"WHERE detail ->> 'token' = '{token_id}' ORDER BY number",
        dbname=_STORE,
    )


def everything(server: PgServer) -> str:
    """Return all that stands in audit and tokens."""
    return str(
        server.execute("SELECT (SELECT json_agg(a) FROM audit a), json_agg(t) FROM access_token t", dbname=_STORE)
    )


def test_the_life_of_a_token(rollback: Program, server: PgServer) -> None:
    """A token is issued, listed and revoked by an administrator, each on record, and shown only once."""
    issued = rollback("token", "issue", "U0JSMITH", "--label", "laptop of J.")
    assert issued.returncode == 0, issued.stderr
    token = issued.stdout.strip()
    assert _TOKEN.fullmatch(token)
    assert "for J. Smith (U0JSMITH)" in issued.stderr
    assert token not in issued.stderr
    (token_id,) = re.findall(r"Token ([0-9a-f]{12}) ", issued.stderr)
    listed = rollback("token", "list")
    assert all(word in listed.stdout for word in (token_id, "U0JSMITH J. Smith", "laptop of J.", "yes"))
    revoked = rollback("token", "revoke", token_id)
    assert revoked.returncode == 0, revoked.stderr
    assert f"Token {token_id} of U0JSMITH (laptop of J.) is revoked." in revoked.stdout
    again = rollback("token", "list")
    assert re.search(rf"{token_id}.*revoked \d{{4}}-\d\d-\d\d \d\d:\d\d UTC", again.stdout)
    who = cli_token.administrator()
    assert audited(server, token_id) == [
        (who, "token.issued", "laptop of J.", "U0JSMITH"),
        (who, "token.revoked", "laptop of J.", "U0JSMITH"),
    ]
    said = (listed.stdout, listed.stderr, revoked.stdout, revoked.stderr, again.stdout, everything(server))
    assert not any(token in words for words in said)


def test_who_leaves(rollback: Program, server: PgServer) -> None:
    """All tokens of a person are revoked at once, each on record; a second time there are none left."""
    labels = ("laptop", "pipeline")
    for label in labels:
        assert rollback("token", "issue", "U0LEAVER", "--label", label).returncode == 0
    revoked = rollback("token", "revoke", "--user", "U0LEAVER")
    assert revoked.returncode == 0, revoked.stderr
    for token_id, label in zip(re.findall(r"Token ([0-9a-f]{12}) ", revoked.stdout), labels, strict=True):
        assert audited(server, token_id)[-1][1:] == ("token.revoked", label, "U0LEAVER")
    again = rollback("token", "revoke", "--user", "U0LEAVER")
    assert again.returncode == 1
    assert "U0LEAVER has no token in force" in again.stderr


def test_a_person_without_a_role(rollback: Program) -> None:
    """A token for somebody whom the policy does not name is issued, and that it permits nothing yet is said."""
    issued = rollback("token", "issue", "U0NEW", "--label", "laptop")
    assert issued.returncode == 0
    assert _TOKEN.fullmatch(issued.stdout.strip())
    assert "names nobody with the id U0NEW" in issued.stderr


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("issue", "j.smith", "--label", "laptop"), "is not a Slack user id"),
        (("issue", "U0JSMITH", "--label", "  "), "needs a label"),
        (("issue", "U0JSMITH", "--label", "a\nb"), "needs a label"),
        (("issue", "U0JSMITH"), "--label"),
        (("revoke",), "name tokens"),
        (("revoke", "0123456789ab", "--user", "U0JSMITH"), "name tokens"),
        (("revoke", "0123456789ab"), "1 of the 1 ids given are unknown"),
    ],
)
def test_bad_input(rollback: Program, server: PgServer, arguments: tuple[str, ...], words: str) -> None:
    """What cannot be meant is refused in words, and nothing is changed."""
    before = everything(server)
    refused = rollback("token", *arguments)
    assert refused.returncode != 0
    assert words in refused.stderr
    assert "Traceback" not in refused.stderr
    assert not refused.stdout
    assert everything(server) == before


def test_a_mistyped_token_is_not_repeated(rollback: Program) -> None:
    """A token that is to be revoked and is unknown is not shown: it may be one of another store."""
    token = f"rbt_{'x' * 43}"
    refused = rollback("token", "revoke", token)
    assert refused.returncode == 1
    assert token not in refused.stdout + refused.stderr


def test_without_the_stores_credentials(rollback: Program, url: str, server: PgServer) -> None:
    """Who has not the store's credentials issues nothing, and the password is not repeated."""
    before = everything(server)
    wrong = url.replace(server.password, "guessed-password")
    refused = rollback("token", "issue", "U0JSMITH", "--label", "laptop", ROLLBACK_DATABASE_URL=wrong)
    assert refused.returncode == 1
    assert not refused.stdout
    assert "cannot be used at the moment" in refused.stderr
    assert "guessed-password" not in refused.stderr
    assert everything(server) == before


def test_what_cannot_be_put_on_record(rollback: Program, server: PgServer) -> None:
    """A token whose issue cannot be audited is not handed out."""
    server.execute(
        "ALTER TABLE audit ADD CONSTRAINT full_up CHECK (what <> 'token.issued') NOT VALID", dbname=_STORE
    )
    try:
        refused = rollback("token", "issue", "U0JSMITH", "--label", "laptop")
    finally:
        server.execute("ALTER TABLE audit DROP CONSTRAINT full_up", dbname=_STORE)
    assert refused.returncode != 0
    assert not refused.stdout
    assert "rbt_" not in refused.stderr
