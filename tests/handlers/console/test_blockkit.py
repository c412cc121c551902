"""The pure validator."""

import copy
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from handlers.console import blockkit, ids

Json = dict[str, Any]


def plain(text: str) -> Json:
    """Build a plain_text object."""
    return {"type": "plain_text", "text": text}


def mrkdwn(text: str) -> Json:
    """Build a mrkdwn object."""
    return {"type": "mrkdwn", "text": text}


def section(text: str = "x", **extra: Any) -> Json:
    """Build a section."""
    return {"type": "section", "text": mrkdwn(text), **extra}


def button(**extra: Any) -> Json:
    """Build a button."""
    return {"type": "button", "text": plain("Go"), **extra}


def actions(*elements: Json, **extra: Any) -> Json:
    """Build an actions block."""
    return {"type": "actions", "elements": list(elements), **extra}


def option(text: str = "One", value: str = "1") -> Json:
    """Build an option."""
    return {"text": plain(text), "value": value}


def select(*options: Json, **extra: Any) -> Json:
    """Build a static select."""
    return {"type": "static_select", "options": list(options), **extra}


def confirm(**extra: Any) -> Json:
    """Build a confirmation."""
    return {
        "title": plain("Sure?"),
        "text": mrkdwn("Really"),
        "confirm": plain("Yes"),
        "deny": plain("No"),
        **extra,
    }


def text_input(**extra: Any) -> Json:
    """Build an input for text."""
    element = {"type": "plain_text_input", "action_id": "reason"}
    return {"type": "input", "label": plain("Reason"), "element": element, **extra}


def plan(*statuses: str) -> Json:
    """Build a plan with a task for each status."""
    tasks = [{"type": "task_card", "task_id": str(i), "title": "Step", "status": s} for i, s in enumerate(statuses)]
    return {"type": "plan", "title": "Rollback", "tasks": tasks}


def modal(*blocks: Json, **extra: Any) -> Json:
    """Build a modal."""
    return {"type": "modal", "title": plain("Reject"), "blocks": list(blocks), **extra}


SOUND = [
    {"type": "header", "text": plain("h" * 150)},
    section("s" * 3000),
    {"type": "section", "fields": [mrkdwn("f" * 100)] * 10},
    section(accessory=button(value="v" * 2000, action_id="a" * 255, confirm=confirm(style="danger"))),
    section(accessory={"type": "image", "image_url": "http://x/y.png", "alt_text": "a"}),
    {"type": "divider", "block_id": "b" * 255},
    {"type": "context", "elements": [mrkdwn("c")] * 10},
    actions(*[button(text=plain("t" * 75), action_id=f"a{i}") for i in range(25)]),
    actions(select(option("o" * 75, "v" * 150), initial_option=option("o" * 75, "v" * 150))),
    actions({"type": "overflow", "options": [option(str(i), str(i)) for i in range(5)]}),
    plan("pending", "in_progress", "complete", "error"),
    {"type": "table", "rows": [[{"type": "raw_text", "text": "x"}] * 20] * 10},
    {"type": "markdown", "text": "m" * 12_000},
    {
        "type": "container",
        "title": plain("Log"),
        "is_collapsible": True,
        "default_collapsed": True,
        "child_blocks": [section()],
    },
]


@pytest.mark.parametrize("block", SOUND, ids=lambda block: block["type"])
def test_sound_blocks_pass(block: Json) -> None:
    """A block at its limits is sound."""
    assert blockkit.validate_message([block], text="fallback") == []


