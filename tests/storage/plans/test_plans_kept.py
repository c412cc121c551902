"""How much of a folder of plans is kept in memory."""

from __future__ import annotations

from pathlib import Path

import pytest

from bot.domain.inventory import Inventory
from bot.domain.plan import StepCatalogue
from storage import plans as storage_plans
from storage.plans import PlanFolder

COUNT = storage_plans._KEPT + 10


@pytest.fixture
def changes(folder: Path, sound: str) -> list[str]:
    """More sound plans than are kept."""
    found = [f"CHG{number:07d}" for number in range(1, COUNT + 1)]
    for change in found:
        (folder / f"{change}.yaml").write_text(sound.replace("CHG0012345", change))
    return found


@pytest.fixture
def reading(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the files that are read, in that order."""
    read: list[str] = []

    def noting(path: Path) -> str:
        read.append(path.stem)
        return path.read_text(encoding="utf-8")

    monkeypatch.setattr(storage_plans, "read_text", noting)
    return read


async def test_a_folder_keeps_few_plans(
    folder: Path, catalogue: StepCatalogue, inventory: Inventory, changes: list[str], reading: list[str]
) -> None:
    """Of the plans of years only the latest are kept; an older one is read again when it is asked for."""
    plans = PlanFolder(folder, catalogue=catalogue, inventory=inventory)
    for change in changes:
        await plans.find(change)
    assert sum(read.plan is not None for read in plans._known.values()) == storage_plans._KEPT
    reading.clear()
    assert (await plans.find(changes[-1])).change == changes[-1]
    assert reading == []
    assert (await plans.find(changes[0])).change == changes[0]
    assert reading == [changes[0]]


async def test_a_list_reads_every_file_once(
    folder: Path, catalogue: StepCatalogue, inventory: Inventory, changes: list[str], reading: list[str]
) -> None:
    """The list of a large folder shows every plan, and reads no file again that did not change."""
    plans = PlanFolder(folder, catalogue=catalogue, inventory=inventory)
    first = await plans.list()
    assert {plan.change for plan in first if plan.valid} == {*changes, "CHG0012345"}
    reading.clear()
    assert await plans.list() == first
    assert reading == []
