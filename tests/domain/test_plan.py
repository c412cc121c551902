"""The rollback plan as a value."""

import hashlib
import json
from collections.abc import Iterator
from datetime import timedelta
from typing import Any, Literal

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator  # type: ignore[import-untyped] # it publishes no types
from pydantic import ValidationError

from bot.domain.plan import Plan, Step, plan_model
from tests.support import plans
from tests.support.plans import MODEL, MODERATE

PLAN = plans.plan()
SCHEMA = MODEL.model_json_schema()


def _shuffled(value: Any, order: st.DataObject) -> Any:
    """Return the document with the keys of every mapping in another order; lists keep theirs."""
    if isinstance(value, dict):
        keys = order.draw(st.permutations(list(value)))
        return {key: _shuffled(value[key], order) for key in keys}
    if isinstance(value, list):
        return [_shuffled(item, order) for item in value]
    return value


def _leaves(value: Any, path: tuple[str | int, ...] = ()) -> Iterator[tuple[tuple[str | int, ...], Any]]:
    if isinstance(value, dict | list):
        for key, item in value.items() if isinstance(value, dict) else enumerate(value):
            yield from _leaves(item, (*path, key))
    else:
        yield path, value


def _at(document: Any, path: tuple[str | int, ...]) -> Any:
    for key in path:
        document = document[key]
    return document


def _changed(path: tuple[str | int, ...], value: Any) -> dict[str, Any]:
    document: dict[str, Any] = json.loads(PLAN.canonical())
    _at(document, path[:-1])[path[-1]] = value
    return document


_OTHER: dict[str, Any] = {
    "change": "CHG0099999",
    "criticality": "low",
    "deployed_at": "2024-01-15T15:46:00Z",
    "taken_at": "2024-01-15T13:00:00Z",
    "sha256": "0" * 64,
    "url": "https://meet.example.org/other",
    "user": "U0SOMEBODY",
    "channel": "C0OTHER",
    **dict.fromkeys(("window", "after", "expected", "timeout", "p95"), "42m"),
}


def _another(path: tuple[str | int, ...], value: Any) -> Any:
    """Return another valid value for that place, None if there is no other."""
    key = path[-1]
    if key in {"api", "kind"}:
        return None
    if key in _OTHER:
        return _OTHER[str(key)]
    if isinstance(value, int | float):
        return 1 if value != 1 else 2
    return f"{value or 'x'}x"


LEAVES = [(path, _another(path, value)) for path, value in _leaves(json.loads(PLAN.canonical()))]
CHANGEABLE = [pytest.param(path, new, id=".".join(map(str, path))) for path, new in LEAVES if new is not None]


@MODERATE
@given(order=st.data())
def test_digest_and_key_order(order: st.DataObject) -> None:
    """The digest does not depend on the order in which keys are written."""
    assert MODEL.model_validate(_shuffled(plans.document(), order)).digest() == PLAN.digest()


@pytest.mark.parametrize("flow", [True, False, None])
@pytest.mark.parametrize("sort", [True, False])
def test_digest_and_yaml(*, flow: bool | None, sort: bool) -> None:
    """The digest does not depend on the style of the YAML: order of keys, blocks or braces."""
    text = yaml.safe_dump(plans.document(), sort_keys=sort, default_flow_style=flow)
    assert MODEL.model_validate(yaml.safe_load(text)).digest() == PLAN.digest()


def test_digest_and_spelling() -> None:
    """Two spellings of the same duration or moment are the same plan."""
    same = plans.plan(window="0.5h", deployed_at="2024-01-15T16:45:00+01:00")
    assert same == PLAN
    assert same.digest() == PLAN.digest()


@pytest.mark.parametrize(("path", "new"), CHANGEABLE)
def test_digest_sees_every_field(path: tuple[str | int, ...], new: Any) -> None:
    """A change to any field of the plan, a default included, changes the digest that an approval binds to."""
    assert MODEL.model_validate(_changed(path, new)).digest() != PLAN.digest()


@pytest.mark.parametrize("key", ["phases", "backups"])
def test_digest_sees_order(key: str) -> None:
    """The order of phases and backups belongs to the plan."""
    turned = list(reversed(plans.document()[key]))
    assert MODEL.model_validate(plans.document(**{key: turned})).digest() != PLAN.digest()


def test_digest_sees_kind() -> None:
    """Another kind of step with the same fields is another plan."""
    one = plans.plan_of([[plans.act("a")]], verification=[plans.probe("b")])
    two = plans.plan_of([[{**plans.act("a"), "kind": "servers.stop"}]], verification=[plans.probe("b")])
    assert one.digest() != two.digest()


