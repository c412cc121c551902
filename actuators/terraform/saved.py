"""Plans that wait for approval, in their runs' closed folders on the worker, and what becomes of those folders.

A saved plan holds secrets in the clear. Its folder stays only if a note in it says what was shown; it goes
when the step has succeeded, and at the latest with the first run after `KEPT_FOR`.
"""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from itertools import islice
from pathlib import Path
from typing import Any

from actuators.terraform import places
from actuators.terraform.changes import Manifest, read_manifest
from actuators.terraform.preview import preview
from actuators.terraform.steps import StackStep
from actuators.terraform.values import Summary
from bot.domain.actuation import Context

PLAN = "saved.tfplan"
"""The plan in a run's folder."""
KEPT_FOR = timedelta(days=1)
"""How long a folder may lie there. An approval that comes later costs a new plan, which must be equal."""
_NOTE = "shown.json"
_MOST_SWEPT = 100
"""Folders that one run takes away, so that none is late for it."""


@dataclass(frozen=True)
class SavedPlan:
    """A plan in a file of the run's folder.

    Attributes:
        file: The file; it may hold secrets.
        sha256: Its digest.
        summary: What it would do, counted.
        manifest: What it would do, by digests.
        document: What it would do, with all values; they may be secret.
        changes: Whether it would do anything at all, be it to outputs alone.
    """

    file: Path
    sha256: str
    summary: Summary
    manifest: Manifest
    document: dict[str, Any] = field(repr=False)
    changes: bool = True

    def preview(self, *, secrets: tuple[str, ...] = ()) -> list[str]:
        """Return each resource with the attributes that change, nothing secret among them."""
        return preview(self.document, secrets=secrets)


@dataclass(frozen=True)
class Kept:
    """A plan that was shown to people.

    Attributes:
        folder: Its run's folder, with the code that it was made in.
        manifest: What it would do.
        seal: The digest of that.
        sha256: The digest of its file.
    """

    folder: Path
    manifest: Manifest
    seal: str
    sha256: str

    def intact(self) -> bool:
        """Return whether the file is there as it was."""
        try:
            return places.digest((self.folder / PLAN).read_bytes()) == self.sha256
        except OSError:
            return False

    def spend(self) -> None:
        """Remove the file, which Terraform would refuse from now on; what it would have done is still known."""
        (self.folder / PLAN).unlink(missing_ok=True)


def runs_of(step: StackStep, context: Context) -> Path:
    """Return the folder of the stack's runs.

    Raises:
        ActuatorError: If it cannot be made.
    """
    return places.private_folder(Path(places.stack_of(step, context).folder) / "runs")


def keep(folder: Path, context: Context, *, manifest: Manifest, seal: str, sha256: str) -> None:
    """Let a run's folder stay, with the plan in it, until it is applied or too old.

    Raises:
        ActuatorError: If that cannot be noted.
    """
    note = {
        "rollback": context.rollback_id, "seal": seal, "sha256": sha256, "manifest": manifest.document(),
    }  # fmt: skip
    places.write(folder / _NOTE, json.dumps(note).encode())


def find(step: StackStep, context: Context, seal: str) -> Kept | None:
    """Return the plan of this rollback that has the seal, if it waits on this worker."""
    mine = (kept for kept in _noted(step, context) if kept.seal == seal)
    # The note lies beside the plan: it counts only if it is what the approval binds to.
    return next((kept for kept in mine if kept.manifest.seal() == seal), None)


def leave(folder: Path, *, module: Path) -> None:
    """End a run: its folder goes, unless its plan is kept; then all goes that can be had again.

    Args:
        folder: The run's folder.
        module: The folder of the root module in it.
    """
    if not (folder / _NOTE).exists():
        shutil.rmtree(folder, ignore_errors=True)
    elif (folder / PLAN).exists():
        shutil.rmtree(module / ".terraform" / "providers", ignore_errors=True)
    else:
        shutil.rmtree(folder / "code", ignore_errors=True)


def forget(step: StackStep, context: Context) -> None:
    """Remove every plan of this rollback for the stack."""
    for kept in _noted(step, context):
        shutil.rmtree(kept.folder, ignore_errors=True)


def forget_step(step: StackStep, context: Context, *, noted: bool) -> None:
    """Remove what earlier looks and attempts of this step have left.

    Args:
        step: The step.
        context: The run.
        noted: Whether plans that were shown go as well, or only what a killed worker has left.
    """
    for folder in runs_of(step, context).glob(f"{context.token(step)}.*"):
        # A step's name may go on with a dot, the random end has none.
        own = folder.name.rpartition(".")[0] == context.token(step)
        if own:
            # A killed worker's tool may have left a state there that its backend did not take.
            places.rescue(folder / "code" / places.stack_of(step, context).path, step, context)
        if own and (noted or not (folder / _NOTE).exists()):
            shutil.rmtree(folder, ignore_errors=True)


def sweep(runs: Path, *, now: datetime) -> None:
    """Remove folders that have lain too long, of whichever rollback: nobody tells of those that were rejected."""
    old = (folder for folder in runs.iterdir() if _age(folder, now) > KEPT_FOR)
    for folder in islice(old, _MOST_SWEPT):
        shutil.rmtree(folder, ignore_errors=True)


def _age(folder: Path, now: datetime) -> timedelta:
    try:
        return now - datetime.fromtimestamp(folder.stat().st_mtime, tz=now.tzinfo)
    except FileNotFoundError:
        return timedelta(0)


def _noted(step: StackStep, context: Context) -> list[Kept]:
    found = []
    for file in sorted(runs_of(step, context).glob(f"*/{_NOTE}")):
        try:
            note = json.loads(file.read_bytes())
            kept = Kept(file.parent, read_manifest(note["manifest"]), note["seal"], note["sha256"])
            mine = (note["rollback"], kept.manifest.target) == (context.rollback_id, step.target)
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            # Written in part, or by another version: as good as none.
            continue
        if mine:
            found.append(kept)
    return found
