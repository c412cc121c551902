from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from sqlalchemy import text

from bot.domain import events
from bot.domain.criteria import Decision, Reading
from bot.domain.events import EVENT, AnyEvent
from storage import journal
from storage.database import Database
from tests.storage.sql import samples

_TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=40)
_JSON: Any = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | _TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_TEXT, inner, max_size=3),
    max_leaves=6,
)
_MOMENT = st.timedeltas(timedelta(0), timedelta(days=80_000)).map(
    lambda since: datetime(1970, 1, 1, tzinfo=UTC) + since
)
_DURATION = st.integers(0, 10**6).map(lambda milliseconds: timedelta(milliseconds=milliseconds))
_READING = st.builds(
    Reading,
    error_rate=st.none() | st.floats(0, 1),
    p95=st.none() | _DURATION,
    availability=st.none() | st.floats(0, 1),
    window=_DURATION,
    source=_TEXT,
)
_REMEDY = st.builds(
    events.RemedyOffered,
    id=_TEXT,
    title=_TEXT,
    words=_TEXT,
    acts=st.booleans(),
    settles=st.booleans(),
    step=st.dictionaries(_TEXT, _JSON, max_size=4),
)
_LOSS = st.builds(
    events.LossFound,
    subject=_TEXT,
    words=_TEXT,
    resolution=_TEXT,
    step=_TEXT,
    since=_MOMENT,
    rows=st.none() | st.integers(0, 10**9),
)
_KINDS: tuple[type[events.Event], ...] = tuple(events.Event.__subclasses__())


def _events(kind: type[events.Event]) -> st.SearchStrategy[AnyEvent]:
    special: dict[str, Any] = {
        "at": _MOMENT,
        "expires_at": _MOMENT,
        "review_at": _MOMENT,
        "facts": st.dictionaries(_TEXT, _JSON, max_size=4),
        "reading": _READING,
        "decision": st.builds(Decision, trigger=_TEXT, trace=st.lists(_TEXT, max_size=3).map(tuple)),
        "findings": st.lists(
            st.builds(events.CheckFinding, subject=_TEXT, words=_TEXT, resolution=_TEXT), max_size=3
        ).map(tuple),
        "steps": st.lists(_TEXT, max_size=3).map(tuple),
        "attempt": st.integers(1, 99),
        "window": _DURATION,
        "estimate": _DURATION,
        "share": st.floats(0, 1),
        "remedies": st.lists(_REMEDY, max_size=3).map(tuple),
        "losses": st.lists(_LOSS, max_size=3).map(tuple),
    }
    fields: dict[str, Any] = {
        name: special.get(name, _TEXT if field.annotation is str else _any_of(field.annotation))
        for name, field in kind.model_fields.items()
        if name != "kind"
    }
    built: st.SearchStrategy[Any] = st.builds(kind, **fields)
    return built


def _any_of(annotation: Any) -> st.SearchStrategy[Any]:
    found: st.SearchStrategy[Any] = st.from_type(annotation)
    return found


def test_every_kind_of_event_is_tried() -> None:
    """The strategy below covers every event that a journal may hold."""
    tags = {kind.model_fields["kind"].default for kind in _KINDS}
    assert tags == set(EVENT.json_schema()["discriminator"]["mapping"])


@pytest.mark.parametrize("kind", _KINDS, ids=lambda kind: kind.__name__)
def test_what_is_written_is_what_is_read(kind: type[events.Event]) -> None:
    """Every event comes back from its JSON as it was, but for NUL characters, which no text of the store holds."""

    @settings(max_examples=25, deadline=None, derandomize=True)
    @given(_events(kind))
    def holds(event: AnyEvent) -> None:
        told, body = journal.written(event)
        assert "\\u0000" not in body.replace("\\\\", "")
        assert journal.read([body]) == (told,)
        if "\x00" not in repr(event) and "\\x00" not in repr(event):
            assert told == event

    holds()


@settings(max_examples=20, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(batch=st.tuples(*(_events(kind) for kind in _KINDS)))
async def test_the_database_keeps_every_event(batch: tuple[AnyEvent, ...], database: Database) -> None:
    """PostgreSQL gives every event back character by character, and reads kind, person and reason from it."""
    told = [journal.written(event) for event in batch]
    statement = text(
        "SELECT j.body::text AS body, j.body ->> 'kind' AS kind, j.body ->> 'who' AS who, j.body ->> 'why' AS why "
        "FROM unnest(CAST(:bodies AS text[])) WITH ORDINALITY AS b (body, n), "
        "LATERAL (SELECT CAST(b.body AS json) AS body) j ORDER BY b.n"
    )
    rows = await database.rows(statement, bodies=[body for _, body in told])
    assert [row["body"] for row in rows] == [body for _, body in told]
    assert [(row["kind"], row["who"], row["why"]) for row in rows] == [(e.kind, e.who, e.why) for e, _ in told]
    assert journal.read(row["body"] for row in rows) == tuple(event for event, _ in told)


def test_what_cannot_be_read_is_not_written() -> None:
    """An event that could not be read back is refused before it gets into a journal for ever."""
    event = samples.requested().model_copy(update={"at": "yesterday"})
    with pytest.raises(ValidationError), pytest.warns(UserWarning, match="serialized value"):
        journal.written(event)
