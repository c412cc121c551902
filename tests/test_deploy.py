"""Image and compose file: what they say is accepted by the real tools, and understood by the program."""

from __future__ import annotations

import ast
import importlib.metadata
import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from bot.domain.times import parse_duration
from bot.main.health import LIVE
from bot.main.settings import Settings
from tests.support.deploying import (
    DEPLOY,
    ROOT,
    TO_STOP,
    Json,
    image_variables,
    known_variables,
    missing,
    real,
    understood,
)


def compose(**variables: str) -> Json:
    """Return the compose file with the variables put in, as the tool does."""

    def value(found: re.Match[str]) -> str:
        name, how, words = found.groups()
        if variables.get(name):
            return variables[name]
        assert how == ":-", f"{name}: {words}"
        return str(words)

    def put_in(node: Any) -> Any:
        match node:
            case dict():
                return {key: put_in(each) for key, each in node.items()}
            case list():
                return [put_in(each) for each in node]
            case str():
                return re.sub(r"\$\{(\w+)(:[-?])([^}]*)\}", value, node)
            case _:
                return node

    document: Json = put_in(yaml.safe_load((DEPLOY / "compose.yaml").read_text()))
    return document


@pytest.fixture
def example() -> dict[str, str]:
    """The variables of deploy/example.env, filled in."""
    lines = [line for line in (DEPLOY / "example.env").read_text().splitlines() if not line.startswith("#")]
    names = [line.partition("=")[0] for line in lines if line]
    return {name: "C0OPS" if name.endswith("CHANNEL") else f"/{name.lower()}" for name in names}


def test_compose_file_is_accepted(example: dict[str, str]) -> None:
    """With what example.env asks for the file is complete, and fits the compose specification."""
    spec = real("compose_spec")
    composed = spec.PyCompose.from_json(json.dumps(compose(**example)))
    composed.validate()
    assert composed.service_names()
    for name in example:
        with pytest.raises(AssertionError, match=name):
            compose(**{**example, name: ""})


