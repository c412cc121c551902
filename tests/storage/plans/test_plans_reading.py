"""Plans as text: every error at once, with its place and what to write instead."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml

from bot.domain.errors import PlanInvalidError
from bot.domain.inventory import Inventory
from bot.domain.plan import Criticality, Plan, StepCatalogue
from storage.plan_reading import check_text, read_plan

FILE = "plans/CHG0012345.yaml"
CASES = yaml.safe_load(Path(__file__).with_name("bad_plans.yaml").read_text())
Change = tuple[str, str]


def altered(text: str, *changes: Change) -> str:
    """Replace each first text by its second, once."""
    for old, new in changes:
        assert text.count(old) >= 1, old
        text = text.replace(old, new, 1)
    return text


def without(text: str, first: str, following: str) -> str:
    """Cut a part of the plan out."""
    end = text.index(following) if following else len(text)
    return text[: text.index(first)] + text[end:]


def problems(text: str, catalogue: StepCatalogue, inventory: Inventory) -> list[str]:
    """Return what is wrong with a text, without the file's name."""
    with pytest.raises(PlanInvalidError) as caught:
        read_plan(text, file=FILE, catalogue=catalogue, inventory=inventory)
    assert all(problem.startswith(f"{FILE}:") for problem in caught.value.problems)
    return [problem.removeprefix(f"{FILE}:") for problem in caught.value.problems]


def test_a_sound_plan_is_read(sound: str, catalogue: StepCatalogue, inventory: Inventory) -> None:
    """A plan without a fault becomes values: times in UTC, durations, steps of their own types."""
    plan = read_plan(sound, file=FILE, catalogue=catalogue, inventory=inventory)
    assert isinstance(plan, Plan)
    assert plan.deployed_at == datetime(2024, 1, 15, 15, 20, tzinfo=UTC)
    assert plan.expected() == timedelta(minutes=20)
    assert plan.criticality is Criticality.HIGH
    assert [type(step).__name__ for step in plan.steps()] == [
        "StopStep",
        "RestoreStep",
        "HealthStep",
        "BaselineStep",
    ]


def test_layout_and_comments_do_not_change_the_digest(
    sound: str, catalogue: StepCatalogue, inventory: Inventory
) -> None:
    """An approval binds to what the plan says, not to how its file is laid out."""
    text = "# reviewed\n" + altered(
        sound, ("window: 30m", 'window:   "30m"  # half an hour'), ("CHG", "'CHG"), ("2345", "2345'")
    )
    first = read_plan(sound, file=FILE, catalogue=catalogue, inventory=inventory)
    second = read_plan(text, file=FILE, catalogue=catalogue, inventory=inventory)
    assert first.digest() == second.digest()


@pytest.mark.parametrize("case", CASES["plans"], ids=lambda case: case["wrong"])
def test_every_error_has_its_place_and_a_way_out(
    case: dict[str, Any], sound: str, catalogue: StepCatalogue, inventory: Inventory
) -> None:
    """Each wrong plan gives exactly these lines."""
    changes = [(change["from"], change["to"]) for change in case["change"]]
    assert problems(altered(sound, *changes), catalogue, inventory) == case["problems"]


@pytest.mark.parametrize("case", CASES["parts"], ids=lambda case: case["cut_from"].strip())
def test_each_of_the_five_demanded_parts_is_named(
    case: dict[str, str], sound: str, catalogue: StepCatalogue, inventory: Inventory
) -> None:
    """A plan that lacks one of the specification's five parts is told which, whether it is left out or empty."""
    at = sound.index(case["cut_from"])
    rest = without(sound, case["cut_from"], case["cut_to"])
    assert problems(rest[:at] + case["put"] + rest[at:], catalogue, inventory) == [case["problem"]]


@pytest.mark.parametrize("case", CASES["yaml"], ids=lambda case: repr(case["text"])[:30])
def test_what_is_no_sound_yaml_is_refused(
    case: dict[str, str], catalogue: StepCatalogue, inventory: Inventory
) -> None:
    """Broken and dangerous YAML gives one line with its place, and runs nothing."""
    assert problems(case["text"], catalogue, inventory) == [case["problem"]]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("[" * 2000, "1:25: the document is nested deeper than 24 levels — write it flatter"),
        ("#" * (1024 * 1024 + 1), "1:1: the file is larger than 1 MiB — a few kilobytes are enough"),
        ("a: [" + "&x 1, " + "*x, " * 101 + "]\n", "1:411: more than 100 aliases — write the values out"),
    ],
    ids=["deep", "large", "aliases"],
)
def test_what_knows_no_bounds_is_refused(
    text: str, expected: str, catalogue: StepCatalogue, inventory: Inventory
) -> None:
    """Depth, size and aliases have limits, and going beyond them is one line."""
    assert problems(text, catalogue, inventory) == [expected]


def test_a_document_that_grows_by_aliases_is_refused(catalogue: StepCatalogue, inventory: Inventory) -> None:
    """Nine times nine aliases of aliases stop before they fill the memory."""
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]" for i in range(1, 9)]
    found = problems("\n".join(lines), catalogue, inventory)
    assert len(found) == 1
    assert "the document grows too large by its aliases" in found[0]


def test_aliases_within_reason_are_fine(sound: str, catalogue: StepCatalogue, inventory: Inventory) -> None:
    """A value may be written once and named again."""
    text = altered(sound, ("window: 30m", "window: &half 30m"), ("after: 4h", "after: *half"))
    plan = read_plan(text, file=FILE, catalogue=catalogue, inventory=inventory)
    assert plan.point_of_no_return.after == plan.window


def test_merge_keys_and_odd_keys_are_told(sound: str, catalogue: StepCatalogue, inventory: Inventory) -> None:
    """What YAML would merge in silently, or take as a key of another type, stands in the list of problems."""
    text = sound + "<<: {window: 1h}\n? [a]\n: b\n"
    assert problems(text, catalogue, inventory) == [
        "41:1 <<: merge keys (<<) are not allowed — write the fields out",
        "42:3: a key must be plain text — write `name: value`",
    ]


def test_words_of_yaml_11_stay_words(sound: str, catalogue: StepCatalogue, inventory: Inventory) -> None:
    """Text like ``no``, ``12:30:00`` or a date is text where text is wanted."""
    for word in ("no", "on", "12:30:00", "2024-01-15", "0x10", "1_000", "=", ".inf"):
        text = altered(sound, ("title: Payment service v2.4.0 deployment", f"title: {word}"))
        assert read_plan(text, file=FILE, catalogue=catalogue, inventory=inventory).title == word


def test_a_draft_may_have_any_name(sound: str, catalogue: StepCatalogue, inventory: Inventory) -> None:
    """A file that is not named like a change may hold the plan of any change."""
    assert read_plan(sound, file="draft.yaml", catalogue=catalogue, inventory=inventory).change == "CHG0012345"


def test_a_catalogue_of_one_step_names_it(sound: str, catalogue: StepCatalogue, inventory: Inventory) -> None:
    """With a single known step there is no union, and the messages stay the same."""
    only = {"servers.stop": catalogue["servers.stop"]}
    _, found = check_text(sound, file=FILE, catalogue=only, inventory=inventory)
    assert (
        str(found[0])
        == f"{FILE}:30:15 phases[1].steps[0].kind: unknown kind 'postgres.restore' — known: servers.stop"
    )
