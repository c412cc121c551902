"""What people type, understood."""

from __future__ import annotations

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from handlers.slack import deliveries, tickets
from handlers.slack.commands import (
    LONGEST_REASON,
    VERBS,
    Ask,
    Command,
    Help,
    ListRecent,
    Request,
    Say,
    ShowPlan,
    Status,
    Unknown,
    parse,
)

UNDERSTOOD: list[tuple[str, Command]] = [
    ("", Ask()),
    ("  \u00a0\t ", Ask()),
    (":fire: 🔥", Ask()),
    ("CHG0012345", Request("CHG0012345", "")),
    ("chg0012345 error rate 12 %", Request("CHG0012345", "error rate 12 %")),
    ("“CHG0012345”   “error   rate”", Request("CHG0012345", "error rate")),
    ("  Chg-0012345, too slow", Request("CHG0012345", "too slow")),
    ("CHG 0012345 because", Request("CHG0012345", "because")),
    ("\uff23\uff28\uff27\uff10\uff10\uff11\uff12\uff13\uff14\uff15 wide", Request("CHG0012345", "wide")),
    ("CHG\u200b0012345 pasted", Request("CHG0012345", "pasted")),
    (":rotating_light: 🔥 <@U0ALICE|alice> CHG0012345 now", Request("CHG0012345", "now")),
    ("CHG0012345 &lt;5 users &amp; rising", Request("CHG0012345", "<5 users & rising")),
    (
        "CHG0012345 see <https://x.example/a|x> <@U0ALICE|alice> <#C0OPS|ops> <!here>",
        Request("CHG0012345", "see https://x.example/a @alice #ops @here"),
    ),
    ("CHG0012345 &amp;lt;!channel&amp;gt;", Request("CHG0012345", "&lt;!channel&gt;")),
    ("CHG0012345 " + "x" * 900, Request("CHG0012345", "x" * LONGEST_REASON)),
    ("status", Status()),
    ("STATUS chg0012345 please", Status("CHG0012345")),
    ("status rb-0001", Status("rb-0001")),
    ("RB-0001", Status("rb-0001")),
    ("list", ListRecent()),
    ("'plan' chg-0012345", ShowPlan("CHG0012345")),
    ("plan", Unknown("plan", "plan CHG0012345", "The number of the change is missing.")),
    ("help", Help()),
    ("?", Help()),
    ("--help", Help()),
    ("-h", Help()),
    ("stauts", Unknown("stauts", "status")),
    ("statsu chg0012345", Unknown("statsu", "status CHG0012345")),
    ("lst", Unknown("lst", "list")),
    ("plna chg0012345", Unknown("plna", "plan CHG0012345")),
    ("hlep", Unknown("hlep", "help")),
    ("hold", Say("hold", "", ())),
    ("Hold RB-0001 why  so", Say("hold", "rb-0001", ("why", "so"))),
    ("hold rb0001: why", Say("hold", "rb-0001", ("why",))),
    ("abort rb_12 why", Say("abort", "rb-12", ("why",))),
    ("abort RB 12 why", Say("abort", "rb-12", ("why",))),
    ("abort chg 0012345 why", Say("abort", "CHG0012345", ("why",))),
    ("abort chg-0012345, why", Say("abort", "CHG0012345", ("why",))),
    ("abort CHG12 why", Say("abort", "CHG12", ("why",))),
    ("abort chg freeze", Say("abort", "", ("chg", "freeze"))),
    ("handover rb-0001 <@U0OWNER|r.silva> end", Say("handover", "rb-0001", ("end",), "U0OWNER")),
    ("handover <@U0OWNER> rb-0001 end", Say("handover", "rb-0001", ("end",), "U0OWNER")),
    ("handover rb-0001 @bob end", Say("handover", "rb-0001", ("@bob", "end"))),
    ("hold ask <@U0OWNER|r.silva>", Say("hold", "", ("ask", "@r.silva"))),
    ("unblok rb-0001 why", Unknown("unblok", "unblock rb-0001 why")),
    ("frobnicate", Unknown("frobnicate")),
    ("0012345", Unknown("0012345", "CHG0012345", "That is not the number of a change.")),
    ("CGH0012345", Unknown("CGH0012345", "CHG0012345", "That is not the number of a change.")),
    (
        "CHG12",
        Unknown("CHG12", "", "The number of a change is CHG and 4 to 12 digits, for example CHG0012345."),
    ),
]


