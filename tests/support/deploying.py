"""What tests of image, compose file and chart share: the real tools, and how the program reads what they say."""

from __future__ import annotations

import importlib.util
import os
import re
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import typer
from pydantic import AliasChoices

from bot.main import cli
from bot.main.settings import Settings

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
TO_STOP = timedelta(seconds=20)
"""How long a process needs beyond its grace: 5 s for answers under way, 7 s for actuators, and the store."""
Json = dict[str, Any]


def missing(what: str) -> None:
    """Skip a test whose real part is not installed, or fail where that is demanded."""
    words = f"{what} is not installed; it comes with the development dependencies"
    if os.environ.get("ROLLBACK_REAL_PARTS") == "require":
        pytest.fail(words)
    pytest.skip(words)


def present(module: str) -> None:
    """Skip or fail a test if a Python package is not installed; it is not imported here."""
    if importlib.util.find_spec(module) is None:
        missing(module)


def real(module: str) -> Any:
    """Return a tool that is a Python package."""
    present(module)
    return importlib.import_module(module)


def known_variables() -> frozenset[str]:
    """Return every environment variable that the program reads."""
    names: set[str] = set()
    for name, field in Settings.model_fields.items():
        alias = field.validation_alias
        names |= {str(each) for each in alias.choices} if isinstance(alias, AliasChoices) else set()
        names.add(f"ROLLBACK_{name.upper()}")
    return frozenset(names)


def understood(variables: Mapping[str, str], arguments: list[str], monkeypatch: pytest.MonkeyPatch) -> Settings:
    """Return the settings that a container's variables and arguments come to, read as the program does."""
    for name in [name for name in os.environ if name.startswith(("ROLLBACK_", "SLACK_"))]:
        monkeypatch.delenv(name)
    assert {name for name in variables if name.startswith(("ROLLBACK_", "SLACK_"))} <= known_variables()
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    command: Any = typer.main.get_command(cli.app)
    given = command.commands[arguments[0]].make_context(arguments[0], arguments[1:]).params
    return Settings(**{name: value for name, value in given.items() if value is not None})


def image_variables() -> dict[str, str]:
    """Return the variables that the image sets."""
    (block,) = re.findall(r"^ENV (.*?[^\\])$", (DEPLOY / "Dockerfile").read_text(), re.DOTALL | re.MULTILINE)
    return dict(pair.split("=", 1) for pair in block.replace("\\\n", " ").split())