BAD = [
    ({"type": "header", "text": plain("h" * 151)}, "/blocks/0/text/text", "must be less than 151 characters"),
    ({"type": "header", "text": mrkdwn("*h*")}, "/blocks/0/text/type", "unsupported text type: mrkdwn"),
    ({"type": "header"}, "/blocks/0", "missing required field: text"),
    (section("s" * 3001), "/blocks/0/text/text", "must be less than 3001 characters"),
    (section(""), "/blocks/0/text/text", "must be more than 0 characters"),
    ({"type": "section"}, "/blocks/0", "must define either `text` or `fields`"),
    ({"type": "section", "fields": [mrkdwn("f")] * 11}, "/blocks/0/fields", "no more than 10 items allowed"),
    (
        {"type": "section", "fields": [mrkdwn("f" * 2001)]},
        "/blocks/0/fields/0/text",
        "must be less than 2001 characters",
    ),
    (section(block_id="b" * 256), "/blocks/0/block_id", "must be less than 256 characters"),
    (section(colour="red"), "/blocks/0", "invalid additional property: colour"),
    (
        section(accessory=text_input()["element"]),
        "/blocks/0/accessory/type",
        "unsupported element type: plain_text_input",
    ),
    ({"type": "context", "elements": [mrkdwn("c")] * 11}, "/blocks/0/elements", "no more than 10 items allowed"),
    (
        actions(*[button(action_id=f"a{i}") for i in range(26)]),
        "/blocks/0/elements",
        "no more than 25 items allowed",
    ),
    (actions(), "/blocks/0/elements", "must not be empty"),
    (actions(button(text=plain("t" * 76))), "/blocks/0/elements/0/text/text", "must be less than 76 characters"),
    (actions(button(text=mrkdwn("t"))), "/blocks/0/elements/0/text/type", "unsupported text type: mrkdwn"),
    (actions(button(value="v" * 2001)), "/blocks/0/elements/0/value", "must be less than 2001 characters"),
    (actions(button(style="green")), "/blocks/0/elements/0/style", "must be one of: primary, danger"),
    (actions(button(action_id="a" * 256)), "/blocks/0/elements/0/action_id", "must be less than 256 characters"),
    (
        actions(button(action_id="a"), button(action_id="a")),
        "/blocks/0/elements",
        "action_id `a` already exists for another element",
    ),
    (
        actions(button(confirm=confirm(title=plain("t" * 101)))),
        "/blocks/0/elements/0/confirm/title/text",
        "must be less than 101 characters",
    ),
    (
        actions(button(confirm=confirm(text=mrkdwn("t" * 301)))),
        "/blocks/0/elements/0/confirm/text/text",
        "must be less than 301 characters",
    ),
    (
        actions(button(confirm=confirm(deny=plain("t" * 31)))),
        "/blocks/0/elements/0/confirm/deny/text",
        "must be less than 31 characters",
    ),
    (
        actions({"type": "overflow", "options": [option(str(i), str(i)) for i in range(6)]}),
        "/blocks/0/elements/0/options",
        "no more than 5 items allowed",
    ),
    (
        actions(select(*[option(str(i), str(i)) for i in range(101)])),
        "/blocks/0/elements/0/options",
        "no more than 100 items allowed",
    ),
    (
        actions(select(option("o" * 76))),
        "/blocks/0/elements/0/options/0/text/text",
        "must be less than 76 characters",
    ),
    (
        actions(select(option("o", "v" * 151))),
        "/blocks/0/elements/0/options/0/value",
        "must be less than 151 characters",
    ),
    (actions(select(option(), option())), "/blocks/0/elements/0", "option values must be unique"),
    (
        actions(select(option(), initial_option=option("Two", "2"))),
        "/blocks/0/elements/0",
        "initial option must exactly match one of the options",
    ),
    (
        actions({"type": "static_select"}),
        "/blocks/0/elements/0",
        "must define either `options` or `option_groups`",
    ),
    (
        actions({"type": "datepicker", "initial_date": "15.01.2024"}),
        "/blocks/0/elements/0/initial_date",
        "must be a date in the format YYYY-MM-DD",
    ),
    (
        actions({"type": "checkboxes", "options": [option(str(i), str(i)) for i in range(11)]}),
        "/blocks/0/elements/0/options",
        "no more than 10 items allowed",
    ),
    (plan("running"), "/blocks/0/tasks/0/status", "must be one of: pending, in_progress, complete, error"),
    (
        {"type": "table", "rows": [[{"type": "raw_text", "text": "x"}] * 21]},
        "/blocks/0/rows/0",
        "no more than 20 items allowed",
    ),
    ({"type": "container", "child_blocks": [section()]}, "/blocks/0", "missing required field: title"),
    ({"type": "marquee"}, "/blocks/0/type", "unsupported block type: marquee"),
    ({"text": "x"}, "/blocks/0", "missing required field: type"),
    (text_input(), "/blocks/0/type", "unsupported block type: input is not allowed in a message"),
    (
        {"type": "alert", "text": plain("x")},
        "/blocks/0/type",
        "unsupported block type: alert is not allowed in a message",
    ),
]


@pytest.mark.parametrize(("block", "pointer", "reason"), BAD, ids=[f"{p}: {r}"[:70] for _, p, r in BAD])
def test_problems_are_named(block: Json, pointer: str, reason: str) -> None:
    """Each rule that is broken is reported once, at its place, in words."""
    assert blockkit.validate_message([block], text="x") == [blockkit.Problem(pointer, reason)]


def test_one_plan_and_one_table_a_message() -> None:
    """A message holds at most one plan and one table, wherever they stand."""
    table = {"type": "table", "rows": [[{"type": "raw_text", "text": "x"}]]}
    found = blockkit.validate_message([plan("pending"), table, plan("error"), table], text="x")
    assert [str(each) for each in found] == [
        "only one plan block is allowed in a message [json-pointer:/blocks/2]",
        "only one table block is allowed in a message [json-pointer:/blocks/3]",
    ]


def test_block_ids_are_unique_across_containers() -> None:
    """A block_id is used once, children of containers included."""
    folded = {"type": "container", "title": plain("t"), "child_blocks": [section(block_id="a")]}
    found = blockkit.validate_message([section(block_id="a"), folded], text="x")
    assert [str(each) for each in found] == [
        "block_id `a` already exists [json-pointer:/blocks/1/child_blocks/0/block_id]"
    ]


