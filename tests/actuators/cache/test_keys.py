"""Cached data: counted by shape on a real Redis, with SCAN, and without showing or changing a key."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, suppress
from typing import Any

import pytest

from actuators import cache, cache_client
from actuators.cache import ShowKeys, shape
from bot.domain.actuation import Context, Registry, Verdict
from bot.domain.errors import ActuatorError
from tests.support.actuation import FakeClock, RealClock, fails, make_context, make_plan
from tests.support.pgserver import free_port
from tests.support.redisserver import RedisServer, real_redis, running_redis

STEP = ShowKeys(id="keys", target="cache")
REGISTRY = Registry(*cache.register())


def context(port: int, *, clock: RealClock | FakeClock | None = None, **fields: Any) -> Context:
    """Return the context of a run with a cache."""
    target = {"service": "payments", "host": "127.0.0.1", "port": port, "keys": "payments:*", **fields}
    return make_context(make_plan(STEP), {"caches": {"cache": target}}, clock=clock)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    """A real server with the service's keys, and some of another service's."""
    with running_redis(tmp_path_factory.mktemp("redis")) as redis:
        redis.cli("EVAL", "for i = 1, 3000 do redis.call('SET', 'payments:rate:' .. i, i, 'EX', 3600) end", "0")
        redis.cli(
            "EVAL", "for i = 1, 40 do redis.call('SET', 'payments:session:u' .. i .. '@mail.example', 1) end", "0"
        )
        redis.cli("MSET", "payments:schema", "2.4", "orders:1", "x")
        redis.cli("-n", "3", "SET", "payments:schema", "2.3")
        yield redis


@real_redis[0]
@real_redis[1]
class TestRealServer:
    """On the server itself."""

    async def test_keys_are_counted_by_shape(self, server: RedisServer) -> None:
        """The service's keys, how many of them look alike, and how long they live; no key is shown."""
        outcome = await REGISTRY.actuator(STEP).apply(STEP, context(server.port))
        assert outcome.words == "3,041 keys match payments:* in cache, of 3,042 in all; most: payments:rate:*"
        assert outcome.facts == {"keys": 3041, "all_counted": True}
        assert outcome.output.splitlines() == [
            "3,000 payments:rate:*; of 10 looked at, 0 never expire, the others live for 60 minutes at most",
            "40 payments:session:*; of 10 looked at, none ever expires",
            "1 payments:schema; of 1 looked at, none ever expires",
        ]
        (check,) = await REGISTRY.actuator(STEP).check(STEP, context(server.port))
        assert check.verdict is Verdict.OK

    async def test_nothing_but_looking_is_asked_of_the_server(self, server: RedisServer) -> None:
        """SCAN, TTL and DBSIZE: never KEYS, which holds the whole server up, and nothing that writes."""
        server.cli("CONFIG", "RESETSTAT")
        await REGISTRY.actuator(STEP).apply(STEP, context(server.port, database=3))
        asked = {
            line.split(":")[0] for line in server.cli("INFO", "commandstats").splitlines() if "cmdstat" in line
        }
        assert asked <= {
            f"cmdstat_{name}" for name in ("scan", "ttl", "dbsize", "select", "config|resetstat", "info")
        }

    async def test_another_database_is_another_set_of_keys(self, server: RedisServer) -> None:
        """The target's database is chosen."""
        outcome = await REGISTRY.actuator(STEP).apply(STEP, context(server.port, database=3))
        assert outcome.words == "1 keys match payments:* in cache, of 1 in all; most: payments:schema"

    async def test_no_keys(self, server: RedisServer) -> None:
        """An empty answer is an answer."""
        outcome = await REGISTRY.actuator(STEP).apply(STEP, context(server.port, keys="nothing:*"))
        assert outcome.words == "0 keys match nothing:* in cache, of 3,042 in all"

    async def test_many_shapes(self, server: RedisServer) -> None:
        """Only the most frequent shapes are listed, and the others counted."""
        script = "for i = 1, 25 do redis.call('SET', 'payments:' .. string.char(96 + i), 1) end"
        server.cli("-n", "4", "EVAL", script, "0")
        outcome = await REGISTRY.actuator(STEP).apply(STEP, context(server.port, database=4))
        assert len(outcome.output.splitlines()) == 21
        assert outcome.output.endswith("... and 5 further shapes")

    async def test_a_role_with_the_documented_rights(
        self, server: RedisServer, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The rights of docs/actuators/cache.md are enough; without them the refusal says what to do."""
        monkeypatch.setenv("CACHE_PASSWORD", "s3cret-of-cache")
        server.cli(
            "ACL", "SETUSER", "rollback", "on", ">s3cret-of-cache", "%R~payments:*", "+scan", "+ttl", "+select"
        )
        login: dict[str, Any] = {"user": "rollback", "password": {"env": "CACHE_PASSWORD"}}
        outcome = await REGISTRY.actuator(STEP).apply(STEP, context(server.port, **login))
        assert outcome.words == "3,041 keys match payments:* in cache; most: payments:rate:*"
        server.cli("ACL", "SETUSER", "rollback", "-scan")
        with pytest.raises(ActuatorError, match="NOPERM") as caught:
            await REGISTRY.actuator(STEP).apply(STEP, context(server.port, **login))
        assert "docs/actuators/cache.md" in caught.value.resolution
        monkeypatch.setenv("CACHE_PASSWORD", "wrong-one")
        with pytest.raises(ActuatorError, match="WRONGPASS") as caught:
            await REGISTRY.actuator(STEP).apply(STEP, context(server.port, **login))
        assert "wrong-one" not in str(caught.value)

    async def test_counting_ends_in_time(self, server: RedisServer, monkeypatch: pytest.MonkeyPatch) -> None:
        """A huge cache is not walked to its end: the number is a lower bound and says so."""
        monkeypatch.setattr(cache, "_PATIENCE", 0.0)
        outcome = await REGISTRY.actuator(STEP).apply(STEP, context(server.port, clock=FakeClock()))
        assert outcome.words.startswith("at least ")
        assert outcome.facts["all_counted"] is False


@asynccontextmanager
async def answering(*replies: bytes) -> AsyncIterator[int]:
    """Give the port of a server that says these things, one at each command, and then closes."""
    handling: set[asyncio.Task[None]] = set()

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        handling.add(task)
        with suppress(OSError):
            for reply in replies:
                if not await reader.read(65536):
                    break
                writer.write(reply)
                await writer.drain()
            writer.close()
            await writer.wait_closed()

    server = await asyncio.start_server(handle, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        await server.wait_closed()
        await asyncio.gather(*handling)


@pytest.mark.parametrize(
    ("replies", "words", "transient"),
    [
        ([b"-NOAUTH Authentication required.\r\n"], "refuses: NOAUTH", False),
        ([b"-LOADING Redis is loading the dataset in memory\r\n"], "refuses: LOADING", True),
        ([b"HTTP/1.1 400 Bad Request\r\n"], "no Redis server", True),
        ([b"*2\r\n$1\r\n0\r\n$3\r\nabc\r\n"], "no Redis server", True),
        ([b"$9999999999\r\n"], "the answer is too long", True),
        ([b"x" * 200_000], "does not answer", True),
        ([b"*2\r\n$1\r\n"], "does not answer", True),
        ([b"*2\r\n-ERR no\r\n"], "refuses: ERR no", False),
        ([], "does not answer", True),
    ],
)
async def test_an_answer_that_makes_no_sense(replies: list[bytes], words: str, transient: bool) -> None:  # noqa: FBT001 - a table of cases
    """Whatever answers there, the failure is one sentence, and the check a warning: the cache is no obstacle."""
    async with answering(*replies) as port:
        with pytest.raises(ActuatorError, match=words) as caught:
            await REGISTRY.actuator(STEP).apply(STEP, context(port))
        assert caught.value.transient is transient
        (check,) = await REGISTRY.actuator(STEP).check(STEP, context(port))
        assert check.verdict is Verdict.WARN


async def test_a_server_that_repeats_the_password(monkeypatch: pytest.MonkeyPatch) -> None:
    """What it was told is masked in the message."""
    monkeypatch.setenv("CACHE_PASSWORD", "s3cret-of-cache")
    said = b"-ERR unknown command 'AUTH', with args beginning with: 's3cret-of-cache'\r\n"
    async with answering(said) as port:
        with pytest.raises(ActuatorError, match="unknown command") as caught:
            await REGISTRY.actuator(STEP).apply(STEP, context(port, password={"env": "CACHE_PASSWORD"}))
    assert "s3cret" not in str(caught.value)


async def test_keys_without_a_known_life() -> None:
    """Keys that are gone when their life is asked for, and a key that comes twice, are counted once."""
    replies = [b"*2\r\n$1\r\n0\r\n*3\r\n$9\r\npayments:\r\n$9\r\npayments:\r\n$-1\r\n", b":7\r\n", b":-2\r\n"]
    async with answering(*replies) as port:
        outcome = await REGISTRY.actuator(STEP).apply(STEP, context(port))
    assert outcome.facts["keys"] == 1
    assert outcome.output == "1 payments:*; how long they live is not known"


async def test_a_server_that_says_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is given up after a while."""
    monkeypatch.setattr(cache_client, "_ANSWER", 0.05)
    async with answering(b"", b"") as port:
        with pytest.raises(ActuatorError, match="no answer in time"):
            await REGISTRY.actuator(STEP).apply(STEP, context(port))


async def test_nothing_listens_there() -> None:
    """The reason is in the message."""
    with pytest.raises(ActuatorError, match="does not answer"):
        await REGISTRY.actuator(STEP).apply(STEP, context(free_port()))


async def test_a_target_of_another_kind() -> None:
    """A step on something else than a cache says so before anything is asked."""
    step = STEP.model_copy(update={"target": "other"})
    assert "is not in the inventory" in fails(await REGISTRY.actuator(step).check(step, context(1)))


@pytest.mark.parametrize(
    ("key", "looks"),
    [
        (b"payments:user:4711:cart", "payments:user:*:cart"),
        (b"payments:session:eyJhbGciOi.J9", "payments:session:*"),
        (b"plain", "plain"),
        (b"a:b:c:d:e:f:g:h", "a:b:c:d:e:f:*"),
        (b"\xff\xfe:x", "*:x"),
        (b"john.doe@mail.example", "*"),
    ],
)
def test_the_shape_of_a_key_gives_nothing_away(key: bytes, looks: str) -> None:
    """Numbers, addresses and tokens become a star; only plain words stay."""
    assert shape(key) == looks
