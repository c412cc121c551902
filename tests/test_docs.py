"""The documents say what is true: commands, links, settings, steps, words and examples."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Iterator, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import typer
from pydantic import AliasChoices
from pydantic.fields import FieldInfo
from typer.testing import CliRunner

import actuators.metrics
from bot.domain.actuation import Registry
from bot.domain.inventory import Inventory
from bot.domain.times import format_duration
from bot.main import cli, plancheck
from bot.main.clock import SystemClock
from bot.main.compose import build_registry
from bot.main.settings import Settings
from storage import plans

ROOT = Path(__file__).parent.parent
DOCUMENTS = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
WORDS = (
    "change (CHG)", "rollback plan", "rollback", "step", "phase", "actuator", "probe", "change manager",
    "service owner", "on-call engineer", "incident commander", "authorisation", "trigger", "verdict",
    "rollback window", "extension", "point of no return", "journal", "attempt", "lease", "fence", "inventory",
    "incident (INC)", "problem (PRB)", "post-incident review (PIR)",
)  # fmt: skip
"""The words that code, chat and documents share."""


def text_of(name: str) -> str:
    """Return a document."""
    return (ROOT / name).read_text(encoding="utf-8")


def fenced(text: str, language: str) -> list[str]:
    """Return the fenced blocks of a language."""
    return re.findall(rf"^```{language}\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)


def commands(file: Path) -> Iterator[str]:
    """Yield the commands that a document shows, in fenced blocks and within the text."""
    text = file.read_text(encoding="utf-8")
    for block in fenced(text, "sh"):
        for line in block.splitlines():
            yield line.partition("#")[0].strip()
    prose = re.sub(r"^```.*?^```$", "", text, flags=re.DOTALL | re.MULTILINE)
    yield from re.findall(r"`((?:rollback|make) [a-z][^`]*)`", prose)


def shown(program: str) -> list[tuple[str, list[str]]]:
    """Return each use of a program with its arguments and where it stands."""
    found = []
    for file in DOCUMENTS:
        for command in commands(file):
            name, *arguments = command.split() or [""]
            if Path(name).name == program:
                found.append((f"{file.relative_to(ROOT)}: {command}", arguments))
    return found


def test_every_target_of_make_that_is_shown_exists() -> None:
    """Each `make TARGET` in the documents is a target of the Makefile."""
    uses = shown("make")
    assert {"demo", "test", "setup", "bench"} <= {arguments[0] for _, arguments in uses}
    for where, arguments in uses:
        tried = subprocess.run(["make", "-n", *arguments], cwd=ROOT, capture_output=True, text=True, check=False)
        assert tried.returncode == 0, f"{where}: {tried.stderr}"


def test_every_rollback_command_that_is_shown_exists() -> None:
    """Each `rollback ...` in the documents is a command with these options."""
    uses = shown("rollback")
    assert {"doctor", "serve", "plan"} <= {arguments[0] for _, arguments in uses}
    root = typer.main.get_command(cli.app)
    for where, arguments in uses:
        command: Any = root
        path: list[str] = []
        for word in arguments:
            known = getattr(command, "commands", {})
            if not known:
                break
            assert word in known, where
            command, path = known[word], [*path, word]
        options = {name for parameter in command.params for name in parameter.opts}
        assert {word for word in arguments if word.startswith("--")} - {"--help"} <= options, where
        assert CliRunner().invoke(cli.app, [*path, "--help"]).exit_code == 0, where


@pytest.mark.parametrize("file", DOCUMENTS, ids=lambda file: str(file.relative_to(ROOT)))
def test_links_between_documents_lead_somewhere(file: Path) -> None:
    """Each relative link is a file of the repository, and its anchor a heading there."""
    for target in re.findall(r"\]\(([^)\s]+)\)", file.read_text(encoding="utf-8")):
        if re.match(r"[a-z]+:", target):
            continue
        name, _, anchor = target.partition("#")
        found = (file.parent / name).resolve() if name else file
        assert found.exists(), f"{file.relative_to(ROOT)} links to {target}"
        if anchor:
            headings = re.findall(r"^#+ (.+)$", found.read_text(encoding="utf-8"), re.MULTILINE)
            slugs = {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}
            assert anchor in slugs, f"{file.relative_to(ROOT)} links to {target}"


@pytest.mark.parametrize(
    "name", ["inventory.md", "plans.md", "policy.md", "settings.md", "glossary.md", "console.md"]
)
def test_every_document_is_found_from_the_readme(name: str) -> None:
    """README.md leads to each document."""
    assert f"(docs/{name})" in text_of("README.md")


def rows(text: str) -> list[Sequence[str]]:
    """Return the cells of every row of a document's tables."""
    lines = [line for line in text.splitlines() if line.startswith("|") and not re.fullmatch(r"[|\- ]+", line)]
    return [[cell.strip() for cell in re.split(r"(?<!\\)\|", line.strip("|"))] for line in lines]


