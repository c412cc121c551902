"""Plans as files: a folder, usually a checkout of a git repository, with one YAML file a change."""

from __future__ import annotations

import asyncio
import dataclasses
import os
import stat
import threading
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from bot.domain.errors import PlanUnavailableError
from bot.domain.inventory import Inventory
from bot.domain.plan import Plan, StepCatalogue
from bot.domain.plan_rules import closest
from bot.domain.ports import PlanSummary
from storage.plan_reading import CHANGE, check_text, invalid, read_plan
from storage.plan_schema import plan_schema
from storage.problems import PlanProblem
from storage.settings_files import read_inventory, read_policy
from storage.text_files import FileProblemError, read_text

__all__ = ["PlanFolder", "PlanProblem", "plan_schema", "read_inventory", "read_plan", "read_policy"]

_SUFFIXES = (".yaml", ".yml")
_NEVER = datetime.min.replace(tzinfo=UTC)
_Stamp = tuple[int, int, int, int]
_KEPT = 64
"""Plans that are kept as they were read, some 20 kB each; a folder may hold the plans of years."""


@dataclass(frozen=True)
class _Read:
    """What a file was read as: a plan or problems.

    Attributes:
        stamp: Tells whether the file has changed since.
        plan: The plan; None if there are problems, or if it is not kept.
        problems: What is wrong with it.
        about: Title, service and time of deployment of a sound plan; kept for the list.
    """

    stamp: _Stamp
    plan: Plan | None
    problems: tuple[PlanProblem, ...]
    about: tuple[str, str, datetime] | None = None

    @property
    def forgotten(self) -> bool:
        """Whether it was a plan that is not kept."""
        return self.plan is None and self.about is not None


