"""Read a rollback plan: form first, then the rules, with every problem at once."""

from __future__ import annotations

import contextlib
import copy
import functools
import re
from collections.abc import Iterator, Mapping
from pathlib import PurePath
from typing import Any

from pydantic import ValidationError

from bot.domain.errors import PlanInvalidError
from bot.domain.inventory import Inventory
from bot.domain.plan import Plan, Step, StepCatalogue, plan_model
from bot.domain.plan_rules import Path, check_plan
from storage.problems import Finding, PlanProblem, located, validate
from storage.yaml_marks import Document, load

CHANGE = re.compile(r"CHG[0-9]{4,12}")
"""A change's number as it may become a file name: plain digits only."""

_FIVE = {
    "backups": "pre-deployment backups with their identifiers and locations",
    "phases": "the exact steps of the rollback, in phases",
    "expected": "the expected duration of each phase",
    "verification": "the verification criteria that confirm a successful rollback",
    "communication": "the communication requirements and escalation contacts",
}
_HELP = {
    "api": "add `api: rollback/v1`",
    "change": "add the change's number, for example `change: CHG0012345`",
    "title": "say in a few words what was changed",
    "service": "name the service that was changed",
    "criticality": "write low, medium, high or critical",
    "versions": "name the deployed and the restored version",
    "deployed_at": "write when the change went live, for example 2024-01-15 15:20 UTC",
    "window": "write the time permitted for the rollback, for example 30m",
    "point_of_no_return": "say after which time (`after:`) and why (`reason:`) a rollback is no longer possible",
    "bridge": "give the address of the incident bridge (`url:`)",
    "metrics": "name the inventory target whose metrics show the impact",
    "baseline": "give `error_rate` and `p95` as measured before the deployment",
    "target": "name a target of the inventory",
    "kind": "say what the step does, as actuator.verb",
    "id": "give it a name of its own within the plan",
    "location": "say where it lies on the target's machines",
    "taken_at": "write when it was taken, for example 2024-01-15 14:30 UTC",
    "user": "write the person's Slack id, like U024BE7LH",
}
_SURE = {"target", "id", "kind", "metrics", "taken_at"}
# What a rule says about these holds although other parts of the plan could not be read.
_FILLERS: dict[str, Any] = {
    "api": "rollback/v1",
    "change": "CHG0000",
    "title": "-",
    "service": "-",
    "criticality": "low",
    "versions": {"deployed": "-", "restored": "-"},
    "deployed_at": "9999-01-01T00:00:00Z",
    "window": "365d",
    "point_of_no_return": {"after": "1h", "reason": "-"},
    "bridge": {"url": "https://-"},
    "metrics": "-",
    "baseline": {"error_rate": 0, "p95": "0s"},
    "communication": {"escalation": [{"role": "-", "user": "U00"}]},
    "verification": {"expected": "0s", "steps": []},
    "backups": [
        {"id": "-", "kind": "database", "target": "-", "location": "-", "taken_at": "2000-01-01T00:00:00Z"}
    ],
    "review_after_days": 2,
}


def read_plan(text: str, *, file: str, catalogue: StepCatalogue, inventory: Inventory) -> Plan:
    """Read a plan and check it against the steps that are known and the inventory.

    Args:
        text: The YAML.
        file: Its name, for messages. If it is named like a change, the plan must be that change's.
        catalogue: The known steps by kind, at least one.
        inventory: The known targets.

    Raises:
        PlanInvalidError: With every problem found, each with file, line, column, path and a suggestion.
    """
    plan, problems = check_text(text, file=file, catalogue=catalogue, inventory=inventory)
    if plan is None:
        raise invalid(file, problems)
    return plan


def check_text(
    text: str, *, file: str, catalogue: StepCatalogue, inventory: Inventory
) -> tuple[Plan | None, tuple[PlanProblem, ...]]:
    """Do what `read_plan` does, but return the problems as values.

    Returns:
        The plan and no problem, or no plan and at least one.
    """
    document = load(text)
    if document.data is None and document.faults:
        return None, located([], document, file=file)
    model = _model(tuple(sorted(catalogue.items())))
    plan, findings = validate(model, document, missing=_missing)
    findings += _misnamed(document, file=file)
    if plan:
        findings += [Finding(p.path, p.message, p.suggestion) for p in check_plan(plan, inventory)]
    elif isinstance(document.data, dict):
        findings += _rules_of_the_rest(model, document, findings, inventory=inventory)
    problems = located(findings, document, file=file)
    return (None if problems else plan), problems


@functools.lru_cache(maxsize=8)
def _model(steps: tuple[tuple[str, type[Step]], ...]) -> type[Plan]:
    return plan_model(dict(steps))


def invalid(file: str, problems: tuple[PlanProblem, ...]) -> PlanInvalidError:
    """Return the error for a plan with these problems."""
    count = "1 problem" if len(problems) == 1 else f"{len(problems)} problems"
    return PlanInvalidError(f"The rollback plan {file} has {count}.", problems=tuple(map(str, problems)))