def test_canonical() -> None:
    """Canonical JSON has sorted keys, no white space, letters as they are and all defaults written out."""
    text = plans.plan(title="Zahlungsdienst für Übersee").canonical()
    found = json.loads(text)
    assert text == json.dumps(found, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    assert "für Übersee" in text
    assert found["phases"][0]["steps"][0] == {
        "id": "stop",
        "kind": "servers.stop",
        "target": "payments-servers",
        "needs": [],
        "title": "",
        "expected": "30s",
        "timeout": None,
        "attempts": 3,
    }


def test_digest_is_sha256() -> None:
    """The digest is the SHA-256 of the canonical JSON, so anybody can compute it again."""
    assert PLAN.digest() == hashlib.sha256(PLAN.canonical().encode()).hexdigest()


def test_read_back() -> None:
    """A plan that was stored as canonical JSON is read back as the same plan, with its steps' own fields."""
    again = MODEL.model_validate_json(PLAN.canonical())
    assert again == PLAN
    assert again.digest() == PLAN.digest()
    assert isinstance(again.step("restore"), plans.Restore)


def _paths_to_mappings(value: Any, path: tuple[str | int, ...] = ()) -> Iterator[tuple[str | int, ...]]:
    if isinstance(value, dict):
        yield path
        for key, item in value.items():
            yield from _paths_to_mappings(item, (*path, key))
    if isinstance(value, list):
        for index, item in enumerate(value):
            yield from _paths_to_mappings(item, (*path, index))


@pytest.mark.parametrize(
    "path", [p for p in _paths_to_mappings(plans.document()) if p != ("baseline", "row_counts")], ids=str
)
def test_unknown_field(path: tuple[str | int, ...]) -> None:
    """A field that the plan does not know is refused wherever it stands, with its path."""
    document = plans.document()
    _at(document, path)["colour"] = "blue"
    with pytest.raises(ValidationError) as caught:
        MODEL.model_validate(document)
    (error,) = caught.value.errors()
    assert error["type"] == "extra_forbidden"
    assert [part for part in error["loc"] if "." not in str(part)] == [*path, "colour"]


@pytest.mark.parametrize("kind", ["postgres.dropp", "", None])
def test_unknown_kind(kind: str | None) -> None:
    """A kind of step that no actuator knows is refused, and the known ones are named."""
    with pytest.raises(ValidationError, match=r"postgres\.drain") as caught:
        plans.plan_of([[{**plans.act("a"), "kind": kind}]], verification=[plans.probe("b")])
    assert caught.value.errors()[0]["type"] == "union_tag_invalid"


@pytest.mark.parametrize(
    "missing", ["backups", "phases", "verification", "communication", "window", "versions", "baseline", "bridge"]
)
def test_missing(missing: str) -> None:
    """A plan without one of the things that the specification demands is refused."""
    document = plans.document()
    del document[missing]
    with pytest.raises(ValidationError) as caught:
        MODEL.model_validate(document)
    assert [(e["loc"], e["type"]) for e in caught.value.errors()] == [((missing,), "missing")]


@pytest.mark.parametrize(
    "wrong",
    [
        {"api": "rollback/v2"},
        {"change": "INC0012345"},
        {"title": ""},
        {"title": "x" * 121},
        {"backups": []},
        {"phases": []},
        {"phases": [{"name": "Empty", "expected": "5m", "steps": []}]},
        {"phases": [{"name": "No time", "steps": [plans.act("a")]}]},
        {"verification": {"expected": "5m", "steps": []}},
        {"communication": {"escalation": []}},
        {"communication": {"escalation": [{"role": "owner", "user": "@jsmith"}]}},
        {"bridge": {"url": "http://meet.example.org"}},
        {"criticality": "enormous"},
        {"baseline": {"error_rate": 2, "p95": "175ms"}},
        {"review_after_days": 0},
        {"metrics": "Payments Metrics"},
    ],
)
def test_refused(wrong: dict[str, Any]) -> None:
    """A value that the plan cannot use is refused."""
    with pytest.raises(ValidationError):
        plans.plan(**wrong)


def test_every_error_at_once() -> None:
    """All wrong fields are reported together, so that a plan is corrected in one go."""
    with pytest.raises(ValidationError) as caught:
        plans.plan(change="x", window="soon", criticality="enormous")
    assert {e["loc"] for e in caught.value.errors()} == {("change",), ("window",), ("criticality",)}


def test_schema() -> None:
    """The published JSON Schema is valid, and accepts the example as it is written."""
    Draft202012Validator.check_schema(SCHEMA)
    assert list(Draft202012Validator(SCHEMA).iter_errors(plans.document())) == []


@pytest.mark.parametrize(
    "wrong",
    [
        {"colour": "blue"},
        {"window": "soon"},
        {"change": "INC1"},
        {"phases": [{"name": "One", "expected": "5m", "steps": [{**plans.act("a"), "kind": "servers.explode"}]}]},
        {"phases": [{"name": "One", "expected": "5m", "steps": [{**plans.act("a"), "release": "v1"}]}]},
    ],
)
def test_schema_refuses(wrong: dict[str, Any]) -> None:
    """An editor with the JSON Schema marks what the plan would be refused for."""
    assert list(Draft202012Validator(SCHEMA).iter_errors(plans.document(**wrong)))


def test_one_actuator() -> None:
    """A plan's model can be built for a single kind of step."""

    class Only(Step):
        kind: Literal["test.only"] = "test.only"

    model = plan_model({"test.only": Only})
    step = {"id": "a", "kind": "test.only", "target": "payments-db"}
    plan = model.model_validate(
        plans.document(
            phases=[{"name": "One", "expected": "5m", "steps": [step]}],
            verification={"expected": "5m", "steps": [{**step, "id": "b"}]},
        )
    )
    assert [type(step) for step in plan.steps()] == [Only, Only]


def test_frozen() -> None:
    """A plan that was approved cannot be changed in memory."""
    with pytest.raises(ValidationError, match="frozen"):
        setattr(PLAN, "title", "Another")  # noqa: B010 - the type checker refuses it as well


def test_steps() -> None:
    """The steps come in the order of the document, phase by phase, the verification's last."""
    assert [step.id for step in PLAN.steps()] == [
        *("stop", "drain", "safety", "restore", "swap"),
        *("link", "config", "start"),
        *("health", "version", "schema", "synthetic", "metrics"),
    ]
    assert [PLAN.step(step.id) for step in PLAN.steps()] == list(PLAN.steps())


@pytest.mark.parametrize("find", [PLAN.step, PLAN.backup])
def test_not_there(find: Any) -> None:
    """A step or backup that the plan does not have is an error."""
    with pytest.raises(KeyError, match="nothing"):
        find("nothing")


def test_backups() -> None:
    """A backup is found by its id, and each step says which ones it needs."""
    assert [PLAN.backup(backup.id) for backup in PLAN.backups] == list(PLAN.backups)
    assert {step.id: step.backup_ids() for step in PLAN.steps() if step.backup_ids()} == {
        "restore": ("db-before",),
        "link": ("release-before",),
        "config": ("config-before",),
    }


def test_targets() -> None:
    """A plan locks the targets that it acts on; all its targets include those it reads and restores from."""
    assert PLAN.targets() == ("payments-db", "payments-servers")
    assert PLAN.all_targets() == ("payments-api", "payments-db", "payments-metrics", "payments-servers")


def test_expected() -> None:
    """The rollback is expected to take as long as its phases and its verification together."""
    assert PLAN.expected() == timedelta(minutes=25)


@pytest.mark.parametrize(
    ("written", "deadline"),
    [
        ({}, timedelta(minutes=2)),
        ({"expected": "1s"}, timedelta(minutes=1)),
        ({"expected": "10m"}, timedelta(minutes=40)),
        ({"expected": "10m", "timeout": "15m"}, timedelta(minutes=15)),
        ({"timeout": "5s"}, timedelta(seconds=5)),
    ],
)
def test_deadline(written: dict[str, str], deadline: timedelta) -> None:
    """An attempt may take its timeout, or else four times what is expected, but never less than a minute."""
    step = plans.Drain.model_validate({"id": "drain", "target": "payments-db", **written})
    assert step.deadline() == deadline


def test_words() -> None:
    """A step is called by its title, or else by what it does to which target."""
    assert PLAN.step("restore").words() == "Restore the payments database"
    assert PLAN.step("swap").words() == "postgres.swap on payments-db"


def test_title_line() -> None:
    """The standard messages name the change by number and title."""
    assert PLAN.title_line() == "CHG0012345 - Payment service v2.4.0 deployment"


def test_model_is_a_plan() -> None:
    """What the built model reads is a plan like any other."""
    assert isinstance(PLAN, Plan)
    assert SCHEMA["title"] == "RollbackPlan"