class PlanFolder:
    """The plans of a folder. A file that did not change is read once; plans that were read long ago, again.

    Args:
        folder: Holds ``<change>.yaml`` files. It may appear later, and change at any time.
        catalogue: The known steps by kind.
        inventory: The known targets.
    """

    def __init__(self, folder: Path, *, catalogue: StepCatalogue, inventory: Inventory) -> None:
        self._folder = folder
        self._catalogue = catalogue
        self._inventory = inventory
        self._known: dict[str, _Read] = {}
        self._kept: dict[str, None] = {}
        self._changing = threading.Lock()

    async def find(self, change: str) -> Plan:
        """Return the plan of a change.

        Args:
            change: What somebody typed; it is checked before it is compared with any file's name.

        Raises:
            PlanUnavailableError: If there is no such plan.
            PlanInvalidError: If the plan is not valid; with every problem.
        """
        return await asyncio.to_thread(self._find, change)

    async def list(self) -> tuple[PlanSummary, ...]:
        """Return every plan, the newest deployment first, those that are not valid last.

        Raises:
            PlanUnavailableError: If the folder cannot be read.
        """
        return await asyncio.to_thread(self._list)

    def _find(self, change: str) -> Plan:
        if not CHANGE.fullmatch(change):
            raise PlanUnavailableError(
                f"{change[:40]!r} is not the number of a change.",
                untouched="Nothing was run.",
                resolution="Write it like CHG0012345.",
            )
        names = self._names()
        found = [name for name in names if name in {change + suffix for suffix in _SUFFIXES}]
        if not found:
            raise self._unknown(change, names)
        if len(found) > 1:
            raise PlanUnavailableError(
                f"There are two rollback plans for {change}: {' and '.join(sorted(found))}.",
                untouched="Nothing was run.",
                resolution=f"Remove one of them from {self._folder}.",
            )
        read = self._read(found[0], whole=True)
        if read.plan is None:
            raise invalid(self._shown(found[0]), read.problems)
        return read.plan

    def _unknown(self, change: str, names: tuple[str, ...]) -> PlanUnavailableError:
        changes = {Path(name).stem for name in names}
        close = [name for name in names if Path(name).stem.casefold() == change.casefold()]
        if close:
            hint = f"The file {close[0]} must be named {change}.yaml, with the same letters."
        elif changes:
            hint = f"Of the plans that exist: {closest(change, changes)}"
        else:
            hint = f"{self._folder} holds no plans at all."
        return PlanUnavailableError(
            f"There is no rollback plan for {change}.",
            untouched="Nothing was run: without a documented plan there is no rollback.",
            resolution=f"Escalate to the change manager. {hint}",
        )

    def _list(self) -> tuple[PlanSummary, ...]:
        names = self._names()
        with self._changing:
            self._known = {name: read for name, read in self._known.items() if name in names}
        found = [self._summary(name, names) for name in names]
        return tuple(sorted(found, key=lambda plan: plan.deployed_at or _NEVER, reverse=True))

    def _summary(self, name: str, names: tuple[str, ...]) -> PlanSummary:
        change = Path(name).stem
        file = self._shown(name)
        problem = ""
        if not CHANGE.fullmatch(change):
            problem = f"{file}:1:1: the file is not named like a change — name it like CHG0012345.yaml"
        elif sum(Path(other).stem == change for other in names) > 1:
            problem = f"{file}:1:1: there are two files for {change} — remove one of them"
        if problem:
            return PlanSummary(change, "", "", None, valid=False, file=file, problems=(problem,))
        try:
            read = self._read(name)
        except PlanUnavailableError as error:
            return PlanSummary(
                change, "", "", None, valid=False, file=file, problems=(f"{file}:1:1: {error.brief}",)
            )
        if read.about is None:
            return PlanSummary(
                change, "", "", None, valid=False, file=file, problems=tuple(map(str, read.problems))
            )
        return PlanSummary(change, *read.about, valid=True, file=file)

    def _names(self) -> tuple[str, ...]:
        """Return the names of the plans' files as the folder spells them, whatever case the file system folds."""
        try:
            with os.scandir(self._folder) as entries:
                names = [entry.name for entry in entries]
        except OSError as error:
            raise PlanUnavailableError(
                f"The folder of the rollback plans, {self._folder}, cannot be read: {error.strerror}.",
                untouched="Nothing was run.",
                resolution="Check the setting of the plan folder and the checkout in it.",
            ) from error
        return tuple(
            sorted(n for n in names if n.casefold().startswith("chg") and n.casefold().endswith(_SUFFIXES))
        )

    def _read(self, name: str, *, whole: bool = False) -> _Read:
        """Return what a file says.

        Args:
            name: The file's name.
            whole: Whether the plan itself is wanted.
        """
        file = self._shown(name)
        try:
            path = self._inside(name)
            stamp = _stamp(path)
            known = self._known.get(name)
            if known and known.stamp == stamp and not (whole and known.forgotten):
                return known
            text = read_text(path)
        except FileProblemError as error:
            # Not kept: a link's target may change without a trace in what was looked at.
            return _Read((0, 0, 0, 0), None, (PlanProblem(file, 1, 1, "", str(error), error.suggestion),))
        except OSError as error:
            raise PlanUnavailableError(
                f"The rollback plan {file} cannot be read: {error.strerror or error}.",
                untouched="Nothing was run.",
                resolution="Escalate to the change manager, and correct the file's rights in the plan folder.",
            ) from error
        plan, problems = check_text(text, file=file, catalogue=self._catalogue, inventory=self._inventory)
        about = (plan.title, plan.service, plan.deployed_at) if plan else None
        read = _Read(stamp, plan, problems, about)
        self._keep(name, read)
        return read

    def _keep(self, name: str, read: _Read) -> None:
        """Keep what was read; of the plan that was read longest ago only what the list shows."""
        with self._changing:
            self._known[name] = read
            self._kept.pop(name, None)
            self._kept[name] = None
            if len(self._kept) > _KEPT:
                oldest = next(iter(self._kept))
                del self._kept[oldest]
                if oldest in self._known:
                    self._known[oldest] = dataclasses.replace(self._known[oldest], plan=None)

    def _inside(self, name: str) -> Path:
        """Return the real file; a link may point to another file of the folder, never out of it."""
        folder = self._folder.resolve()
        path = (folder / name).resolve()
        if not path.is_relative_to(folder):
            raise FileProblemError("the file is a link out of the plan folder", "put the plan itself there")
        return path

    def _shown(self, name: str) -> str:
        return str(self._folder / name)


def _stamp(path: Path) -> _Stamp:
    seen = path.stat(follow_symlinks=False)
    if not stat.S_ISREG(seen.st_mode):
        raise FileProblemError("it is no regular file", "put a text file there")
    return seen.st_ino, seen.st_size, seen.st_mtime_ns, seen.st_ctime_ns
