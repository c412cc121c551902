"""The fixtures of load balancers."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.actuators.metrics.conftest import page
from tests.support.haproxy import Haproxy, Side, balancer, sides

__all__ = ["haproxy", "page", "pair"]


@pytest.fixture
async def pair() -> AsyncIterator[tuple[Side, Side]]:
    """Give blue and green."""
    async with sides() as both:
        yield both


@pytest.fixture
async def haproxy(tmp_path: Path, pair: tuple[Side, Side]) -> AsyncIterator[Haproxy]:
    """Give a HAProxy that sends all traffic to blue."""
    async with balancer(tmp_path, pair) as running:
        yield running
