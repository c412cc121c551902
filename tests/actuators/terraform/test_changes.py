"""What a plan would do, as digests and in lines, where the real core's builtin resource has no such case."""

from __future__ import annotations

from typing import Any

import pytest

from actuators.terraform.changes import manifest_of, read_manifest, strange
from actuators.terraform.preview import preview


def entry(address: str, *actions: str, **fields: Any) -> dict[str, Any]:
    """Return an entry of a plan's changes."""
    names = ("deposed", "previous_address", "action_reason")
    outer: dict[str, Any] = {name: fields.pop(name) for name in names if name in fields}
    change = {"actions": list(actions), "before": None, "after": None, "after_unknown": {}, **fields}
    return {"address": address, "change": change, **outer}


def plan(*entries: dict[str, Any], **more: Any) -> dict[str, Any]:
    """Return a plan."""
    return {"resource_changes": list(entries), **more}


def strangers(approved: dict[str, Any], now: dict[str, Any]) -> list[str]:
    """Return what is not approved in a plan."""
    manifest = manifest_of(approved, target="infra", commit="c")
    assert read_manifest(manifest.document()) == manifest
    return [change.key for change in strange(now, manifest)]


OLD, NEW = {"id": "i-1", "ami": "a"}, {"ami": "b"}
REPLACED = entry("a.web", "delete", "create", before=OLD, after=NEW, after_unknown={"id": True})
FIRST_CREATED = entry("a.web", "create", "delete", before=OLD, after=NEW, after_unknown={"id": True})
CREATED = entry("a.web", "create", after=NEW, after_unknown={"id": True})
LEFT = entry("a.web", "delete", before=OLD, deposed="0a1b")
LISTS = entry("a.web", "update", before={}, after={"x": ["p", None], "y": None}, after_unknown={"x": [False, True]})
IMPORTED = entry("a.web", "update", before=OLD, after=OLD | NEW, importing={"id": "i-1"})
MOVED = entry("a.web", "no-op", before=OLD, after=OLD, previous_address="a.old")


@pytest.mark.parametrize(
    ("approved", "now", "told"),
    [
        (REPLACED, REPLACED, []),
        (REPLACED, CREATED, []),
        (REPLACED, entry("a.web", "create", after={"ami": "c"}, after_unknown={"id": True}), ["a.web"]),
        (REPLACED, entry("a.web", "delete", before=OLD), ["a.web"]),
        (FIRST_CREATED, LEFT, []),
        (FIRST_CREATED, entry("a.web", "delete", before={"id": "i-2"}, deposed="0a1b"), ["a.web deposed 0a1b"]),
        (CREATED, LEFT, ["a.web deposed 0a1b"]),
        (CREATED, REPLACED, ["a.web"]),
        (CREATED, entry("a.other", "create", after=NEW, after_unknown={"id": True}), ["a.other"]),
        (CREATED, entry("a.web", "create", after={**NEW, "id": "known"}), []),
        (entry("a.web", "create", after={**NEW, "id": "known"}), CREATED, ["a.web"]),
        (LISTS, entry("a.web", "update", before={}, after={"x": ["p", "q"], "y": None}), []),
        (LISTS, entry("a.web", "update", before={}, after={"x": ["z", "q"], "y": None}), ["a.web"]),
        (LISTS, entry("a.web", "update", before={}, after={"x": ["p", "q", "r"], "y": None}), ["a.web"]),
        (IMPORTED, entry("a.web", "update", before=OLD, after=OLD | NEW), []),
        (entry("a.web", "update", before=OLD, after=OLD | NEW), IMPORTED, ["a.web"]),
        (MOVED, MOVED, []),
        (MOVED, entry("a.web", "no-op", before=OLD, after=OLD, previous_address="a.third"), ["a.web"]),
        (CREATED, entry("data.a.b", "read", after={}), []),
        (CREATED, entry("a.same", "no-op", before=OLD, after=OLD), []),
    ],
)
def test_the_rest_of_a_plan_is_approved_and_nothing_else(
    approved: dict[str, Any], now: dict[str, Any], told: list[str]
) -> None:
    """Half of a replacement, and values that are known by now, are the rest; other values and actions are not."""
    assert strangers(plan(approved), plan(now)) == told


def test_outputs_count_by_what_they_become() -> None:
    """An output touches nothing: only its new value must be the approved one, whatever it was in between."""
    approved = {"url": {"actions": ["update"], "before": "a", "after_unknown": True}, "x": {"actions": ["no-op"]}}
    now = {"url": {"actions": ["create"], "before": None, "after": "b", "after_unknown": False}}
    gone = {"url": {"actions": ["delete"], "before": "a", "after": None}}
    assert strangers(plan(output_changes=approved), plan(output_changes=now)) == []
    assert strangers(plan(output_changes=now), plan(output_changes=approved)) == ["output url"]
    assert strangers(plan(output_changes=approved), plan(output_changes=gone)) == ["output url"]