def test_compose_file_runs_two_bots_and_two_workers(
    example: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two bots and two workers wait for the store, are read by the program as meant, and are given time to stop."""
    document = compose(**example)
    for role in ("bot", "worker"):
        service = document["services"][role]
        settings = understood({**image_variables(), **service["environment"]}, service["command"], monkeypatch)
        assert settings.role.value == role
        assert service["deploy"]["replicas"] == 2
        assert service["depends_on"]["postgres"]["condition"] == "service_healthy"
        assert parse_duration(service["stop_grace_period"]) >= settings.grace + TO_STOP
    assert "SLACK_BOT_TOKEN" not in document["services"]["worker"]["environment"]
    assert set(document["volumes"]) == {"store", "backups"}


def instructions() -> Iterator[tuple[str, str]]:
    """Yield the Dockerfile's instructions with their arguments."""
    text = re.sub(r"^#.*\n", "", (DEPLOY / "Dockerfile").read_text(), flags=re.MULTILINE)
    for line in text.replace("\\\n", " ").splitlines():
        if line.strip():
            word, _, rest = line.partition(" ")
            yield word, rest.strip()


def test_dockerfile_is_without_faults() -> None:
    """Hadolint has nothing to say about the Dockerfile."""
    hadolint = shutil.which("hadolint", path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    if hadolint is None:
        missing("hadolint")
    found = subprocess.run([str(hadolint), str(DEPLOY / "Dockerfile")], capture_output=True, text=True, check=False)
    assert (found.returncode, found.stdout) == (0, "")


def test_image_is_built_from_what_is_there() -> None:
    """What the Dockerfile copies exists and reaches the builder; every package of the program is in it."""
    copied = [
        source
        for word, rest in instructions()
        if word == "COPY" and not rest.startswith("--from")
        for source in rest.split()[:-1]
    ]
    assert [source for source in copied if not (ROOT / source).exists()] == []
    let_through = {
        line[1:] for line in (DEPLOY / "Dockerfile.dockerignore").read_text().splitlines() if line[:1] == "!"
    }
    assert let_through == set(copied)
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    assert set(project["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]) <= set(copied)


def test_image_runs_unprivileged_and_says_how_it_is() -> None:
    """The last stage has a user of its own, a health check on the probe, and variables that the program knows."""
    last = list(instructions())
    last = last[max(n for n, (word, _) in enumerate(last) if word == "FROM") :]
    found = dict(last)
    assert found["USER"] == "10001:10001"
    assert LIVE in found["HEALTHCHECK"] or LIVE in found["CMD"] or any(LIVE in rest for _, rest in last)
    assert json.loads(found["ENTRYPOINT"])[-1] == "rollback"
    own = {name for name in image_variables() if name.startswith("ROLLBACK_")}
    assert own <= known_variables()
    exposed = set(found["EXPOSE"].split())
    assert exposed == {str(Settings.model_fields["http_port"].default), image_variables()["ROLLBACK_HEALTH_PORT"]}


def pins(file: Path) -> dict[str, tuple[str, frozenset[str]]]:
    """Return version and hashes by package of a lock file."""
    found = {}
    for entry in re.split(r"\n(?=\S)", file.read_text(encoding="utf-8")):
        pinned = re.match(r"([a-z0-9._-]+)(?:\[[^]]*\])?==(\S+)", entry)
        if pinned:
            found[pinned[1]] = pinned[2], frozenset(re.findall(r"--hash=(sha256:[0-9a-f]{64})", entry))
    return found


def normal(requirement: str) -> str:
    """Return the normalised name of a requirement's package."""
    return re.sub(r"[-_.]+", "-", re.split(r"[\s\[<>=!~;]", requirement)[0]).lower()


def test_image_holds_what_was_tested_and_nothing_else() -> None:
    """The image's packages are pinned with hashes as those of the tests, and those of the tests alone stay out."""
    everything, image = pins(ROOT / "requirements.lock"), pins(DEPLOY / "requirements.lock")
    build = pins(DEPLOY / "build.lock")
    assert all(hashes for _, hashes in (image | build).values())
    assert {name: everything.get(name) for name in image | build} == image | build
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert {normal(each) for each in project["dependencies"]} <= image.keys()
    for_tests = {normal(each) for each in project["optional-dependencies"]["dev"]}
    assert image.keys() & for_tests == set()
    assert "hatchling" in build


def imported(folder: Path) -> set[str]:
    """Return the top-level names that a package's modules import, those inside of functions included."""
    found: set[str] = set()
    for file in folder.rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            match node:
                case ast.Import():
                    found |= {alias.name.partition(".")[0] for alias in node.names}
                case ast.ImportFrom(module=str(module), level=0):
                    found.add(module.partition(".")[0])
    return found


def test_image_holds_everything_that_the_program_imports() -> None:
    """Each module that the program imports comes from Python, from itself, or from a package of the image."""
    own = ("actuators", "bot", "handlers", "storage")
    names = {name for package in own for name in imported(ROOT / package)} - set(own) - sys.stdlib_module_names
    sources = importlib.metadata.packages_distributions()
    image = pins(DEPLOY / "requirements.lock").keys()
    assert names
    assert {name for name in names if not image & {normal(each) for each in sources.get(name, [])}} == set()


def test_no_registry_is_named() -> None:
    """Images are named without a host: whoever installs them says where they come from."""
    named = re.compile(r"^\s*(?:image|repository|FROM|ARG BASE)\b[:= ]+\"?([^\s\"{$]+)", re.MULTILINE)
    files = [file for file in DEPLOY.rglob("*") if file.is_file() and file.suffix != ".lock"]
    found = [name for file in files for name in named.findall(file.read_text(encoding="utf-8"))]
    assert len(found) >= 3
    for name in found:
        host, slash, _ = name.partition("/")
        assert not slash or not re.search(r"[.:]", host), name


def test_versions_agree() -> None:
    """Chart, compose file and program have one version."""
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    chart = yaml.safe_load((DEPLOY / "helm" / "rollback-bot" / "Chart.yaml").read_text())
    assert (chart["version"], chart["appVersion"]) == (version, version)
    assert compose_image().endswith(f":{version}")


def compose_image() -> str:
    """Return the image that the compose file names by default."""
    (found,) = re.findall(
        r"^  image: \$\{ROLLBACK_IMAGE:-(\S+)\}$", (DEPLOY / "compose.yaml").read_text(), re.MULTILINE
    )
    return str(found)
