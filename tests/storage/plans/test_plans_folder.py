"""A folder of plans: what is found, what is refused, and what never becomes a path."""

from __future__ import annotations

import os
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest

from bot.domain.errors import PlanInvalidError, PlanUnavailableError
from bot.domain.inventory import Inventory
from bot.domain.plan import StepCatalogue
from bot.domain.ports import PlanSummary
from storage.plans import PlanFolder


@pytest.fixture
def plans(folder: Path, catalogue: StepCatalogue, inventory: Inventory) -> PlanFolder:
    """The folder with the sound plan."""
    return PlanFolder(folder, catalogue=catalogue, inventory=inventory)


def lines(caught: pytest.ExceptionInfo[PlanInvalidError]) -> tuple[str, ...]:
    """Return the problems' lines, each without the folder."""
    return tuple(problem.rpartition("/")[2] for problem in caught.value.problems)


def take_away(folder: Path) -> None:
    """Let the folder be gone."""
    folder.rename(folder.with_name("elsewhere"))


async def test_a_plan_is_found_by_its_change(plans: PlanFolder, folder: Path, sound: str) -> None:
    """Both suffixes are plans, and the file name is the change."""
    assert (await plans.find("CHG0012345")).change == "CHG0012345"
    (folder / "CHG0000007.yml").write_text(sound.replace("CHG0012345", "CHG0000007"))
    assert (await plans.find("CHG0000007")).change == "CHG0000007"


async def test_a_change_without_a_plan_is_escalated(plans: PlanFolder) -> None:
    """No plan: nothing runs, the change manager is named, and so is the nearest plan that exists."""
    with pytest.raises(PlanUnavailableError) as caught:
        await plans.find("CHG0012354")
    assert str(caught.value) == (
        "There is no rollback plan for CHG0012354. Nothing was run: without a documented plan there is no "
        "rollback. Escalate to the change manager. Of the plans that exist: did you mean 'CHG0012345'?"
    )


@pytest.mark.parametrize(
    "typed",
    [
        "../CHG0012345",
        "CHG0012345/../../etc/passwd",
        "/etc/passwd",
        "CHG0012345.yaml",
        "CHG0012345\n",
        "CHG0012345\0",
        "chg0012345",
        "CHG\u0661\u0662\u0663\u0664",
        "",
        "CHG" + "1" * 5000,
    ],
)
async def test_what_is_typed_never_becomes_a_path(typed: str, plans: PlanFolder, folder: Path) -> None:
    """Only a change's number is looked for; anything else is refused in a short line before any file is touched."""
    take_away(folder)
    with pytest.raises(PlanUnavailableError, match="is not the number of a change") as caught:
        await plans.find(typed)
    assert len(str(caught.value)) < 200


async def test_a_wrong_plan_names_its_file(plans: PlanFolder, folder: Path, sound: str) -> None:
    """The error counts the problems and lists each with the file."""
    (folder / "CHG0012345.yaml").write_text(sound.replace("window: 30m", "window: 30").replace("title:", "titel:"))
    with pytest.raises(
        PlanInvalidError, match=r"The rollback plan .*/plans/CHG0012345.yaml has 3 problems."
    ) as caught:
        await plans.find("CHG0012345")
    assert (
        lines(caught)[2] == "CHG0012345.yaml:8:9 window: '30' is not a duration — write it like 90s, 25m or 1h 30m"
    )
    assert all(problem.startswith(str(folder)) for problem in caught.value.problems)


async def test_the_plan_inside_must_be_the_one_outside(plans: PlanFolder, folder: Path) -> None:
    """A copied file that still holds the other change's plan is refused."""
    (folder / "CHG0012345.yaml").rename(folder / "CHG0099999.yaml")
    with pytest.raises(PlanInvalidError) as caught:
        await plans.find("CHG0099999")
    told = "change: the file is named after CHG0099999, but the plan is for CHG0012345 — make the two equal"
    assert lines(caught) == (f"CHG0099999.yaml:2:9 {told}",)


async def test_the_name_is_exact_to_the_letter(plans: PlanFolder, folder: Path) -> None:
    """A file in another case is not taken, on no file system, but it is named."""
    (folder / "CHG0012345.yaml").rename(folder / "chg0012345.yaml")
    with pytest.raises(PlanUnavailableError, match=r"chg0012345\.yaml must be named CHG0012345\.yaml"):
        await plans.find("CHG0012345")


