"""Names, marks, tables of contents and statements, as plain values."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from pydantic import ValidationError

from actuators.postgres.beside import creation
from actuators.postgres.catalog import DatabaseState, bytes_in_words, quoted
from actuators.postgres.marker import Marker, beside_name, failed_name, own_comment, read_marker
from actuators.postgres.properties import Setting, split_names
from actuators.postgres.steps import Drain, Restore, Verify
from actuators.postgres.tools import major, read_contents

AT = datetime(2024, 1, 15, 15, 47, tzinfo=UTC)

LISTING = """;
; Archive created at 2024-01-15 14:30:00 UTC
;     dbname: payments
;     TOC Entries: 9
;     Format: CUSTOM
;     Dumped by pg_dump version: 16.4 (Debian 16.4-1)
;
2; 3079 16390 EXTENSION - hstore\x20
215; 1259 16386 TABLE public users payments owner
216; 1259 16387 TABLE public logs gone
2565; 0 16389 TABLE DATA public users payments owner
"""


def test_names_say_what_the_databases_are() -> None:
    """The copy bears the run's number, the failed database the date as well."""
    assert beside_name("payments", "rb-0004") == "payments_rb_0004"
    assert failed_name("payments", "rb-0004", at=AT) == "payments_failed_20240115_1547_0004"


@given(
    first=st.from_regex(r"\A[A-Za-z_][A-Za-z0-9_$-]{0,40}\Z"),
    second=st.from_regex(r"\A[A-Za-z_][A-Za-z0-9_$-]{0,40}\Z"),
    run=st.from_regex(r"\A[a-z]{2}-[0-9a-z-]{1,80}\Z"),
)
@example(first="p" * 41, second="p" * 40 + "q", run="rb-" + "7" * 60)
@example(first="p" * 41, second="p" * 40, run="rb-0004")
def test_names_fit_and_stay_apart(first: str, second: str, run: str) -> None:
    """No name is cut by the server, and two databases never get one name."""
    for name in (beside_name(first, run), failed_name(first, run, at=AT)):
        assert len(name.encode()) <= 63
        assert name not in {first, second}
    assert (beside_name(first, run) == beside_name(second, run)) is (first == second)


def test_marks_are_read_back_and_other_comments_are_none() -> None:
    """A mark survives its way through a comment; what people write is no mark."""
    marker = Marker(rollback="rb-1", step="restore", state="restored", attempt="a", backup="b", comment="cards")
    text = marker.model_dump_json(exclude_none=True)
    assert read_marker(text) == marker
    assert own_comment(text) == "cards"
    for comment in (None, "", "card payments", '{"owner": "team-cards"}', "[]"):
        assert read_marker(comment) is None
        assert own_comment(comment) == comment


def test_contents_are_read() -> None:
    """Format, version, hidden entries and owners come out of a listing, be there blanks in a name or none."""
    contents = read_contents(LISTING)
    assert (contents.format, contents.dumped_by_major, contents.total) == ("CUSTOM", 16, 9)
    assert len(contents.entries) == 4
    assert contents.owners(frozenset({"payments owner", "owner"})) == {"payments owner", "gone"}


def test_versions_are_compared_by_their_major_number() -> None:
    """Packagers add words to a version, and an unknown one is none."""
    assert [major(text) for text in ("18.6", "16.4 (Debian 16.4-1)", "17beta1", "")] == [18, 16, 17, 0]


@pytest.mark.parametrize(
    ("stored", "names"),
    [
        ('"$user", public', ["$user", "public"]),
        ("public", ["public"]),
        ('"odd ""name""",pg_temp', ['odd "name"', "pg_temp"]),
        ("", []),
    ],
)
def test_lists_of_names_are_split(stored: str, names: list[str]) -> None:
    """A stored list is split as the server would, so that it is not set as one odd name."""
    assert split_names(stored) == names


