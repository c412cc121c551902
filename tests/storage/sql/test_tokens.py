from __future__ import annotations

import asyncio

import pytest

from bot.domain.errors import RollbackError
from storage.database import Database
from storage.tokens import PREFIX, SqlTokens
from tests.storage.sql.conftest import Backstage


@pytest.fixture
def tokens(database: Database) -> SqlTokens:
    """The tokens of an empty store."""
    return SqlTokens(database)


async def issued(tokens: SqlTokens, user: str = "U0ADA", label: str = "laptop") -> str:
    """Return a new token."""
    token, _ = await tokens.issue(user_id=user, label=label, created_by="os:root")
    return token


async def test_a_token_is_its_person(tokens: SqlTokens) -> None:
    """By a token its person is known, by each of several the same one, and by anything else nobody."""
    first, second, other = await issued(tokens), await issued(tokens), await issued(tokens, "U0BOB")
    assert [await tokens.person_of(token) for token in (first, second, other)] == ["U0ADA", "U0ADA", "U0BOB"]
    for wrong in ("", PREFIX, first[:-1], f"{first} ", first.swapcase(), "U0ADA", "rbt_\x00"):
        assert await tokens.person_of(wrong) is None


async def test_a_token_cannot_be_guessed(tokens: SqlTokens) -> None:
    """A token is marked as ours, holds 256 random bits, and no two are alike."""
    found = {await issued(tokens) for _ in range(20)}
    assert len(found) == 20
    assert all(token.startswith(PREFIX) and len(token) == len(PREFIX) + 43 for token in found)


async def test_the_store_keeps_no_token(tokens: SqlTokens, backstage: Backstage) -> None:
    """What stands in the store lets nobody act: neither the digest nor the id is a token."""
    token = await issued(tokens)
    rows = await backstage("SELECT t::text, digest FROM access_token t")
    assert len(rows) == 1
    assert token.removeprefix(PREFIX) not in str(rows)
    (known,) = await tokens.list()
    for shown in (known.id, str(rows[0][1])):
        assert await tokens.person_of(shown) is None
        assert await tokens.person_of(PREFIX + shown) is None
    assert token not in repr(known)


async def test_what_is_known_of_a_token(tokens: SqlTokens) -> None:
    """Of each token stands who acts by it, what for, who issued it and when, the oldest first."""
    _, known = await tokens.issue(user_id="U0ADA", label="deploy pipeline «naïve»", created_by="os:root")
    await issued(tokens, "U0BOB")
    first, second = await tokens.list()
    assert first == known
    assert (first.user_id, first.label, first.created_by) == ("U0ADA", "deploy pipeline «naïve»", "os:root")
    assert first.revoked_at is None
    assert first.created_at <= second.created_at


async def test_a_revoked_token_is_nobody(tokens: SqlTokens) -> None:
    """By a revoked token nobody is known any more; the person's other tokens stay in force."""
    lost, kept = await issued(tokens), await issued(tokens)
    before, other = await tokens.list()
    revoked = await tokens.revoke(before.id)
    assert revoked is not None
    assert revoked.revoked_at is not None
    assert await tokens.person_of(lost) is None
    assert await tokens.person_of(kept) == "U0ADA"
    assert await tokens.list() == (revoked, other)


async def test_a_token_that_came_to_light_is_revoked_by_itself(tokens: SqlTokens) -> None:
    """Whoever finds a token somewhere can have it revoked without knowing its id."""
    lost, kept = await issued(tokens), await issued(tokens)
    assert await tokens.revoke(lost)
    assert [await tokens.person_of(token) for token in (lost, kept)] == [None, "U0ADA"]


async def test_revoking_twice(tokens: SqlTokens) -> None:
    """A token that is revoked again stays revoked since the first time."""
    token = await issued(tokens)
    assert await tokens.revoke(token) == await tokens.revoke(token)


@pytest.mark.parametrize("wrong", ["", "0123456789ab", "%", PREFIX, "U0ADA"])
async def test_an_unknown_id_revokes_nothing(tokens: SqlTokens, wrong: str) -> None:
    """What names no token revokes none."""
    token = await issued(tokens)
    assert await tokens.revoke(wrong) is None
    assert await tokens.person_of(token) == "U0ADA"


async def test_all_of_a_persons_tokens(tokens: SqlTokens) -> None:
    """Who leaves loses every token at once, those revoked before aside, and nobody else loses any."""
    first, second, other = await issued(tokens), await issued(tokens), await issued(tokens, "U0BOB")
    await tokens.revoke(first)
    assert len(await tokens.revoke_of("U0ADA")) == 1
    assert [await tokens.person_of(token) for token in (first, second, other)] == [None, None, "U0BOB"]
    assert await tokens.revoke_of("U0ADA") == ()


async def test_tokens_issued_at_once(tokens: SqlTokens) -> None:
    """Tokens that several administrators issue at the same time are all in force."""
    async with asyncio.TaskGroup() as group:
        issuing = [group.create_task(issued(tokens, f"U0P{number}")) for number in range(8)]
    assert [await tokens.person_of(task.result()) for task in issuing] == [f"U0P{number}" for number in range(8)]


async def test_a_store_without_tokens(empty_url: str) -> None:
    """A store that no bot of this version has brought up to date yet is told of in words."""
    database = Database(empty_url)
    try:
        with pytest.raises(RollbackError, match="schema is older") as refused:
            await SqlTokens(database).person_of(PREFIX)
    finally:
        await database.close()
    assert refused.value.untouched == "Nothing was changed."
