"""When to roll back at once, when to assess, when to watch."""

from datetime import timedelta
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from bot.domain.criteria import Advice, Decision, Reading, Thresholds, decide, milliseconds, percent
from bot.domain.plan import Baseline
from tests.support.plans import MODERATE

BASELINE = Baseline(error_rate=0.002, p95=timedelta(milliseconds=175))
THRESHOLDS = Thresholds()
SEVERITY = [Advice.UNKNOWN, Advice.MONITOR, Advice.ASSESS, Advice.IMMEDIATE]

_shares = st.floats(min_value=0, max_value=1)
_times = st.timedeltas(min_value=timedelta(0), max_value=timedelta(seconds=20))
_readings = st.builds(
    Reading,
    error_rate=st.none() | _shares,
    p95=st.none() | _times,
    availability=st.none() | _shares,
)


def _ms(value: float) -> timedelta:
    return timedelta(milliseconds=value)


def _decide(reading: Reading, *, corruption: bool = False) -> Decision:
    return decide(reading, BASELINE, THRESHOLDS, corruption=corruption)


CALM = {"error_rate": 0.002, "p95": _ms(170), "availability": 0.999}


@pytest.mark.parametrize(
    ("changed", "corruption", "advice", "trigger", "exceeded"),
    [
        (
            *({"availability": 0.949}, False, Advice.IMMEDIATE),
            *("Availability 94.9% (threshold: 95%)", "Availability fell below 95% threshold"),
        ),
        (
            *({"error_rate": 0.123}, False, Advice.IMMEDIATE),
            *("Error rate 12.3% (threshold: 10%)", "Error rate exceeded 10% threshold"),
        ),
        ({}, True, Advice.IMMEDIATE, "Data corruption detected", "Data corruption detected"),
        (
            *({"error_rate": 0.054}, False, Advice.ASSESS),
            *("Error rate 5.4% (threshold: 2%)", "Error rate exceeded 2% threshold"),
        ),
        (
            *({"p95": _ms(263)}, False, Advice.ASSESS),
            *(
                "Response time 263ms p95 (baseline: 175ms)",
                "Response time exceeded baseline by more than 50%",
            ),
        ),
        ({}, False, Advice.MONITOR, "No threshold exceeded", ""),
    ],
)
def test_branches(
    changed: dict[str, object], *, corruption: bool, advice: Advice, trigger: str, exceeded: str
) -> None:
    """Each branch of the flowchart leads to the specification's advice, with the reason in one line."""
    found = _decide(Reading.model_validate({**CALM, **changed}), corruption=corruption)
    assert (found.advice, found.trigger, found.exceeded) == (advice, trigger, exceeded)


@pytest.mark.parametrize(
    ("changed", "advice"),
    [
        ({"availability": 0.95}, Advice.MONITOR),
        ({"error_rate": 0.10}, Advice.ASSESS),
        ({"error_rate": 0.1001}, Advice.IMMEDIATE),
        ({"error_rate": 0.02}, Advice.ASSESS),
        ({"error_rate": 0.0199}, Advice.MONITOR),
        ({"p95": _ms(262.5)}, Advice.MONITOR),
        ({"p95": _ms(262.501)}, Advice.ASSESS),
    ],
)
def test_edges(changed: dict[str, object], advice: Advice) -> None:
    """Exactly 95 %, 10 % and 1.5 times the baseline are not yet beyond; exactly 2 % is to be assessed."""
    assert _decide(Reading.model_validate({**CALM, **changed})).advice is advice


def test_trace() -> None:
    """The trace of a calm reading asks the flowchart's five questions in its order, with value and answer."""
    assert _decide(Reading.model_validate(CALM)).trace == (
        "availability below 95%? 99.9%: no",
        "error rate above 10%? 0.2%: no",
        "data corruption detected? not reported: no",
        "error rate 2% or more? 0.2%: no",
        "p95 more than 50% over baseline? 170ms: no",
    )


def test_trace_of_unknown() -> None:
    """A question that nobody can answer stands in the trace as unknown."""
    found = _decide(Reading())
    assert found.advice is Advice.UNKNOWN
    assert found.trigger == "Metrics unknown"
    assert [line.rsplit(" ", 1)[1] for line in found.trace] == ["unknown", "unknown", "no", "unknown", "unknown"]


@MODERATE
@given(reading=_readings, corruption=st.booleans())
def test_trace_ends_with_the_trigger(reading: Reading, *, corruption: bool) -> None:
    """The trace lists every question asked: all five, or those up to the one that was answered yes."""
    found = _decide(reading, corruption=corruption)
    answers = [line.rsplit(" ", 1)[1] for line in found.trace]
    if found.advice in (Advice.IMMEDIATE, Advice.ASSESS):
        assert answers[-1] == "yes"
        assert "yes" not in answers[:-1]
        assert found.exceeded
    else:
        assert len(answers) == 5
        assert "yes" not in answers
        assert not found.exceeded


@MODERATE
@given(reading=_readings, hidden=st.sets(st.sampled_from(["error_rate", "p95", "availability"]), min_size=1))
def test_unknown_never_triggers(reading: Reading, hidden: set[str]) -> None:
    """Knowing less never makes the advice more severe, and knowing nothing triggers nothing."""
    less = reading.model_copy(update=dict.fromkeys(hidden))
    assert SEVERITY.index(_decide(less).advice) <= SEVERITY.index(_decide(reading).advice)
    assert _decide(Reading()).advice is Advice.UNKNOWN


@MODERATE
@given(reading=_readings, rates=st.lists(_shares, min_size=2, max_size=6))
def test_monotone_in_error_rate(reading: Reading, rates: list[float]) -> None:
    """A higher error rate never leads to a milder advice."""
    advices = [_decide(reading.model_copy(update={"error_rate": rate})).advice for rate in sorted(rates)]
    assert all(SEVERITY.index(a) <= SEVERITY.index(b) for a, b in pairwise(advices))


@MODERATE
@given(reading=_readings)
def test_corruption_is_immediate(reading: Reading) -> None:
    """Reported data corruption mandates the rollback whatever the metrics say."""
    assert _decide(reading, corruption=True).advice is Advice.IMMEDIATE


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_no_number_is_unknown(value: float) -> None:
    """A rate over no requests (0/0) is no data, so it neither triggers nor passes for healthy."""
    reading = Reading(error_rate=value, availability=value)
    assert not reading.known()
    assert _decide(reading).advice is Advice.UNKNOWN


@pytest.mark.parametrize("known", [{"error_rate": 0.0}, {"p95": "1ms"}, {"availability": 1.0}])
def test_known(known: dict[str, object]) -> None:
    """One value is enough for a reading to be known, zero included."""
    assert Reading.model_validate(known).known()


@pytest.mark.parametrize("wrong", [{"error_rate": 10}, {"availability": 95}, {"slowdown": 0.5}])
def test_thresholds_are_shares(wrong: dict[str, float]) -> None:
    """A threshold of 10 instead of 0.10 is an error: it would never trigger."""
    with pytest.raises(ValidationError):
        Thresholds.model_validate(wrong)


@pytest.mark.parametrize(
    ("share", "words"), [(0.123, "12.3%"), (0.10, "10%"), (0.002, "0.2%"), (0.003, "0.3%"), (1, "100%"), (0, "0%")]
)
def test_percent(share: float, words: str) -> None:
    """A share is written as the specification does, to a tenth of a percent."""
    assert percent(share) == words


def test_milliseconds() -> None:
    """A response time is written in whole milliseconds."""
    assert milliseconds(timedelta(seconds=0.1804)) == "180ms"