async def test_two_plans_for_a_change_are_no_plan(plans: PlanFolder, folder: Path, sound: str) -> None:
    """With both suffixes nobody knows which one was reviewed, so neither runs."""
    (folder / "CHG0012345.yml").write_text(sound)
    with pytest.raises(PlanUnavailableError, match=r"two rollback plans for CHG0012345: .*yaml and .*yml"):
        await plans.find("CHG0012345")


async def test_a_link_leads_nowhere_outside(plans: PlanFolder, folder: Path, sound: str) -> None:
    """A link within the folder is followed, one out of it is refused without being read."""
    outside = folder.parent / "secret.yaml"
    outside.write_text(sound)
    (folder / "CHG0012345.yaml").unlink()
    (folder / "CHG0012345.yaml").symlink_to(outside)
    with pytest.raises(PlanInvalidError) as caught:
        await plans.find("CHG0012345")
    assert lines(caught) == (
        "CHG0012345.yaml:1:1: the file is a link out of the plan folder — put the plan itself there",
    )
    outside.rename(folder / "reviewed.yaml")
    (folder / "CHG0012345.yaml").unlink()
    (folder / "CHG0012345.yaml").symlink_to("reviewed.yaml")
    assert (await plans.find("CHG0012345")).change == "CHG0012345"


@pytest.mark.parametrize(
    ("make", "line"),
    [
        (Path.mkdir, "it is no regular file — put a text file there"),
        (os.mkfifo, "it is no regular file — put a text file there"),
        (lambda path: path.write_bytes(b"#" * 1048577), "it is larger than 1 MiB — a few kilobytes are enough"),
        (lambda path: path.write_bytes(b"a: 1\nb: \xff\n"), "line 2 is not UTF-8 text — save it as UTF-8"),
    ],
    ids=["folder", "pipe", "large", "latin"],
)
async def test_what_is_no_text_file_is_told(
    make: Callable[[Path], object], line: str, plans: PlanFolder, folder: Path
) -> None:
    """A folder, a pipe, a huge file and one that is no UTF-8 are one line each; none of them blocks."""
    (folder / "CHG0012345.yaml").unlink()
    make(folder / "CHG0012345.yaml")
    with pytest.raises(PlanInvalidError) as caught:
        await plans.find("CHG0012345")
    assert lines(caught) == (f"CHG0012345.yaml:1:1: {line}",)


async def test_a_plan_is_read_again_when_it_changed(plans: PlanFolder, folder: Path, sound: str) -> None:
    """The same file is the same value, a changed one is read anew."""
    first = await plans.find("CHG0012345")
    assert await plans.find("CHG0012345") is first
    (folder / "CHG0012345.yaml").write_text(sound.replace("window: 30m", "window: 45m"))
    assert (await plans.find("CHG0012345")).digest() != first.digest()


async def test_a_missing_folder_is_told(plans: PlanFolder, folder: Path) -> None:
    """Without the checkout the error names the folder."""
    take_away(folder)
    with pytest.raises(PlanUnavailableError, match=r"/plans, cannot be read: No such file or directory"):
        await plans.find("CHG0012345")
    with pytest.raises(PlanUnavailableError):
        await plans.list()


async def test_an_empty_folder_is_told(plans: PlanFolder, folder: Path) -> None:
    """Where there are no plans at all, no nearest one is named."""
    (folder / "CHG0012345.yaml").unlink()
    with pytest.raises(PlanUnavailableError, match="holds no plans at all"):
        await plans.find("CHG0012345")


async def test_the_list_hides_nothing(plans: PlanFolder, folder: Path, sound: str) -> None:
    """Every plan is listed, wrong and misnamed ones as such; other files are none of its business."""
    (folder / "README.md").write_text("plans")
    (folder / "inventory.yaml").write_text("{}")
    (folder / "CHG0000001.yaml").write_text("title: [")
    (folder / "chg77.yaml").write_text(sound)
    good, broken, misnamed = sorted(await plans.list(), key=lambda each: (not each.valid, each.change))
    assert good == PlanSummary(
        change="CHG0012345",
        title="Payment service v2.4.0 deployment",
        service="payments",
        deployed_at=datetime(2024, 1, 15, 15, 20, tzinfo=UTC),
        file=str(folder / "CHG0012345.yaml"),
        valid=True,
    )
    assert (broken.change, broken.valid, len(broken.problems)) == ("CHG0000001", False, 1)
    assert misnamed.problems == (
        f"{folder}/chg77.yaml:1:1: the file is not named like a change — name it like CHG0012345.yaml",
    )
