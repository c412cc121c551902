"""Plans that went wrong in every way that editing makes likely."""

from __future__ import annotations

import copy
import re
from typing import Any

import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from bot.domain.errors import PlanInvalidError
from bot.domain.inventory import Inventory
from bot.domain.plan import Plan, StepCatalogue
from storage.plan_reading import read_plan

_LINE = re.compile(r"CHG0012345\.yaml:(\d+):(\d+)( [^:]|:)")
_ODD: list[Any] = [None, True, 0, -1, 3.5, "", "x", "CHG1", "2024-01-15", [], ["x"], [[]], {}, {"x": {"kind": "y"}}]
_ODD += ["a" * 5000, 10**30, "2024-99-99 10:00 UTC", "-5m", "99999999999999d", {"kind": ["servers.stop"]}, "é\0"]
_NAMES = ["kind", "id", "<<", "servers.stop", "1", "expected", "null"]
_TYPED = ["\t", "&a", "*a", "<<: ", "!!int ", "\n---\n", "'", '"\\', "{", "%T", "\x00", "? ", "|", ">-", "\ud800"]


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Return the path of everything below a value."""
    children = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [found for key, child in children for found in ((*path, key), *places(child, (*path, key)))]


def mutate(document: Any, draw: st.DataObject) -> None:
    """Delete, replace, rename or double one part of the document."""
    known = places(document)
    if not known:
        return
    *base, key = draw.draw(st.sampled_from(known))
    holder = document
    for part in base:
        holder = holder[part]
    act = draw.draw(st.sampled_from(["delete", "replace", "rename"]))
    if act == "delete":
        del holder[key]
    elif act == "replace":
        holder[key] = copy.deepcopy(draw.draw(st.sampled_from(_ODD)))
    elif isinstance(holder, dict):
        name = draw.draw(st.sampled_from([f"{key}x", str(key)[1:] or "y", *_NAMES]))
        holder[name] = holder.pop(key)
    else:
        holder.append(copy.deepcopy(holder[key]))


def check(text: str, catalogue: StepCatalogue, inventory: Inventory) -> None:
    """Read the text: a plan, or problems that lie within the file."""
    problems: tuple[str, ...] | None = None
    try:
        plan = read_plan(text, file="CHG0012345.yaml", catalogue=catalogue, inventory=inventory)
    except PlanInvalidError as error:
        problems = error.problems
    if problems is None:
        assert isinstance(plan, Plan)
        return
    assert problems
    for problem in problems:
        found = _LINE.match(problem)
        assert found, problem
        assert 1 <= int(found[1]) <= len(text.splitlines()) + 1, problem
        assert int(found[2]) >= 1
        assert len(problem) < 1500, problem


@settings(max_examples=200, deadline=None)
@given(draw=st.data(), count=st.integers(1, 4))
def test_a_mutated_plan_is_a_plan_or_a_list_of_problems(
    *, draw: st.DataObject, count: int, sound: str, catalogue: StepCatalogue, inventory: Inventory
) -> None:
    """Whatever is deleted, renamed or given another type: a plan, or problems with lines, never another error."""
    document = yaml.safe_load(sound)
    for _ in range(count):
        mutate(document, draw)
    check(yaml.safe_dump(document, allow_unicode=draw.draw(st.booleans())), catalogue, inventory)


@settings(max_examples=200, deadline=None)
@given(
    at=st.integers(0, 1300),
    length=st.integers(0, 40),
    typed=st.one_of(st.text(max_size=12), st.sampled_from(_TYPED)),
)
def test_damaged_text_is_a_plan_or_a_list_of_problems(
    *, at: int, length: int, typed: str, sound: str, catalogue: StepCatalogue, inventory: Inventory
) -> None:
    """Whatever is typed over a part of the file: a plan, or problems with lines, never another error."""
    check(sound[:at] + typed + sound[at + length :], catalogue, inventory)