def test_settings_become_statements() -> None:
    """Each setting is made for the database or for the role in it, with its value quoted."""
    assert Setting(None, "search_path", '"$user", public').statement("p").as_string() == (
        "ALTER DATABASE \"p\" SET \"search_path\" TO '$user', 'public'"
    )
    assert Setting("app", "audit.level", "it's").statement("p").as_string() == (
        'ALTER ROLE "app" IN DATABASE "p" SET "audit"."level" TO \'it\'\'s\''
    )
    assert Setting(None, "search_path", "").statement("p").as_string().endswith("TO ''")


def state(**columns: Any) -> DatabaseState:
    """Return a database with these columns."""
    return DatabaseState("payments", 5, "own er", "UTF8", columns.pop("tablespace", "pg_default"), None, columns)


@pytest.mark.parametrize(
    ("database", "words"),
    [
        (state(datcollate="C", datctype="C"), "ENCODING 'UTF8' LC_COLLATE 'C' LC_CTYPE 'C'"),
        (
            state(datcollate="C", datctype="C", datlocprovider="i", daticulocale="aa", tablespace="fast"),
            "ENCODING 'UTF8' LOCALE_PROVIDER 'icu' LC_COLLATE 'C' LC_CTYPE 'C' ICU_LOCALE 'aa' TABLESPACE \"fast\"",
        ),
        (
            state(datcollate="C", datctype="C", datlocprovider="b", datlocale="C.UTF-8"),
            "ENCODING 'UTF8' LOCALE_PROVIDER 'builtin' LC_COLLATE 'C' LC_CTYPE 'C' BUILTIN_LOCALE 'C.UTF-8'",
        ),
        (
            state(datcollate="C", datctype="C", datlocprovider="i", datlocale="und", daticurules="&a < b"),
            "ENCODING 'UTF8' LOCALE_PROVIDER 'icu' LC_COLLATE 'C' LC_CTYPE 'C' ICU_LOCALE 'und' ICU_RULES '&a < b'",
        ),
    ],
)
def test_the_copy_has_the_locale_of_the_original(database: DatabaseState, words: str) -> None:
    """Whatever the server's version calls it, provider, locale and place of the live database are asked for."""
    text = creation(database, "copy").as_string()
    assert text == f'CREATE DATABASE "copy" OWNER "own er" TEMPLATE template0 {words}'


async def test_builtin_provider_is_taken_by_a_real_server(payments: Any) -> None:
    """A live database of another locale provider gets a copy of the same one."""
    from actuators import postgres  # noqa: PLC0415 - the values above need no actuator
    from bot.domain.actuation import Registry  # noqa: PLC0415

    payments.server.execute(
        "DROP DATABASE payments",
        "CREATE DATABASE payments OWNER payments_owner TEMPLATE template0 LOCALE_PROVIDER builtin"
        " BUILTIN_LOCALE 'C.UTF-8'",
    )
    step = Restore(id="restore", target="payments-db", backup="db-before")
    await Registry(*postgres.register()).actuator(step).apply(step, payments.context(step))
    rows = payments.server.execute(
        "SELECT datlocprovider, datlocale, datcollate, datctype FROM pg_database"
        " WHERE datname LIKE 'payments%' ORDER BY datname"
    )
    assert rows[0] == rows[1]


def test_words_for_people() -> None:
    """Sizes are short, names are quoted only where SQL needs it, and steps have words of their own."""
    assert [bytes_in_words(count) for count in (512, 8_123_456, 3e12)] == ["512 B", "8.1 MB", "3.0 TB"]
    assert [quoted(name) for name in ("app", "Rollback", 'a"b')] == ["app", '"Rollback"', '"a""b"']
    step = Restore(id="r", target="payments-db", backup="db-before")
    assert step.words() == "Restore backup db-before beside database payments-db"
    assert step.backup_ids() == ("db-before",)
    assert Drain(id="d", target="t", title="Empty it").words() == "Empty it"


def test_parameters_are_checked() -> None:
    """A wrong parameter or an unknown field is refused when the plan is read."""
    for wrong in ({"tolerance": 2}, {"tolerance": -0.1}, {"tables": ["users"]}):
        with pytest.raises(ValidationError):
            Verify.model_validate({"id": "v", "kind": "postgres.verify", "target": "t", **wrong})
