"""How times and durations are read and written."""

from datetime import UTC, date, datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from bot.domain.times import Duration, Moment, format_duration, in_words, parse_duration, utc_minute, utc_second
from tests.support.plans import MODERATE

DURATION: TypeAdapter[timedelta] = TypeAdapter(Duration)
MOMENT: TypeAdapter[datetime] = TypeAdapter(Moment)
_durations = st.timedeltas(timedelta(0), timedelta(days=36500))


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("90s", 90),
        ("25m", 1500),
        ("25min", 1500),
        ("1h 30m", 5400),
        ("1h30m", 5400),
        ("2d", 172800),
        ("175ms", 0.175),
        ("1.5s", 1.5),
        (" 0s ", 0),
    ],
)
def test_parse(text: str, seconds: float) -> None:
    """A duration is one or more numbers, each with its unit."""
    assert parse_duration(text) == timedelta(seconds=seconds)


@pytest.mark.parametrize("wrong", ["", "25", 25, "25 minutes", "-5m", "m", "1h30", None, "1e3s", "5m\n5x"])
def test_parse_refuses(wrong: Any) -> None:
    """Anything else is refused with the accepted form; a bare number has no unit to be guessed."""
    with pytest.raises(ValueError, match="is not a duration; write it like 90s, 25m or 1h 30m"):
        parse_duration(wrong)


def test_beyond_all_bounds() -> None:
    """A duration that no clock can tell is a mistake in the plan, not a fault of the program."""
    with pytest.raises(ValidationError, match="longer than any duration can be"):
        DURATION.validate_python("99999999999d")


def test_never_negative() -> None:
    """A duration is never negative, however it is given."""
    with pytest.raises(ValidationError, match="cannot be negative"):
        DURATION.validate_python(timedelta(seconds=-1))


@MODERATE
@given(value=_durations)
def test_round_trip(value: timedelta) -> None:
    """A duration that was written is read back exactly, to the microsecond: the journal depends on it."""
    assert parse_duration(format_duration(value)) == value
    assert DURATION.validate_json(DURATION.dump_json(value)) == value


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (timedelta(0), "0s"),
        (timedelta(seconds=90), "1m 30s"),
        (timedelta(hours=25), "25h"),
        (timedelta(milliseconds=175), "0.175s"),
        (timedelta(microseconds=49), "0.000049s"),
        (timedelta(seconds=1234567, milliseconds=500), "1234567.5s"),
    ],
)
def test_format(value: timedelta, text: str) -> None:
    """A duration is written in whole hours, minutes and seconds, or in decimal seconds without an exponent."""
    assert format_duration(value) == text


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0, "0 seconds"),
        (1, "1 second"),
        (42, "42 seconds"),
        (59.6, "1 minute"),
        (60, "1 minute"),
        (1500, "25 minutes"),
        (1529, "25 minutes"),
        (1531, "26 minutes"),
        (7200, "120 minutes"),
    ],
)
def test_in_words(seconds: float, words: str) -> None:
    """People read whole minutes, as the specification writes them, and seconds below one."""
    assert in_words(timedelta(seconds=seconds)) == words


def test_utc() -> None:
    """Messages tell times in UTC wherever they were taken, to the minute or to the second."""
    value = datetime(2024, 1, 15, 16, 47, 3, tzinfo=timezone(timedelta(hours=1)))
    assert utc_minute(value) == "2024-01-15 15:47 UTC"
    assert utc_second(value) == "2024-01-15 15:47:03 UTC"


@pytest.mark.parametrize(
    "written",
    [
        "2024-01-15 15:47",
        "2024-01-15 15:47 UTC",
        "2024-01-15 15:47UTC",
        "2024-01-15T15:47",
        "2024-01-15T15:47:00Z",
        "2024-01-15T15:47:00.000",
        "2024-01-15 16:47:00+01:00",
        "2024-01-15_15:47",
        datetime(2024, 1, 15, 15, 47),  # noqa: DTZ001 - so YAML reads a time without a zone
        datetime(2024, 1, 15, 21, 17, tzinfo=timezone(timedelta(hours=5.5))),
        1705333620,
    ],
)
def test_moment(written: Any) -> None:
    """A time is kept as aware UTC however it was written; one without a zone is UTC."""
    value = MOMENT.validate_python(written)
    assert value == datetime(2024, 1, 15, 15, 47, tzinfo=UTC)
    assert value.tzinfo is UTC


@pytest.mark.parametrize("day", ["2024-01-15", date(2024, 1, 15)])
def test_day(day: Any) -> None:
    """A day without a time is its first minute in UTC, and can be compared with any other time."""
    assert MOMENT.validate_python(day) == datetime(2024, 1, 15, tzinfo=UTC)


@pytest.mark.parametrize("wrong", ["", "yesterday", "2024-13-01 10:00", "2024-01-15 25:00", None, "UTC"])
def test_no_moment(wrong: Any) -> None:
    """What is no time is refused."""
    with pytest.raises(ValidationError):
        MOMENT.validate_python(wrong)


def test_end_of_time() -> None:
    """A time that UTC cannot tell is refused as well."""
    with pytest.raises(ValidationError, match="beyond the times that can be told in UTC"):
        MOMENT.validate_python("9999-12-31T23:59:59-12:00")


@MODERATE
@given(value=st.datetimes(timezones=st.just(UTC)))
def test_moment_round_trip(value: datetime) -> None:
    """A time that was written as JSON is read back exactly."""
    assert MOMENT.validate_json(MOMENT.dump_json(value)) == value
