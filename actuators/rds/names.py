"""The names and the tags by which a rollback knows its own instances and snapshots again.

The tags lie in AWS, are visible to every administrator, survive the bot, and follow an instance when it is renamed.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

from bot.domain.actuation import Context

PREFIX = "rollback:"
MOST_TAGS = 50
"""https://docs.aws.amazon.com/AmazonRDS/latest/UserGuide/USER_Tagging.html"""
MOMENT = "moment"
"""Where a copy comes from that is no snapshot."""

_LONGEST_INSTANCE = 63
_LONGEST_SNAPSHOT = 255
_LONGEST_VALUE = 256
_FORBIDDEN = re.compile(r"[^\w .:/=+@-]+")
"""What a value must not hold: https://docs.aws.amazon.com/AmazonRDS/latest/APIReference/API_Tag.html"""

Tags = Mapping[str, str]


@dataclass(frozen=True)
class Mark:
    """What an instance or a snapshot that a rollback made says of itself.

    Attributes:
        run: The rollback.
        change: The change that it reverts: two bots on one account count their runs alike.
        step: The step that made it.
        source: The resource id of the instance that it was made of; it never changes.
        origin: ``moment``, or the identifier of the snapshot that was restored.
        data: The moment whose data it holds.
    """

    run: str
    change: str
    step: str
    source: str
    origin: str
    data: datetime

    def words(self) -> str:
        """Return what it holds, for people."""
        moment = f"{self.data:%Y-%m-%d %H:%M:%S} UTC"
        return moment if self.origin == MOMENT else f"snapshot {self.origin} of {moment}"

    def of(self, context: Context) -> bool:
        """Return whether a run made it."""
        return (self.run, self.change) == (context.rollback_id, context.plan.change)

    def tags(self, *, why: str) -> dict[str, str]:
        """Return the tags.

        Args:
            why: The reason of the rollback.
        """
        values = {
            "run": self.run,
            "change": self.change,
            "step": self.step,
            "source": self.source,
            "origin": self.origin,
            "data": f"{self.data.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}",
            "why": why,
        }
        return {f"{PREFIX}{key}": _value(value) for key, value in values.items() if value}


def read_mark(tags: Tags) -> Mark | None:
    """Return the mark that tags make, None if they make none."""
    found = {key.removeprefix(PREFIX): value for key, value in tags.items() if key.startswith(PREFIX)}
    try:
        data = datetime.strptime(found["data"], "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC)
        return Mark(found["run"], found["change"], found["step"], found["source"], found["origin"], data)
    except (KeyError, ValueError):
        return None


def of_people(tags: Tags) -> dict[str, str]:
    """Return the tags that are neither AWS's own, which nobody can set, nor those of an earlier rollback."""
    return {key: value for key, value in tags.items() if not key.startswith(("aws:", PREFIX))}


def as_list(tags: Tags) -> list[dict[str, str]]:
    """Return tags as AWS takes them."""
    return [{"Key": key, "Value": value} for key, value in tags.items()]


def from_list(tags: Iterable[Mapping[str, str]]) -> dict[str, str]:
    """Return tags as AWS tells them."""
    return {tag["Key"]: tag.get("Value", "") for tag in tags}


def copy_name(instance: str, rollback_id: str) -> str:
    """Return the identifier of the instance that is restored beside; the same for the whole run."""
    return _fitting(instance, f"-rb-{_plain(rollback_id)}", longest=_LONGEST_INSTANCE)


def failed_name(instance: str, rollback_id: str, *, at: datetime) -> str:
    """Return the identifier under which the failed instance is kept."""
    suffix = f"-failed-{at.astimezone(UTC):%Y%m%d-%H%M}-{_plain(rollback_id)}"
    return _fitting(instance, suffix, longest=_LONGEST_INSTANCE)


def snapshot_name(instance: str, rollback_id: str, step_id: str) -> str:
    """Return the identifier of the safety snapshot; the same for each attempt of the step."""
    suffix = f"-pre-rollback-{_plain(rollback_id)}-{_dashed(step_id)}"
    return _fitting(instance, suffix, longest=_LONGEST_SNAPSHOT)


def _value(text: str) -> str:
    return " ".join(_FORBIDDEN.sub(" ", text).split())[:_LONGEST_VALUE].strip()


def _dashed(text: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")


def _plain(rollback_id: str) -> str:
    return _dashed(rollback_id).removeprefix("rb-")


def _fitting(instance: str, suffix: str, *, longest: int) -> str:
    """Shorten the front rather than the suffix, which makes the name unique; a digest stands for what was cut."""
    name = instance + suffix
    if len(name) <= longest:
        return name
    digest = hashlib.sha256(name.encode()).hexdigest()[:8]
    room = longest - len(digest) - 1
    suffix = suffix[-room:]
    kept = instance[: room - len(suffix)].rstrip("-")
    return f"{kept or 'd'}-{digest}-{suffix.lstrip('-')}"[:longest].rstrip("-")
