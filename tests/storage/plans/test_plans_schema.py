"""The JSON Schema of plans, as editors use it."""

from __future__ import annotations

from typing import Any

import pytest
import yaml
from jsonschema import Draft202012Validator  # type: ignore[import-untyped]  # it ships no types

from bot.domain.plan import StepCatalogue
from storage.plans import plan_schema
from storage.yaml_marks import load


@pytest.fixture(scope="session")
def schema(catalogue: StepCatalogue) -> dict[str, Any]:
    """The schema of the four steps."""
    return plan_schema(catalogue)


def wrong(schema: dict[str, Any], text: str) -> set[str]:
    """Return where an editor would underline."""
    found = Draft202012Validator(schema).iter_errors(load(text).data)
    return {"/".join(map(str, error.absolute_path)) for error in found}


def test_the_schema_is_one(schema: dict[str, Any]) -> None:
    """It is valid by its own meta-schema, names itself, and speaks of no place on the net of ours."""
    Draft202012Validator.check_schema(schema)
    assert schema["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    assert schema["$id"] == "urn:rollback-bot:plan:v1"
    assert schema["title"] == "Rollback plan"


def test_a_sound_plan_is_sound_in_the_editor(schema: dict[str, Any], sound: str) -> None:
    """What the bot accepts is not underlined, whether the editor takes times as text or as YAML's own."""
    assert wrong(schema, sound) == set()
    assert wrong(schema, sound.replace("2024-01-15 15:20 UTC", "2024-01-15T15:20:00Z")) == set()
    assert isinstance(yaml.safe_load(sound)["deployed_at"], str)


@pytest.mark.parametrize(
    ("old", "new", "place"),
    [
        ("title: P", "titel: P", ""),
        ("window: 30m", "window: 30 minutes", "window"),
        ("high", "hihg", "criticality"),
        ("kind: servers.stop", "kind: servers.stopp", "phases/0/steps/0"),
        ("target: payments-app", "target: payments-app\n        hard: yes", "phases/0/steps/0"),
        ("deployed_at: 2024-01-15 15:20 UTC", "deployed_at: yesterday", "deployed_at"),
        ("        backup: db\n", "", "phases/1/steps/0"),
    ],
)
def test_what_the_bot_refuses_is_underlined(
    *, old: str, new: str, place: str, schema: dict[str, Any], sound: str
) -> None:
    """A mistake of form shows while it is typed."""
    assert old in sound
    assert wrong(schema, sound.replace(old, new, 1)) == {place}


def test_every_field_explains_itself(schema: dict[str, Any]) -> None:
    """Editors show what a field means: the words of the code's own documentation."""
    assert schema["properties"]["window"]["description"] == "The time permitted for the rollback."
    stop = schema["$defs"]["StopStep"]
    assert stop["description"] == "Stop the service on every host of a group."
    assert stop["properties"]["grace"]["description"] == "Seconds until it is stopped hard."
    assert stop["properties"]["needs"]["description"].startswith("Steps of the same phase")
    assert schema["$defs"]["Phase"]["properties"]["steps"]["description"] == "At least one."
