"""What Terraform, OpenTofu and their providers say, in its documented forms."""

from __future__ import annotations

import json
from typing import Any

import pytest
from pydantic import ValidationError

from actuators import terraform
from actuators.terraform.steps import TerraformApply, TerraformImport, TerraformStateRm
from actuators.terraform.values import (
    Complaint,
    Lock,
    UnreadableError,
    read_complaints,
    read_drift,
    read_lock,
    read_plan,
    read_state,
    summarised,
)
from bot.domain.actuation import Registry


def change(address: str, *actions: str, **fields: Any) -> dict[str, Any]:
    """Return an entry of a plan's changes."""
    return {"address": address, "change": {"actions": list(actions), **fields}}


def test_a_replacement_counts_twice_and_forgetting_as_destroying() -> None:
    """Counts are Terraform's own; what is no longer managed is limited like what is destroyed."""
    document = {
        "resource_changes": [
            change("a.replaced", "delete", "create"),
            change("a.forgotten", "forget"),
            change("a.changed", "update"),
            change("data.a.read", "read"),
            change("a.same", "no-op", importing={"id": "x"}),
            {**change("a.new", "no-op"), "previous_address": "a.old"},
        ],
        "output_changes": {"url": {"actions": ["update"]}, "same": {"actions": ["no-op"]}},
    }
    summary = summarised(read_plan(json.dumps(document)))
    assert summary.counts() == {"add": 1, "change": 1, "destroy": 2}
    assert summary.lines() == ["- a.replaced", "- a.forgotten", "~ a.changed", "+ a.replaced"]
    assert summary.other == ("imports a.same", "moves a.old to a.new", "outputs: url")


@pytest.mark.parametrize("text", ["", "[]", "No changes.", '{"errored": true}'])
def test_what_is_no_plan_is_not_taken_for_an_empty_one(text: str) -> None:
    """Only a whole plan in JSON is read."""
    with pytest.raises(UnreadableError):
        read_plan(text)


def test_drift_names_attributes_and_shows_no_values() -> None:
    """Values may be secret, so a difference tells only where it is."""
    document = {
        "resource_drift": [
            change("a.gone", "delete", before={"id": "1"}, after=None),
            change("a.other", "update", before={"id": "1", "password": "x"}, after={"id": "1", "password": "y"}),
            change("a.same", "no-op"),
        ]
    }
    assert read_drift(json.dumps(document)) == ["- a.gone: gone", "~ a.other: password"]


def state(**fields: Any) -> str:
    """Return a state as JSON."""
    return json.dumps({"version": 4, "serial": 7, "lineage": "abc", "resources": [], **fields})


def test_addresses_in_a_state_are_those_of_the_tool() -> None:
    """Modules, counts and keys are written as `state list` writes them; data sources are left out."""
    resources = [
        {"mode": "managed", "type": "a", "name": "one", "instances": [{"attributes": {"id": "1"}}]},
        {"mode": "data", "type": "a", "name": "read", "instances": [{"attributes": {"id": "2"}}]},
        {
            "mode": "managed",
            "module": 'module.web["x"]',
            "type": "a",
            "name": "many",
            "instances": [{"index_key": 0, "attributes": {}}, {"index_key": "k", "attributes": {"id": "3"}}],
        },
    ]
    found = read_state(state(resources=resources))
    assert found is not None
    assert found.resources == {"a.one": "1", 'module.web["x"].a.many[0]': "", 'module.web["x"].a.many["k"]': "3"}
    assert found.holding('module.web["x"]') == tuple(list(found.resources)[1:])
    assert found.holding('module.web["x"].a.many["k"]') == ('module.web["x"].a.many["k"]',)
    assert found.holding("a.on") == ()


def test_an_empty_state_is_none_and_another_version_is_unreadable() -> None:
    """Nothing, and what the tool tells where nothing was written, is no state; other forms are not guessed at."""
    assert read_state("\n") is None
    assert read_state(state(lineage="")) is None
    for text in ("damaged", state(version=3), state(serial="7"), json.dumps({"version": 4})):
        with pytest.raises(UnreadableError):
            read_state(text)


def test_the_same_record_under_another_serial_is_the_same() -> None:
    """Restored is what holds the same resources and outputs, however often it was written."""
    one, later, other = read_state(state()), read_state(state(serial=9)), read_state(state(resources=[{}]))
    assert one is not None
    assert later is not None
    assert other is not None
    assert one.same_record(later)
    assert not one.same_record(other)