def test_actions_that_a_plan_invokes_are_part_of_it() -> None:
    """What a plan runs beside its resources is approved, or refused, like them."""
    action = {"address": "action.a.b", "config_values": {"x": 1}, "config_unknown": {"y": True}}
    approved = plan(action_invocations=[action])
    assert strangers(approved, approved) == []
    other = {**action, "config_values": {"x": 2}}
    assert strangers(approved, plan(action_invocations=[other])) == ["action action.a.b"]
    assert strangers(approved, plan(action_invocations=[action, action])) == ["action action.a.b 2"]
    assert preview(approved) == [
        "! action action.a.b",
        '    address: "action.a.b"',
        "    config_unknown.y: true",
        "    config_values.x: 1",
        "    config_values.y: (known after apply)",
    ]


def test_a_seal_belongs_to_one_stack_and_one_commit() -> None:
    """The same changes on another stack, or from other code, are another approval; the order does not matter."""
    document = plan(CREATED, entry("a.other", "create", after={}))
    turned = plan(*reversed(document["resource_changes"]), timestamp="2024-01-15T15:47:00Z")
    seal = manifest_of(document, target="infra", commit="c").seal()
    assert manifest_of(turned, target="infra", commit="c").seal() == seal
    assert manifest_of(document, target="other", commit="c").seal() != seal
    assert manifest_of(document, target="infra", commit="d").seal() != seal


def test_lines_tell_what_why_and_which_attributes() -> None:
    """Moves, imports, forgetting, deletions with their reason, and outputs each have words of their own."""
    document = plan(
        MOVED,
        IMPORTED,
        entry("a.gone", "delete", before=OLD, action_reason="delete_because_no_resource_config"),
        entry("a.left", "forget", before=OLD, action_reason="some_new_reason"),
        entry("a.list", "update", before={"p": [1, 2]}, after={"p": [1, 3, 4], "q": True}),
        output_changes={"url": {"actions": ["update"], "before": "a", "after": "b"}},
    )
    assert preview(document) == [
        "= a.web (was a.old)",
        '~ a.web (imports {"id":"i-1"})',
        '    ami: "a" -> "b"',
        "- a.gone (no longer in the code)",
        ". a.left (some new reason)",
        "~ a.list",
        "    p[1]: 2 -> 3",
        "    p[2]: null -> 4",
        "    q: null -> true",
        "~ output url",
        '    "a" -> "b"',
    ]


def test_nothing_secret_is_in_any_line() -> None:
    """Marked values, copies of them elsewhere, secret variables and what looks like a secret are masked."""
    document = plan(
        entry(
            "a.b",
            "create",
            after={
                "marked": "hunter-2",
                "copy": "by hunter-2!",
                "list": [{"x": "hunter-3"}],
                "pin": 12345,
                "ok": "y",
            },
            after_sensitive={"marked": True, "list": [{"x": True}], "pin": True},
        ),
        entry("a.c", "create", after={"db_password": "hunter-5", "text": "hunter-3 12345", "from": "hunter-6"}),
        output_changes={
            "o": {"actions": ["create"], "after": {"k": "hunter-4"}, "after_sensitive": True},
            "p": {"actions": ["create"], "after": "no hunter-4"},
        },
        variables={"login": {"value": {"deep": ["hunter-6", "y"]}}, "flag": {"value": True}},
        configuration={"root_module": {"variables": {"login": {"sensitive": True}, "flag": {"sensitive": True}}}},
    )
    lines = preview(document, secrets=("known-one",))
    assert "hunter" not in "\n".join(lines)
    assert "12345" not in "\n".join(lines)
    assert '    ok: "y"' in lines
    assert "    list[0].x: (sensitive)" in lines
    assert '    copy: "by ***!"' in lines
    assert "    (sensitive)" in lines


def test_a_secret_of_an_action_is_masked_wherever_it_is_copied() -> None:
    """What an action marks as sensitive is hidden in the resources beside it too."""
    action = {
        "address": "action.a.b",
        "config_values": {"login": "hunter-2", "x": 1},
        "config_sensitive": {"login": True},
    }
    lines = preview(plan(entry("a.b", "create", after={"copy": "by hunter-2!"}), action_invocations=[action]))
    assert '    copy: "by ***!"' in lines
    assert "    config_values.login: (sensitive)" in lines


def test_long_plans_are_cut_and_the_rest_is_counted() -> None:
    """Neither many resources, nor many attributes, nor a long value makes the text too long for a thread."""
    wide = entry("a.wide", "create", after={f"x{n:02}": n for n in range(30)} | {"a": "v" * 500})
    lines = preview(plan(wide, *(entry(f"a.n[{n}]", "create", after={}) for n in range(500))))
    assert lines[26] == "    … and 6 more attributes"
    assert max(map(len, lines)) <= 170
    assert len(lines) == 401
    assert lines[-1] == "… and 127 more lines"
