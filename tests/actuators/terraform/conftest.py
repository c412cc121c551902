"""The fixtures of a stack to test with."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.terraform import MISSING, REQUIRED, Code, Stack, build_code, state_server


@pytest.fixture(scope="session")
def code(tmp_path_factory: pytest.TempPathFactory) -> Code:
    """A repository and the state of what was deployed from it."""
    if MISSING and not REQUIRED:
        pytest.skip(MISSING)
    return build_code(tmp_path_factory.mktemp("terraform"))


@pytest.fixture
def stack(code: Code, tmp_path: Path) -> Iterator[Stack]:
    """A stack in its failed version."""
    with state_server(code.state) as server:
        yield Stack(code, server, tmp_path / "bot")