def test_a_lock_is_read_in_colours_and_frames() -> None:
    """Who, what for, since when and the id are found, however the tool draws them."""
    text = (
        "\x1b[31m╷\x1b[0m\n\x1b[31m│\x1b[0m \x1b[1mError: \x1b[0mError acquiring the state lock\n"
        "\x1b[31m│\x1b[0m Lock Info:\n\x1b[31m│\x1b[0m   ID:        d642-01\n"
        "\x1b[31m│\x1b[0m   Operation: OperationTypePlan\n\x1b[31m│\x1b[0m   Who:       root@vm\n"
        "\x1b[31m│\x1b[0m   Created:   2026-11-23 21:27:58.747137458 +0000 UTC\n\x1b[31m╵\x1b[0m\n"
    )
    lock = read_lock(text)
    assert lock is not None
    assert (lock.id, lock.words()) == ("d642-01", "root@vm (plan) since 2026-11-23 21:27:58 UTC")
    assert read_lock("Error: No such file") is None
    assert read_lock("Error: Error acquiring the state lock") == Lock("")
    assert Lock("").words() == "somebody"


@pytest.mark.parametrize(
    ("said", "identity"),
    [
        ("creating S3 Bucket (payments-logs): operation error S3: BucketAlreadyExists: taken", "payments-logs"),
        ('A resource with the ID "/subscriptions/1/x" already exists - to be managed', "/subscriptions/1/x"),
        ("googleapi: Error 409: The resource 'projects/p/x' already exists, alreadyExists", "projects/p/x"),
        ("EntityAlreadyExists: Role is there", ""),
    ],
)
def test_conflicts_tell_what_exists(said: str, identity: str) -> None:
    """The forms of the large providers give the identity; without one there is nothing to guess."""
    text = f"Error: it failed\n\n  with module.a[0].b.c,\n  on main.tf line 1:\n\n{said}\n"
    assert read_complaints(text) == (Complaint("module.a[0].b.c", exists=True, gone=False, identity=identity),)


def test_only_errors_about_a_resource_are_complaints() -> None:
    """One for each address; a missing backend or configuration is about no entry of the state."""
    text = (
        "Error: Backend not found\n\nError: reading X\n\n  with a.b,\n  on m.tf line 1:\n\nNoSuchBucket: it\n"
        "does not exist\n\nError: again\n\n  with a.b,\n\nother\n\nError: plain\n\n  with a.c,\n\ndenied\n"
    )
    assert read_complaints(text) == (
        Complaint("a.b", exists=False, gone=True),
        Complaint("a.c", exists=False, gone=False),
    )


@pytest.mark.parametrize(
    "fields",
    [
        {"commit": "main"},
        {"commit": "abc1234"},
        {"commit": "f" * 40, "expect": {"add": -1, "change": 0, "destroy": 0}},
        {"commit": "f" * 40, "expect": {"add": 1}},
    ],
)
def test_a_plan_pins_the_commit_and_every_limit(fields: dict[str, Any]) -> None:
    """Names that move, and limits that are left open, are refused."""
    limits = {"add": 0, "change": 0, "destroy": 0}
    with pytest.raises(ValidationError):
        TerraformApply.model_validate({"id": "a", "target": "t", "expect": limits, **fields})


def test_nothing_becomes_an_option_of_the_tool() -> None:
    """An address or identity that would be read as an option is refused."""
    with pytest.raises(ValidationError):
        TerraformStateRm(id="a", target="t", commit="f" * 40, address="-force")
    with pytest.raises(ValidationError):
        TerraformImport(id="a", target="t", commit="f" * 40, address="a.b", identity="-config=/tmp")


def test_every_step_says_in_words_what_it_does() -> None:
    """People read the target and what is pinned, unless the plan has words of its own."""
    about: dict[str, Any] = {"id": "a", "target": "infra", "commit": "f" * 40}
    steps: dict[str, dict[str, Any]] = {
        "Apply the code of ffffffffff to infra": {
            "kind": "terraform.apply",
            "expect": {"add": 0, "change": 0, "destroy": 0},
        },
        "Real infrastructure of infra against its state": {"kind": "terraform.refresh"},
        "State of infra": {"kind": "terraform.state_list"},
        "Earlier states of infra": {"kind": "terraform.state_versions"},
        "Import i-1 as a.b on infra": {"kind": "terraform.import", "address": "a.b", "identity": "i-1"},
        "Take a.b out of the state of infra": {"kind": "terraform.state_rm", "address": "a.b"},
        "Release the lock 7 on the state of infra": {"kind": "terraform.unlock", "lock": "7"},
        "Restore the state of infra from version v1": {
            "kind": "terraform.state_restore",
            "lineage": "abc",
            "version": "v1",
        },
    }
    registry = Registry(*terraform.register())
    assert [registry.read({**about, **fields}).words() for fields in steps.values()] == list(steps)
    assert {fields["kind"] for fields in steps.values()} == set(registry.catalogue())


@pytest.mark.parametrize(
    "fields", [{}, {"version": "v1", "file": "/f", "sha256": "0" * 64}, {"file": "/f"}, {"sha256": "0" * 64}]
)
def test_an_earlier_state_is_pinned_in_exactly_one_way(fields: dict[str, Any]) -> None:
    """A version, or a file with its digest; a file's name alone pins nothing."""
    about = {"id": "a", "target": "infra", "commit": "f" * 40, "lineage": "abc"}
    with pytest.raises(ValidationError):
        terraform.TerraformStateRestore.model_validate({**about, **fields})
