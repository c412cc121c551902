"""Segments of WAL by their names: which one holds a position, which ones lack, and how they are told."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from actuators.postgres import recovery_host
from actuators.postgres.base_backup import Findings, judge
from actuators.postgres.marker import Marker
from actuators.postgres.steps import Pitr as PitrStep
from actuators.postgres.wal import Segment, holding, missing, named, read_name
from bot.domain.errors import ActuatorError
from bot.domain.inventory import Pitr
from bot.domain.plan import Backup
from tests.support.actuation import make_context, make_plan

FOLDERS = {"base_backups": "/backups/base", "archive": "/backups/wal", "scratch": "/var/lib/recovery"}
BACKUP = Backup(id="base", kind="database", target="db", location="/backups/base/1", taken_at="2024-01-15 14:00")
FOUND = {
    "base": "ok",
    "user": "recovery",
    "digest": "0" * 64,
    "ended": "2024-01-15 14:00:03 GMT",
    "size": "1000",
    "label": "1",
    "tablespaces": "0",
    "form": "plain",
    "system": "7",
    "range": '"Timeline": 1, "Start-LSN": "0/2000028", "End-LSN": "0/2000120"',
}


@pytest.mark.parametrize(
    ("lsn", "size", "name"),
    [
        ("0/2000028", 16 << 20, "000000030000000000000002"),
        ("1/FF000000", 16 << 20, "0000000300000001000000FF"),
        ("2/0", 16 << 20, "000000030000000200000000"),
        ("0/C0000000", 1 << 30, "000000030000000000000003"),
    ],
)
def test_a_position_has_its_segment(lsn: str, size: int, name: str) -> None:
    """The segment that holds a position has the name that the server gives it, whatever the segments' size."""
    segment = holding(lsn, 3, size)
    assert segment.name(size) == name
    assert read_name(name, size) == segment


@pytest.mark.parametrize("name", ["00000002.history", "000000010000000000000002.partial", "x", ""])
def test_other_files_are_no_segments(name: str) -> None:
    """History files, partial segments and anything else in an archive are left out."""
    assert read_name(name) is None


@pytest.mark.parametrize(
    ("there", "until", "lacks"),
    [
        ({2: 10.0, 3: 20.0, 4: 30.0}, 25.0, ()),
        ({2: 10.0, 4: 30.0}, 25.0, (3,)),
        ({3: 20.0}, 25.0, (2,)),
        ({2: 10.0, 3: 30.0, 5: 40.0}, 25.0, ()),
        ({2: 10.0, 3: 20.0}, 25.0, ()),
        ({}, 25.0, (2,)),
        ({1: 5.0}, 25.0, (2,)),
    ],
)
def test_only_a_gap_before_the_moment_counts(there: dict[int, float], until: float, lacks: tuple[int, ...]) -> None:
    """Segments lack that lie between the first one and the one that holds the moment, or the newest one."""
    assert missing(Segment(1, 2), there, until=until) == lacks


def test_many_missing_segments_are_told_by_the_first_ones() -> None:
    """Three names and a number, however many lack."""
    assert named((2, 3), 1) == "000000010000000000000002, 000000010000000000000003"
    assert named(tuple(range(2, 12)), 1).endswith("000000010000000000000004 and 7 more")


@pytest.mark.parametrize(
    ("facts", "words"),
    [
        ({"base": "denied"}, "may not be read: permission denied at /backups/base/1"),
        ({"form": "base.tar.rar"}, "has neither PG_VERSION nor base.tar"),
        ({"label": "0"}, "has a manifest without backup_label"),
        ({"range": ""}, "has a manifest without backup_label, times or WAL range"),
        ({"tablespaces": "3"}, "holds tablespaces of its own"),
        ({"wrong": "pg_verifybackup: error: x"}, "is damaged: pg_verifybackup: error: x"),
    ],
)
def test_what_is_no_base_backup_is_refused(facts: dict[str, str], words: str) -> None:
    """Each reason has words of its own, and says what to do."""
    with pytest.raises(ActuatorError) as caught:
        judge(BACKUP, Findings({**FOUND, **facts}, (), ()))
    assert words in caught.value.brief
    assert caught.value.resolution


def test_a_sound_base_backup_is_read() -> None:
    """The moment that it ended at and the place where recovery begins are those of its manifest."""
    base = judge(BACKUP, Findings(FOUND, (), ()))
    assert base.ended.isoformat() == "2024-01-15T14:00:03+00:00"
    assert base.first(16 << 20).name() == "000000010000000000000002"


@pytest.mark.parametrize(
    "fields",
    [
        {"archive": None},
        {"restore_command": "cp /x/%f %p"},
        {"scratch": "/" + "x" * 60},
        {"archive": "/with blanks"},
        {"archive": "/with'quotes"},
        {"archive": None, "restore_command": "cp /x/%f %p\nport = 1"},
    ],
)
def test_a_section_that_cannot_work_is_no_section(fields: dict[str, Any]) -> None:
    """One source of WAL, a short scratch folder, and nothing that could end a setting of PostgreSQL."""
    with pytest.raises(ValidationError):
        Pitr.model_validate({**FOLDERS, **fields})


async def test_a_run_folder_too_long_for_a_socket_is_refused() -> None:
    """The path of a socket has an end; it is told before anything is made."""
    step = PitrStep(id="recover", target="db", backup="base", target_time="2024-01-15 15:00")
    target = {"service": "s", "host": "h", "dbname": "db", "user": "u", "backups": "/b"}
    pitr = {**FOLDERS, "scratch": "/" + "x" * 59}
    inventory = {"databases": {"db": {**target, "pitr": pitr}}}
    context = make_context(make_plan(step), inventory, rollback_id=f"rb-{'4' * 40}")
    with pytest.raises(ActuatorError, match="too long a path"):
        async with recovery_host.recovery_host(step, context.inventory.databases["db"], context):
            pytest.fail("it is too long")


def test_the_mark_says_which_moment_came_back() -> None:
    """Whoever looks at the database's comment sees base backup and moment."""
    mark = Marker(
        rollback="rb-1",
        step="recover",
        state="restored",
        attempt="a",
        backup="base",
        target_time="2024-01-15 15:19:30",
    )
    assert mark.source() == "base backup base as of 2024-01-15 15:19:30 UTC"