def names_of(name: str, field: FieldInfo) -> list[str]:
    """Return the environment variables of a setting."""
    if isinstance(field.validation_alias, AliasChoices):
        return [str(choice) for choice in field.validation_alias.choices]
    return [f"ROLLBACK_{name.upper()}"]


def default_of(field: FieldInfo) -> str:
    """Return how a default is written in the table."""
    if field.default_factory is not None:
        return "see below"
    if field.default in (None, ""):
        return "none"
    return f"`{format_duration(field.default) if isinstance(field.default, timedelta) else field.default}`"


def test_every_setting_is_described_with_its_default() -> None:
    """docs/settings.md has a row for each setting and for nothing else, with variables and default as they are."""
    described = {row[0]: row[1] for row in rows(text_of("docs/settings.md"))[1:]}
    real = {
        " or ".join(f"`{each}`" for each in names_of(name, field)): default_of(field)
        for name, field in Settings.model_fields.items()
    }
    assert described == real


@pytest.fixture(scope="module")
def registry() -> Registry:
    """The actuators that come with the bot."""
    return build_registry(actuators.metrics.MetricsSource({}, clock=SystemClock()))


def test_every_kind_of_step_is_described(registry: Registry) -> None:
    """docs/plans.md names every kind of step that the bot knows, and none that it does not."""
    table = [row for row in rows(text_of("docs/plans.md")) if row[0].startswith("`") and "." in row[0]]
    described = {kind for row in table for kind in re.findall(r"`([a-z_]+\.[a-z_]+)`", row[0])}
    assert described == set(registry.catalogue())


@pytest.fixture
def inventory(tmp_path: Path) -> Inventory:
    """The example of docs/inventory.md, as its reader takes it."""
    (example,) = fenced(text_of("docs/inventory.md"), "yaml")
    file = tmp_path / "inventory.yaml"
    file.write_text(example, encoding="utf-8")
    return plans.read_inventory(file)


def test_example_inventory_is_accepted(inventory: Inventory) -> None:
    """The example of docs/inventory.md shows a target of each kind that steps act on, and can be used."""
    assert {type(target).__name__ for _, target in inventory.items()} >= {"ServerGroup", "Database", "Endpoint"}
    assert len(inventory.metrics) == 2


def test_example_plan_is_accepted(inventory: Inventory, registry: Registry) -> None:
    """The example of docs/plans.md is a plan for the example's inventory."""
    (example,) = [block for block in fenced(text_of("docs/plans.md"), "yaml") if block.startswith("api:")]
    plan = plans.read_plan(example, file="CHG0012345.yaml", catalogue=registry.catalogue(), inventory=inventory)
    assert plan.change == "CHG0012345"


def test_example_policy_is_accepted(tmp_path: Path) -> None:
    """The example of docs/policy.md can be used, and names everybody whom the example's plan tells."""
    (example,) = fenced(text_of("docs/policy.md"), "yaml")
    file = tmp_path / "policy.yaml"
    file.write_text(example, encoding="utf-8")
    known = {person.id for person in plans.read_policy(file).people}
    told = set(re.findall(r"user: (U\w+)", "".join(fenced(text_of("docs/plans.md"), "yaml"))))
    assert told <= known


def test_glossary_has_every_word() -> None:
    """docs/glossary.md explains each word that code, chat and documents share, once, in a sentence."""
    entries = rows(text_of("docs/glossary.md"))[1:]
    words = [word.strip() for row in entries for word in row[0].split(",")]
    assert len(words) == len(set(words))
    assert [word for word in WORDS if word not in words] == []
    assert all(len(row) == 2 and row[1].endswith(".") for row in entries)


def test_published_schema_of_plans_is_the_one_of_the_code() -> None:
    """The JSON Schema that editors load from the repository is what `rollback plan schema` prints."""
    published = json.loads((ROOT / "docs" / "plan.schema.json").read_text(encoding="utf-8"))
    assert published == plancheck.schema(SystemClock())
