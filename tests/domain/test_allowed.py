"""Commands that an inventory allows: what may be filled in, and that their effect can be told."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from bot.domain.allowed import AllowedCommand, filled
from bot.domain.inventory import Inventory, ServerGroup
from tests.support import plans
from tests.support.plans import MODERATE

BASE: dict[str, Any] = {
    "argv": ["/opt/flip", "--to", "{side}"],
    "parameters": {"side": "green|blue"},
    "markers": "/m",
}
LOOK: dict[str, Any] = {"argv": ["/opt/side", "{side}"], "absent": [1]}


def command(**more: Any) -> AllowedCommand:
    """Return a command that may be named in plans."""
    return AllowedCommand.model_validate({**BASE, **more})


def test_filled() -> None:
    """Each value takes the place of one whole argument; everything else stays as it stands."""
    assert filled(command(), {"side": "green"}) == ("/opt/flip", "--to", "green")
    looking = command(observe=LOOK).observe
    assert looking is not None
    assert filled(looking, {"side": "blue"}) == ("/opt/side", "blue")
    with pytest.raises(KeyError):
        filled(command(), {})


@MODERATE
@given(st.text(max_size=300))
def test_nothing_but_what_matches_in_full(value: str) -> None:
    """A value is let through exactly if its pattern matches all of it."""
    assert bool(list(command().problems({"side": value}))) is (value not in ("green", "blue"))


@MODERATE
@given(st.text(max_size=260))
def test_whatever_is_let_through_is_one_printable_argument(value: str) -> None:
    """Even a pattern that matches everything lets no control characters, no option and no endless text through."""
    if not list(command(parameters={"side": r"[\s\S]*"}).problems({"side": value})):
        assert value.isprintable()
        assert len(value) <= 200
        assert not value.startswith("-")
        assert filled(command(), {"side": value})[2] == value


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ({}, ["the parameter side is missing"]),
        ({"side": "green", "x": "1"}, ["there is no parameter x"]),
        ({"side": "green\n"}, ["side: 'green\\n' does not match green|blue in full"]),
    ],
)
def test_problems_in_words(values: dict[str, str], says: list[str]) -> None:
    """Every problem is told at once, with the value and what it must match."""
    assert list(command().problems(values)) == says


def test_options_are_meant_or_refused() -> None:
    """A value may begin with a dash only if its pattern says so."""
    open_ = command(parameters={"side": ".*"})
    assert "would be read as an option" in next(open_.problems({"side": "--force"}))
    assert list(command(parameters={"side": "--to=[a-z]+"}).problems({"side": "--to=green"})) == []
    assert list(command(parameters={"side": r"\-[a-z]"}).problems({"side": "-g"})) == []


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"argv": []}, "at least 1"),
        ({"argv": ["flip", "{side}"]}, "absolute path"),
        ({"argv": ["/opt/{side}", "{side}"]}, "absolute path"),
        ({"argv": ["/opt/flip", "--to={side}", "{side}"]}, "fills a whole element"),
        ({"argv": ["/opt/flip", "a\nb", "{side}"]}, "pattern"),
        ({"argv": ["/opt/flip"]}, "must fill exactly one element"),
        ({"argv": ["/opt/flip", "{side}", "{side}"]}, "must fill exactly one element"),
        ({"argv": ["/opt/flip", "{side}", "{other}"]}, "does not say what it may be"),
        ({"observe": {**LOOK, "argv": ["/opt/side", "{other}"]}}, "does not say what it may be"),
        ({"observe": {**LOOK, "argv": ["side"]}}, "absolute path"),
        ({"observe": {**LOOK, "absent": []}}, "at least 1"),
        ({"observe": {**LOOK, "absent": [0, 1]}}, "exit code 0 cannot say both"),
        ({"observe": {**LOOK, "output": "("}}, "no regular expression"),
        ({"parameters": {"side": "("}}, "no regular expression"),
        ({"exit_codes": []}, "at least 1"),
        ({"exit_codes": [256]}, "less than or equal to 255"),
        ({"markers": None}, "it has no `observe`"),
        ({"markers": "m"}, "absolute path"),
        ({"markers": None, "sudo": True, "observe": LOOK}, "outlive a lost connection"),
    ],
)
def test_what_could_not_be_told_or_pinned_is_refused(wrong: dict[str, Any], says: str) -> None:
    """A command is allowed only if its program is pinned and somebody or something can tell whether it has run."""
    with pytest.raises(ValidationError, match=says):
        command(**wrong)


def test_unused_it_leaves_no_trace() -> None:
    """A group without commands has the digest that it always had; with one it has another."""
    inventory = plans.inventory()
    group = inventory.server_groups["payments-servers"]
    assert "commands" not in group.model_dump(mode="json")
    allowing = ServerGroup.model_validate({**group.model_dump(mode="json"), "commands": {"flip": BASE}})
    changed = Inventory.model_validate(
        {
            **inventory.model_dump(mode="json"),
            "server_groups": {"payments-servers": allowing.model_dump(mode="json")},
        }
    )
    assert changed.digest() != inventory.digest()
    assert Inventory.model_validate(changed.model_dump(mode="json")) == changed
