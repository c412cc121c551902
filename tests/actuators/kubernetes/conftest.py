"""The fixtures of a namespace to test in."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.support.kubeapi.place import Place, somewhere


@pytest.fixture
async def place(tmp_path: Path) -> AsyncIterator[Place]:
    """A namespace of its own."""
    async with somewhere(tmp_path) as found:
        yield found
