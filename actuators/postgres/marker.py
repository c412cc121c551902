"""The names and the marks by which a rollback knows its own databases again.

The mark is the database's comment: it lies on the server, is visible to every administrator, survives the bot, and
is written in the same transaction as a rename.
"""

from __future__ import annotations

import hashlib
import re
from datetime import UTC, datetime
from typing import Literal

from pydantic import ValidationError

from bot.domain.inventory import Model
from bot.domain.times import Moment, utc_minute, utc_second

_LONGEST = 63
"""Bytes of a name; https://www.postgresql.org/docs/current/sql-syntax-lexical.html#SQL-SYNTAX-IDENTIFIERS"""


class Marker(Model):
    """What a restored database says of itself.

    Attributes:
        rollback: The run that made it.
        step: The step that restored it.
        state: ``restoring`` until every check has passed, ``live`` once it has taken the service's name.
        attempt: Random; tells one attempt's database from another's of the same name.
        backup: The backup's id in the plan.
        sha256: The digest of the backup's file; None for a folder.
        location: The file, where another one than the plan's backup was restored.
        taken_at: When that other file was taken.
        target_time: The moment that a base backup was recovered to; `sha256` is that of its manifest then.
        comment: The comment that the live database had.
        swap: The step that swapped it in.
        replaced: The name under which the failed database is kept.
    """

    rollback: str
    step: str
    state: Literal["restoring", "restored", "live"]
    attempt: str
    backup: str
    sha256: str | None = None
    location: str | None = None
    taken_at: Moment | None = None
    target_time: Moment | None = None
    comment: str | None = None
    swap: str | None = None
    replaced: str | None = None

    def source(self) -> str:
        """Return what was restored, in words: the plan's backup, or the file that took its place."""
        if self.target_time is not None:
            return f"base backup {self.backup} as of {utc_second(self.target_time)}"
        if self.location is None or self.taken_at is None:
            return f"backup {self.backup}"
        return f"{self.location} of {utc_minute(self.taken_at)} (in place of backup {self.backup})"


def read_marker(comment: str | None) -> Marker | None:
    """Return the mark that a comment holds, None if it holds another text."""
    try:
        return Marker.model_validate_json(comment or "")
    except ValidationError:
        return None


def own_comment(comment: str | None) -> str | None:
    """Return what people wrote as the database's comment, be it inside the mark of an earlier rollback."""
    marker = read_marker(comment)
    return comment if marker is None else marker.comment


def beside_name(dbname: str, rollback_id: str) -> str:
    """Return the name of the database that a backup is restored into; the same for the whole run."""
    return _fitting(dbname, f"_rb_{_plain(rollback_id)}")


def failed_name(dbname: str, rollback_id: str, *, at: datetime) -> str:
    """Return the name under which the failed database is kept."""
    return _fitting(dbname, f"_failed_{at.astimezone(UTC):%Y%m%d_%H%M}_{_plain(rollback_id)}")


def _plain(rollback_id: str) -> str:
    plain = re.sub(r"[^a-z0-9]+", "_", rollback_id.lower()).strip("_")
    return plain.removeprefix("rb_")


def _fitting(dbname: str, suffix: str) -> str:
    """Shorten the front rather than the suffix, which makes the name unique; a digest stands for what was cut."""
    name = dbname + suffix
    if len(name) <= _LONGEST:
        return name
    digest = hashlib.sha256(name.encode()).hexdigest()[:8]
    room = _LONGEST - len(digest) - 1
    suffix = suffix[-room:]
    return f"{dbname[: room - len(suffix)]}{suffix}_{digest}"
