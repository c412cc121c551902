"""Inventory and policy as files, with errors as good as a plan's."""

from __future__ import annotations

from pathlib import Path
from typing import TypeVar

from bot.domain.authority import Policy
from bot.domain.errors import RollbackError
from bot.domain.inventory import Inventory, Model
from storage.problems import PlanProblem, located, validate
from storage.text_files import FileProblemError, read_text
from storage.yaml_marks import load

_Model = TypeVar("_Model", bound=Model)


class FileInvalidError(RollbackError):
    """A file of the bot's settings cannot be used.

    Args:
        brief: What happened.
        resolution: What to do next.
        problems: Every problem found, one line each, with file, line, path and suggestion.
    """

    def __init__(self, brief: str, *, resolution: str, problems: tuple[str, ...] = ()) -> None:
        super().__init__(brief, untouched="Nothing was changed.", resolution=resolution)
        self.problems = problems


class InventoryInvalidError(FileInvalidError):
    """The inventory of targets cannot be used."""


class PolicyInvalidError(FileInvalidError):
    """The policy of authority cannot be used."""


def read_inventory(path: Path) -> Inventory:
    """Read the inventory.

    Raises:
        InventoryInvalidError: With every problem found.
    """
    return _read(path, Inventory, "inventory", InventoryInvalidError)


def read_policy(path: Path) -> Policy:
    """Read the policy.

    Raises:
        PolicyInvalidError: With every problem found.
    """
    return _read(path, Policy, "policy", PolicyInvalidError)


def _read(path: Path, model: type[_Model], what: str, failure: type[FileInvalidError]) -> _Model:
    try:
        text = read_text(path.resolve())
    except (OSError, FileProblemError) as error:
        raise failure(
            f"The {what} {path} cannot be read: {getattr(error, 'strerror', None) or error}.",
            resolution="Correct the file or the setting that names it, and start the bot again.",
        ) from error
    document = load(text)
    problems: tuple[PlanProblem, ...]
    value: _Model | None = None
    if document.data is None and document.faults:
        problems = located([], document, file=str(path))
    else:
        value, findings = validate(model, document, missing=lambda _path: None)
        problems = located(findings, document, file=str(path))
    if value is None or problems:
        count = "1 problem" if len(problems) == 1 else f"{len(problems)} problems"
        raise failure(
            f"The {what} {path} has {count}.",
            resolution="Correct the file and start the bot again.",
            problems=tuple(map(str, problems)),
        )
    return value
