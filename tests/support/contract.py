"""The contract of actuators: what a world must offer to be examined by it, and where worlds are found.

An actuator joins by a file `worlds.py` in its folder of tests that names its worlds in `WORLDS`, by kind of step.
"""

from __future__ import annotations

import importlib
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager, AbstractContextManager, ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import pytest

from bot.domain.actuation import Context
from bot.domain.plan import Step
from tests.support.actuation import FakeClock

T = TypeVar("T")
FOLDER = Path(__file__).parents[1] / "actuators"


@dataclass(frozen=True)
class Lasting:
    """What stays for the whole session."""

    stack: ExitStack
    begun: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Ground:
    """What a world may be built on.

    Attributes:
        folder: An empty folder, which other users can pass through.
        clock: The clock of the registered actuators, which stands still until somebody sleeps on it.
        monkeypatch: For the environment.
        request: For fixtures of `tests/actuators/test_contract.py`.
        lasting: What is too slow to be started for each test, by name; see `shared`.
    """

    folder: Path
    clock: FakeClock
    monkeypatch: pytest.MonkeyPatch
    request: pytest.FixtureRequest
    lasting: Lasting

    def shared(self, name: str, start: Callable[[], AbstractContextManager[T]]) -> T:
        """Return what `start` yields, begun at the first call and ended after the last test."""
        if name not in self.lasting.begun:
            self.lasting.begun[name] = self.lasting.stack.enter_context(start())
        found: T = self.lasting.begun[name]
        return found


@dataclass(frozen=True)
class Case:
    """A step, and a real target on which it has something to do and can do it.

    Attributes:
        step: The step.
        context: A run of it.
        away: The same run, while the target cannot be reached.
        state: Returns everything that the step, or looking at it, could change; equal if nothing was.
        faults: How the step may fail, in its actuator's words, beside the usual ways.
        before: Brings about what must be there before the step can be applied.
        refuses: Whether the rollback is refused while the target is away; without it, approvers are only warned.
    """

    step: Step
    context: Context
    away: Context
    state: Callable[[], object]
    faults: tuple[str, ...] = ()
    before: Callable[[], Awaitable[object]] | None = None
    refuses: bool = True


World = Callable[[Ground], AbstractAsyncContextManager[Case]]
Cases = AsyncIterator[Case]


def worlds() -> Mapping[str, World]:
    """Return every world by the kind of step that it is for.

    Raises:
        AssertionError: If a kind stands twice.
    """
    found: dict[str, World] = {}
    for file in sorted(FOLDER.glob("*/worlds.py")):
        named: Mapping[str, World] = importlib.import_module(f"tests.actuators.{file.parent.name}.worlds").WORLDS
        assert not named.keys() & found.keys(), f"a kind of {file} has a world already"
        found |= named
    return found
