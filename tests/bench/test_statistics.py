from __future__ import annotations

import math
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.bench.statistics import median, percentile, spread

VALUES = st.lists(st.floats(min_value=0, max_value=1e6), min_size=1, max_size=300)


@pytest.mark.parametrize(
    ("share", "expected"),
    [(0.0, 1), (0.01, 1), (0.07, 7), (0.5, 50), (0.95, 95), (0.99, 99), (0.991, 100), (1, 100)],
)
def test_percentile_of_the_first_hundred_numbers_is_the_number(share: float, expected: int) -> None:
    """The nearest rank among 1..100 is the percentage itself, rounded up."""
    assert percentile([float(number) for number in range(100, 0, -1)], share) == expected


def test_percentile_of_one_value_is_the_value() -> None:
    """A single measurement is every percentile."""
    assert {percentile([7.0], share) for share in (0.0, 0.5, 0.99, 1.0)} == {7.0}


@given(VALUES, st.floats(min_value=0, max_value=1))
def test_percentile_was_measured_and_bounds_its_share(values: list[float], share: float) -> None:
    """At least that share of the values lies at or below the percentile, and it is one of them."""
    found = percentile(values, share)
    assert found in values
    below = sum(value <= found for value in values)
    assert below >= math.floor(share * len(values))


@given(VALUES)
def test_percentile_never_falls_as_the_share_rises(values: list[float]) -> None:
    """A higher share never has a smaller percentile."""
    found = [percentile(values, share / 20) for share in range(21)]
    assert all(one <= other for one, other in pairwise(found))


@pytest.mark.parametrize(("values", "expected"), [([3.0], 3), ([1.0, 9.0], 5), ([9.0, 1.0, 2.0], 2)])
def test_median_is_the_middle(values: list[float], expected: float) -> None:
    """The median is the middle value, or lies between the middle two."""
    assert median(values) == expected


@pytest.mark.parametrize("share", [-0.1, 1.1, math.nan])
def test_share_outside_of_zero_and_one_is_refused(share: float) -> None:
    """A percentage that was written in place of a share is found out."""
    with pytest.raises(ValueError, match="between 0 and 1"):
        percentile([1.0], share)


def test_nothing_measured_is_no_figure() -> None:
    """A benchmark that measured nothing fails instead of reporting zero."""
    with pytest.raises(ValueError, match="nothing was measured"):
        percentile([], 0.5)
    with pytest.raises(ValueError, match="nothing was measured"):
        median([])


def test_spread_scales_and_names_its_unit() -> None:
    """Seconds are shown as milliseconds when asked for."""
    assert spread([0.001, 0.002], scale=1000, unit="ms") == "p50 1.0, p95 2.0, p99 2.0, max 2.0 ms"