@pytest.mark.parametrize(("text", "command"), UNDERSTOOD)
def test_text_is_understood(text: str, command: Command) -> None:
    """Case, blanks, quotation marks, ornaments and Slack's escapes do not matter; typos get the nearest command."""
    assert parse(text) == command


TYPED = st.lists(st.sampled_from([*VERBS, "CHG0012345", "<@U1>", "\u201c", ":x:", "rb-1"])).map(" ".join)
FOREIGN = st.none() | st.text() | st.integers() | st.lists(st.text() | st.booleans()).map(repr)


@given(st.text(max_size=300) | TYPED)
@example("<" * 4_000)
@example("\ud800")
@settings(max_examples=400)
def test_any_text_is_answered(text: str) -> None:
    """No text raises, what is asked for is a well-formed change, and nothing shown is longer than a line."""
    match parse(text):
        case Request(change=change, reason=reason):
            assert change.startswith("CHG")
            assert change[3:].isascii()
            assert change[3:].isdecimal()
            assert len(reason) <= LONGEST_REASON
        case Unknown(word=word, suggestion=suggestion):
            assert 0 < len(word) <= 60
            assert len(suggestion) <= 100
        case _:
            pass


@given(st.sampled_from(VERBS), st.data())
def test_one_wrong_letter_is_forgiven(verb: str, data: st.DataObject) -> None:
    """A command with two letters swapped is answered with that command, never carried out."""
    place = data.draw(st.integers(0, len(verb) - 2))
    typo = verb[:place] + verb[place + 1] + verb[place] + verb[place + 2 :]
    found = parse(typo)
    if typo != verb:
        assert isinstance(found, Unknown)
        assert found.suggestion.split()[0] == verb


@given(st.text(min_size=1, max_size=40), st.integers(0, 10**9), st.text(max_size=63))
def test_button_value_comes_back_as_it_went(rollback_id: str, version: int, step: str) -> None:
    """What a button carries survives the way to Slack and back, within Slack's 2,000 characters."""
    value = tickets.ButtonValue(id=rollback_id, v=version, step=step)
    assert tickets.read_button(value.text()) == value
    assert len(value.text()) <= 2_000


@given(FOREIGN)
@example("[" * 100_000)
@example('{"id": "rb-1", "v": true}')
@example('{"id": 1, "v": 1}')
@example('{"choice": ["retry"]}')
def test_foreign_values_are_read_as_nothing(value: object) -> None:
    """A value that is not one of ours is no button, a ticket without a choice, and never an error."""
    assert tickets.read_button(value) is None
    assert tickets.read_ticket(value).choice is None


def test_delivery_ids_tell_repetitions_from_new_clicks() -> None:
    """The same payload has the same id, another click, person, button or message another one."""
    click = {
        "user": {"id": "U1", "team_id": "T1"},
        "actions": [{"action_id": "a", "action_ts": "1.1"}],
        "container": {"message_ts": "2.2"},
    }
    others = [
        {**click, "user": {"id": "U2", "team_id": "T1"}},
        {**click, "user": {"id": "U1", "team_id": "T2"}},
        {**click, "actions": [{"action_id": "b", "action_ts": "1.1"}]},
        {**click, "actions": [{"action_id": "a", "action_ts": "1.2"}]},
        {**click, "container": {"view_id": "V1"}},
    ]
    seen = {deliveries.of_click(each).delivery for each in (click, dict(click), *others)}
    assert len(seen) == 6
    assert deliveries.of_click(click).delivery == "click:T1:U1:1.1:a:2.2"
