"""A real Redis with keys of the service."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import Any

import pytest

from actuators.cache import ShowKeys
from tests.support.actuation import make_context, make_plan
from tests.support.contract import Case, Cases, Ground
from tests.support.pgserver import free_port
from tests.support.redisserver import PROGRAM, REQUIRED, running_redis

STEP = ShowKeys(id="keys", target="cache")


@asynccontextmanager
async def keys(ground: Ground) -> Cases:
    """A server with three keys."""
    if PROGRAM is None and not REQUIRED:
        pytest.skip("no redis-server here")

    def context(port: int) -> Any:
        target = {"service": "payments", "host": "127.0.0.1", "port": port, "keys": "payments:*"}
        return make_context(make_plan(STEP), {"caches": {"cache": target}})

    with running_redis(ground.folder) as server:
        server.cli("MSET", "payments:a", "1", "payments:b", "2", "orders:1", "3")
        yield Case(STEP, context(server.port), context(free_port()), state=lambda: server.cli("KEYS", "*"))


WORLDS = {"cache.keys": keys}
