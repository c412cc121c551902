"""The documents' examples are what the steps take."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from bot.domain.inventory import Inventory
from tests.support.kubeapi.place import REGISTRY

FOLDER = Path(__file__).parents[3] / "docs/actuators"


def steps(document: Any) -> Iterator[dict[str, Any]]:
    """Yield every step that an example shows, at whatever depth."""
    if isinstance(document, dict) and str(document.get("kind", "")).count("."):
        yield document
    elif isinstance(document, dict | list):
        for inner in document.values() if isinstance(document, dict) else document:
            yield from steps(inner)


@pytest.mark.parametrize("name", ["kubernetes", "mesh"])
def test_examples_and_tables_name_the_steps_that_there_are(name: str) -> None:
    """Each example is accepted, and each kind of step has its row."""
    text = (FOLDER / f"{name}.md").read_text(encoding="utf-8")
    examples = [yaml.safe_load(block) for block in re.findall(r"```yaml\n(.*?)```", text, re.DOTALL)]
    shown = [REGISTRY.read(step).kind for example in examples for step in steps(example)]
    for example in examples:
        if isinstance(example, dict) and "clusters" in example:
            assert Inventory(clusters=example["clusters"]).clusters
    described = set(re.findall(r"^\| `([a-z]+\.[a-z_]+)`", text, re.MULTILINE))
    groups = {"kubernetes": ("kubernetes", "gitops"), "mesh": ("mesh", "gateway")}[name]
    assert described == {kind for kind in REGISTRY.catalogue() if kind.split(".")[0] in groups}
    assert set(shown) <= described
    assert len(shown) >= 3


def test_unused_field_stays_out_of_the_digest() -> None:
    """A cluster that does not name Argo CD's namespace is the same value as before there was such a field."""
    clusters = {"shop": {"service": "shop", "namespace": "prod"}}
    found = Inventory.model_validate({"clusters": clusters}).model_dump(mode="json")["clusters"]["shop"]
    assert "argocd" not in found
    clusters["shop"]["argocd"] = "cd"
    found = Inventory.model_validate({"clusters": clusters}).model_dump(mode="json")["clusters"]["shop"]
    assert found["argocd"] == "cd"
