from __future__ import annotations

import gc

from bot.main import heap


def test_what_is_there_at_the_start_is_not_walked_again() -> None:
    """After the start the collector has far fewer objects to walk, and what comes later is collected as before."""
    before = len(gc.get_objects())
    heap.settle()
    try:
        assert len(gc.get_objects()) < before / 10
        cycle: list[object] = []
        cycle.append(cycle)
        del cycle
        assert gc.collect() >= 1
    finally:
        gc.unfreeze()
