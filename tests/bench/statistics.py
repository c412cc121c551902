"""The few statistics that the benchmarks print."""

from __future__ import annotations

import math
from collections.abc import Sequence


def percentile(values: Sequence[float], share: float) -> float:
    """Return the nearest-rank percentile: always a value that was measured, never one in between.

    Args:
        values: At least one, in any order.
        share: 0..1; 0.99 for the p99. 0 is the smallest value, 1 the largest.

    Raises:
        ValueError: There are no values, or the share lies outside of 0..1.
    """
    if not values:
        raise ValueError("nothing was measured")
    if not 0 <= share <= 1:
        raise ValueError(f"a share lies between 0 and 1, and this is {share}")
    # Rounded first, because 0.07 * 100 is a little more than 7 in binary floating point.
    rank = max(1, math.ceil(round(share * len(values), 9)))
    return sorted(values)[rank - 1]


def median(values: Sequence[float]) -> float:
    """Return the middle value, the mean of both middle ones if there are two.

    Raises:
        ValueError: There are no values.
    """
    if not values:
        raise ValueError("nothing was measured")
    ordered = sorted(values)
    middle = len(ordered) // 2
    return ordered[middle] if len(ordered) % 2 else (ordered[middle - 1] + ordered[middle]) / 2


def spread(values: Sequence[float], *, scale: float = 1.0, unit: str = "") -> str:
    """Return p50, p95, p99 and the largest value in words.

    Args:
        values: At least one.
        scale: What each value is multiplied by first: 1000 shows seconds as milliseconds.
        unit: The unit after scaling.
    """
    parts = [("p50", 0.5), ("p95", 0.95), ("p99", 0.99), ("max", 1.0)]
    shown = ", ".join(f"{name} {percentile(values, share) * scale:.1f}" for name, share in parts)
    return f"{shown} {unit}".rstrip()
