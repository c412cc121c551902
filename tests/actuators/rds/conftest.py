"""The fixtures of managed databases."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

import pytest

from tests.actuators.rds import site as sites
from tests.actuators.rds.site import Site


@pytest.fixture(scope="session")
def moto(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """Give the port of a strict moto."""
    with sites.strict_moto(tmp_path_factory.mktemp("moto") / "log") as port:
        yield port


@pytest.fixture
async def site(moto: int, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Site]:
    """Give a fresh account with the instance ``payments``."""
    async with sites.site(moto, monkeypatch) as running:
        yield running