@pytest.mark.parametrize(
    ("blocks", "text", "updating", "code"),
    [
        (None, None, False, "no_text"),
        ([], "", False, "no_text"),
        (None, "t" * 40_001, False, "msg_too_long"),
        (None, "t" * 4_001, True, "msg_too_long"),
        ([section("s" * 3000)] * 5, "x", False, "msg_blocks_too_long"),
        ([{"type": "divider"}] * 51, "x", False, "invalid_blocks"),
    ],
)
def test_limits_of_the_whole_message(blocks: Any, text: str | None, updating: bool, code: str) -> None:  # noqa: FBT001 - a table's column
    """Limits of the whole message carry Slack's own error codes."""
    assert [each.code for each in blockkit.validate_message(blocks, text=text, updating=updating)] == [code]


def test_fifty_blocks_pass() -> None:
    """Fifty blocks are a message."""
    assert blockkit.validate_message([{"type": "divider"}] * 50, text="x") == []


@pytest.mark.parametrize(
    ("view", "pointer", "reason"),
    [
        (modal(text_input()), "/view", "must define `submit` to use an `input` block in modals"),
        (modal(section(), title=plain("t" * 25)), "/view/title/text", "must be less than 25 characters"),
        (modal(section(), submit=plain("t" * 25)), "/view/submit/text", "must be less than 25 characters"),
        (modal(section(), close=plain("t" * 25)), "/view/close/text", "must be less than 25 characters"),
        (
            modal(section(), private_metadata="p" * 3001),
            "/view/private_metadata",
            "must be less than 3001 characters",
        ),
        (modal(section(), callback_id="p" * 256), "/view/callback_id", "must be less than 256 characters"),
        (modal(*[{"type": "divider"}] * 101), "/view/blocks", "no more than 100 items allowed"),
        (modal(plan("pending")), "/view/blocks/0/type", "unsupported block type: plan is not allowed in a modal"),
        ({"type": "modal", "blocks": []}, "/view", "missing required field: title"),
        ({"type": "page", "blocks": []}, "/view/type", "must be one of: modal, home"),
        ({"type": "home", "title": plain("x"), "blocks": []}, "/view", "invalid additional property: title"),
        (
            {"type": "home", "blocks": [{"type": "alert", "text": plain("x")}]},
            "/view/blocks/0/type",
            "unsupported block type: alert is not allowed in a home",
        ),
        ("modal", "/view", "must provide an object"),
    ],
)
def test_views(view: Any, pointer: str, reason: str) -> None:
    """Views have limits of their own, answered as invalid arguments."""
    assert blockkit.validate_view(view) == [blockkit.Problem(pointer, reason, "invalid_arguments")]


def test_sound_views_pass() -> None:
    """A modal with inputs, alert and submit is sound, and so is a home with inputs and no submit."""
    alert = {"type": "alert", "level": "warning", "text": mrkdwn("x")}
    assert blockkit.validate_view(modal(alert, text_input(), submit=plain("Send"))) == []
    assert blockkit.validate_view({"type": "home", "blocks": [section(), text_input()]}) == []


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=20),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.sampled_from(
                ["type", "text", "elements", "options", "tasks", "child_blocks", "element", "block_id", "x"]
            ),
            inner | st.sampled_from(["section", "actions", "plan", "container", "input", "button", "plain_text"]),
            max_size=5,
        )
    ),
    max_leaves=25,
)


@given(json_values)
def test_any_json_is_answered(value: Any) -> None:
    """Whatever JSON arrives, the validator answers with problems and never fails."""
    for problem in [*blockkit.validate_message(value, text="x"), *blockkit.validate_view(value)]:
        assert problem.pointer.startswith(("/blocks", "/view"))
        assert problem.reason


sound_blocks = st.lists(st.sampled_from([each for each in SOUND if len(json.dumps(each)) < 1500]), max_size=6)


@given(sound_blocks, st.data())
def test_a_broken_part_is_found_where_it_is(blocks: list[Json], data: st.DataObject) -> None:
    """In a sound message, replacing any block by something foreign is reported at exactly that block."""
    single = [each for each in blocks if each["type"] not in ("plan", "table", "divider")]
    assert blockkit.validate_message(single, text="x") == [] or any("block_id" in json.dumps(e) for e in single)
    at = data.draw(st.integers(0, len(single)))
    broken = copy.deepcopy(single)
    broken.insert(at, {"type": "blink"})
    assert blockkit.Problem(f"/blocks/{at}/type", "unsupported block type: blink") in blockkit.validate_message(
        broken, text="x"
    )


@given(sound_blocks)
def test_ids_are_stable_and_complete(blocks: list[Json]) -> None:
    """Filling ids in is repeatable, keeps the message sound, and leaves no block without an id."""
    kinds = {each["type"]: each for each in blocks}
    filled = ids.with_ids(list(kinds.values()))
    assert filled == ids.with_ids(list(kinds.values())) == ids.with_ids(filled)
    assert all(block["block_id"] for _, block in blockkit.walk(filled))
    assert blockkit.validate_message(filled, text="x") == []
