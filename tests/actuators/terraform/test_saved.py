"""Plans that wait on the worker: found only as they were shown, and taken away when nobody needs them."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest

from actuators.terraform import TerraformApply, saved
from actuators.terraform.changes import Manifest, manifest_of
from actuators.terraform.places import digest
from actuators.terraform.steps import Expect
from bot.domain.actuation import Context
from tests.support.actuation import START, make_context, make_plan

STEP = TerraformApply(id="infra", target="infra", commit="a" * 40, expect=Expect(add=1, change=0, destroy=0))
PLAN = b"a plan"


@pytest.fixture
def context(tmp_path: Path) -> Context:
    """A run on a stack that is never contacted."""
    stack = {"service": "payments", "repository": "/nowhere", "folder": str(tmp_path / "bot")}
    return make_context(make_plan(STEP), {"stacks": {"infra": stack, "other": stack}})


def manifest(target: str = "infra") -> Manifest:
    """Return what a plan would do."""
    change = {"actions": ["create"], "after": {"x": 1}, "after_unknown": {"id": True}}
    return manifest_of({"resource_changes": [{"address": "a.b", "change": change}]}, target=target, commit="a" * 40)


def kept(context: Context, name: str = "rb-0004-infra.abc", *, target: str = "infra") -> tuple[Path, str]:
    """Let a plan wait, and return its folder and its seal."""
    folder = saved.runs_of(STEP, context) / name
    (folder / "code" / ".terraform" / "providers").mkdir(parents=True)
    (folder / saved.PLAN).write_bytes(PLAN)
    shown, seal = manifest(target), manifest(target).seal()
    saved.keep(folder, context, manifest=shown, seal=seal, sha256=digest(PLAN))
    return folder, seal


def test_a_plan_is_found_by_its_seal(context: Context) -> None:
    """It is that of this rollback and this stack, as it was shown, and readable by the bot alone."""
    folder, seal = kept(context)
    found = saved.find(STEP, context, seal)
    assert found == saved.Kept(folder, manifest(), seal, digest(PLAN))
    assert found.intact()
    assert (folder / "shown.json").stat().st_mode & 0o777 == 0o600
    assert saved.find(STEP, context, "0" * 64) is None
    assert saved.find(STEP.model_copy(update={"target": "other"}), context, seal) is None
    elsewhere = make_context(context.plan, context.inventory.model_dump(), rollback_id="rb-0005")
    assert saved.find(STEP, elsewhere, seal) is None


@pytest.mark.parametrize("data", [b"another plan", None])
def test_a_changed_file_is_not_intact(context: Context, data: bytes | None) -> None:
    """Neither another file nor a missing one is the plan; what it would have done is still known."""
    folder, seal = kept(context)
    found = saved.find(STEP, context, seal)
    assert found is not None
    if data is None:
        found.spend()
    else:
        (folder / saved.PLAN).write_bytes(data)
    assert not found.intact()
    assert saved.find(STEP, context, seal) == found


def _otherwise(text: str) -> str:
    note = json.loads(text)
    note["manifest"]["changes"]["a.b"]["actions"] = ["delete"]
    return json.dumps(note)


@pytest.mark.parametrize(
    "spoil", [_otherwise, lambda text: text[:40], lambda _: "[]", lambda _: '{"manifest": {"changes": []}}']
)
def test_a_note_that_says_otherwise_is_none(context: Context, spoil: Callable[[str], str]) -> None:
    """What lies beside the plan counts only if the seal belongs to it."""
    folder, seal = kept(context)
    note = folder / "shown.json"
    note.write_text(spoil(note.read_text()))
    assert saved.find(STEP, context, seal) is None


def test_a_run_leaves_only_what_was_shown(context: Context) -> None:
    """Providers can be had again, and so can the code when the plan is spent; what was not shown goes at once."""
    folder, seal = kept(context)
    module = folder / "code"
    saved.leave(folder, module=module)
    assert (module.is_dir(), (module / ".terraform" / "providers").exists()) == (True, False)
    found = saved.find(STEP, context, seal)
    assert found is not None
    found.spend()
    saved.leave(folder, module=module)
    assert [file.name for file in folder.iterdir()] == ["shown.json"]
    other = folder.with_name("rb-0004-infra.def")
    other.mkdir()
    saved.leave(other, module=other)
    assert not other.exists()


def test_success_takes_every_plan_of_the_rollback_for_the_stack_away(context: Context) -> None:
    """Those of remedies go with it; those for another stack stay."""
    mine, remedy = kept(context)[0], kept(context, "rb-0004-remedy.apply.1.2.abc")[0]
    other = kept(context, "rb-0004-else.abc", target="other")[0]
    saved.forget(STEP, context)
    assert (mine.exists(), remedy.exists(), other.exists()) == (False, False, True)


@pytest.mark.parametrize("noted", [True, False])
def test_a_step_takes_away_its_own_folders_only(context: Context, *, noted: bool) -> None:
    """An attempt removes what a killed worker left, a new check also what was shown; similar names are others."""
    shown, killed = kept(context)[0], saved.runs_of(STEP, context) / "rb-0004-infra.killed"
    similar = killed.with_name("rb-0004-infra.second.abc")
    for folder in (killed, similar):
        folder.mkdir()
    saved.forget_step(STEP, context, noted=noted)
    assert (shown.exists(), killed.exists(), similar.exists()) == (not noted, False, True)


def test_what_has_lain_for_a_day_is_taken_away(context: Context) -> None:
    """Nobody tells of a rollback that was rejected: whoever comes next clears up, so many folders at a time."""
    runs = saved.runs_of(STEP, context)
    for number in range(103):
        age = timedelta(hours=23 if number == 0 else 25)
        (runs / f"rb-{number}").mkdir()
        os.utime(runs / f"rb-{number}", ((START - age).timestamp(),) * 2)
    saved.sweep(runs, now=START)
    assert len(list(runs.iterdir())) == 3
    (runs / "gone").symlink_to("nowhere")
    saved.sweep(runs, now=START)
    assert sorted(file.name for file in runs.iterdir()) == ["gone", "rb-0"]
