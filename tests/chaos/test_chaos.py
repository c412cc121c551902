from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest

from bot.main.clock import SystemClock
from tests.chaos.site import Size
from tests.chaos.stage import Scene, Script, play
from tests.chaos.storm import Weather
from tests.chaos.verdict import judge

pytestmark = [pytest.mark.slow, pytest.mark.timeout(240)]

SCRIPT = Script(
    zones=("default", "default"),
    storm=timedelta(seconds=18),
    requests=0.45,
    settle=timedelta(seconds=90),
    size=Size(rollbacks=20, targets=14, left_held=1, longest=timedelta(seconds=1)),
    # One worker is frozen in the midst of work, for longer than a lease lasts; the other one is killed meanwhile.
    weather=Weather(
        kill=(5.0, 7.0), freeze=(2.5, 3.0), frozen=(14.5, 15.0), store=(5.0, 7.0), away=(0.1, 0.5), hung=(0.2, 1.0)
    ),
    seed=5,
)


def _nothing(_scene: Scene) -> None:
    """Show nothing: nobody watches a test."""


async def test_two_workers_under_fire(tmp_path: Path) -> None:
    """Two workers that are killed and frozen, on a store that crashes, break none of the engine's promises.

    The long form is `make chaos`.
    """
    verdict = judge(await play(SCRIPT, tmp_path, clock=SystemClock(), show=_nothing))
    if not verdict.sound:
        pytest.fail(f"{verdict.text()}\nThe evidence is in {tmp_path}", pytrace=False)
    assert int(verdict.figures["acts and looks that the targets saw"]) > SCRIPT.size.rollbacks
    assert verdict.figures["freezes of workers that woke again"] != "none"
    assert verdict.figures["outages of the store"] != "none"