def _missing(path: Path) -> tuple[str, str] | None:
    name = str(path[-1]) if path else ""
    part = _FIVE.get(name) if len(path) == 1 else None
    if name == "expected" and (path[0] == "verification" or (path[0] == "phases" and len(path) == 3)):  # noqa: PLR2004 - phases, index, expected
        part = _FIVE[name]
    if len(path) > 1 and name == "steps":
        part = _FIVE["phases" if path[0] == "phases" else "verification"]
    if len(path) > 1 and name == "escalation":
        part = _FIVE["communication"]
    if part:
        return f"one of the five parts that every plan must have is missing: {part}", f"add `{name}:`"
    return (f"the field {name!r} is missing", _HELP[name]) if name in _HELP else None


def _misnamed(document: Document, *, file: str) -> Iterator[Finding]:
    named = PurePath(file).stem
    inside = document.data.get("change") if isinstance(document.data, dict) else None
    if CHANGE.fullmatch(named) and isinstance(inside, str) and CHANGE.fullmatch(inside) and inside != named:
        yield Finding(
            ("change",), f"the file is named after {named}, but the plan is for {inside}", "make the two equal"
        )


def _rules_of_the_rest(
    model: type[Plan], document: Document, findings: list[Finding], *, inventory: Inventory
) -> Iterator[Finding]:
    """Yield what the rules say about the parts that could be read, so that nobody corrects a plan twice.

    Wrong steps and backups are left out, other wrong fields are filled in; only what the rules then say about
    readable parts counts.
    """
    data, origin = _readable(document.data, findings)
    try:
        plan = model.model_validate(data)
    except ValidationError:
        return
    wrong = {finding.path for finding in findings}
    sure = _SURE if any(path[:1] == ("backups",) for path in wrong) else _SURE | {"backup"}
    for problem in check_plan(plan, inventory):
        path = origin(problem.path)
        if problem.path[-1] in sure and path and path not in wrong and path[:1] not in wrong:
            yield Finding(path, problem.message, problem.suggestion)


class _Origin:
    """Finds in the written document what stands at a path of the reduced one."""

    def __init__(self, kept: Mapping[Path, list[int]], filled: set[str]) -> None:
        self._kept = kept
        self._filled = filled

    def __call__(self, path: Path) -> Path | None:
        if path[0] in self._filled:
            return None
        result: list[str | int] = []
        for part in path:
            indexes = self._kept.get(tuple(result))
            result.append(indexes[part] if indexes is not None and isinstance(part, int) else part)
        return tuple(result)


def _readable(written: dict[str, Any], findings: list[Finding]) -> tuple[dict[str, Any], _Origin]:
    data = copy.deepcopy(written)
    kept: dict[Path, list[int]] = {}
    filled: set[str] = set()
    # A field that is unknown does no harm to the others beside it, so only it is left out.
    bad = {finding.path for finding in findings if finding.kind != "extra_forbidden"}
    for path in sorted((f.path for f in findings if f.kind == "extra_forbidden"), key=len, reverse=True):
        _remove(data, path)
    _drop_steps(data, ("verification",), bad, kept)
    phases = data.get("phases")
    for p, phase in enumerate(phases if isinstance(phases, list) else []):
        _drop_steps(phase, ("phases", p), bad, kept)
        if isinstance(phase, dict) and not phase.get("steps"):
            bad.add(("phases", p, "nothing left"))
    _drop_items(data, "phases", (), bad, kept)
    _drop_items(data, "backups", (), bad, kept)
    rest = {path for path in bad if not any(path[: len(base)] == base for base in kept)}
    for name, filler in _FILLERS.items():
        if any(path[:1] == (name,) for path in rest) or not data.get(name):
            data[name] = filler
            filled.add(name)
    return data, _Origin(kept, filled)


def _drop_steps(holder: Any, base: Path, bad: set[Path], kept: dict[Path, list[int]]) -> None:
    if base == ("verification",):
        holder = holder.get("verification")
    if isinstance(holder, dict):
        if (*base, "expected") in bad:
            holder["expected"] = "0s"
            bad.discard((*base, "expected"))
        _drop_items(holder, "steps", base, bad, kept)


def _drop_items(holder: dict[str, Any], name: str, base: Path, bad: set[Path], kept: dict[Path, list[int]]) -> None:
    """Leave out the items of a list in which something is wrong, and remember which ones stay."""
    items = holder.get(name)
    here = (*base, name)
    if not isinstance(items, list):
        return
    below = {path for path in bad if path[: len(here)] == here and len(path) > len(here)}
    inside = {base for base in kept if len(base) > len(here)}
    wrong = {path[len(here)] for path in below if not any(path[: len(base)] == base for base in inside)}
    kept[here] = [i for i in range(len(items)) if i not in wrong]
    holder[name] = [items[i] for i in kept[here]]


def _remove(data: Any, path: Path) -> None:
    with contextlib.suppress(KeyError, IndexError, TypeError):
        for part in path[:-1]:
            data = data[part]
        del data[path[-1]]
