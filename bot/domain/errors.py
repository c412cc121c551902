"""Errors that an operator reads.

Every error says what happened, what was left untouched and what to do next, so that whoever shows it
(chat, command line, log) needs no knowledge of its origin.
"""

from __future__ import annotations


class RollbackError(Exception):
    """Something an operator must be told.

    Args:
        brief: What happened, one sentence.
        untouched: What was left as it was.
        resolution: What to do next.
    """

    def __init__(self, brief: str, *, untouched: str = "", resolution: str = "") -> None:
        super().__init__(brief)
        self.brief = brief
        self.untouched = untouched
        self.resolution = resolution

    def __str__(self) -> str:
        return " ".join(part for part in (self.brief, self.untouched, self.resolution) if part)


class ActuatorError(RollbackError):
    """An actuator tried to act and could not.

    Args:
        brief: What happened.
        untouched: What was left as it was.
        resolution: What to do next.
        transient: Whether the same call may succeed later without anybody's help.
        output: The last lines of the tool's output, already redacted.
    """

    def __init__(
        self,
        brief: str,
        *,
        untouched: str = "",
        resolution: str = "",
        transient: bool = False,
        output: str = "",
    ) -> None:
        super().__init__(brief, untouched=untouched, resolution=resolution)
        self.transient = transient
        self.output = output


class PlanUnavailableError(RollbackError):
    """There is no rollback plan for the change: nothing may run, and the change manager is told."""


class PlanInvalidError(RollbackError):
    """The plan exists but does not say what a plan must say.

    Args:
        brief: What happened.
        problems: Every problem found, one line each, with file, line, path and suggestion.
    """

    def __init__(self, brief: str, *, problems: tuple[str, ...]) -> None:
        super().__init__(
            brief,
            untouched="Nothing was run.",
            resolution="Correct the plan, run `rollback plan check FILE`, and ask again.",
        )
        self.problems = problems


class RefusedError(RollbackError):
    """The request is understood and refused: wrong state, wrong person, stale button, locked target."""


class UnknownServiceError(RefusedError):
    """No target of the inventory belongs to a service of that name."""


class LeaseLostError(Exception):
    """Another worker holds the run now: this one may write nothing more and must stop its actuators."""


class StoreUnavailableError(Exception):
    """The store cannot be reached at the moment. The caller waits and tries again; nothing is lost."""
