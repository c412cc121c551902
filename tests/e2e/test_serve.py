"""The `rollback` command as a process of its own, as somebody runs it who has read nothing yet."""

from __future__ import annotations

import asyncio
import json
import re
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import yaml
from jsonschema import Draft202012Validator  # type: ignore[import-untyped]  # it ships no types

from bot.main.clock import SystemClock
from handlers.console import ConsoleClient
from tests.support.pgserver import free_port
from tests.support.production import environment, passable_folder
from tests.support.serving import CHANNEL, eventually, words_of

pytestmark = pytest.mark.slow

ROLLBACK = (str(Path(sys.executable).with_name("rollback")),)
MODULE = (sys.executable, "-m", "bot")
ROOT = Path(__file__).parents[2]
CLOCK = SystemClock()
END_SECONDS = 5.0

INVENTORY = {
    "server_groups": {
        "web": {
            "service": "shop",
            "hosts": [{"name": "app01"}],
            "manager": {"kind": "commands", "start": ["true"], "stop": ["true"], "status": ["true"]},
            "releases": "/opt/shop/releases",
            "current": "/opt/shop/current",
        }
    },
    "databases": {
        "shop-db": {
            "service": "shop",
            "host": "db01.internal",
            "dbname": "shop",
            "user": "rollback_operator",
            "password": {"env": "SHOP_DB_PASSWORD"},
            "backups": "/backups",
        }
    },
}
POLICY = {
    "people": [
        {"id": "U0OLIVIA", "name": "O. Larsen", "roles": ["on_call_engineer"]},
        {"id": "U0JSMITH", "name": "J. Smith", "roles": ["change_manager"]},
    ]
}


class Process:
    """A bot that was started by its command in an empty folder, and told only where to keep its data."""

    def __init__(self, folder: Path, log: Path, process: asyncio.subprocess.Process, port: int) -> None:
        self.folder = folder
        self.process = process
        self.url = f"http://127.0.0.1:{port}"
        self.log = log

    def children(self) -> set[int]:
        """Return the processes that work on the bot's data, the database's among them."""
        found = subprocess.run(
            ["ps", "-eww", "-o", "pid=,args="], capture_output=True, text=True, check=True
        ).stdout
        own = str(self.folder / "data")
        return {int(line.split()[0]) for line in found.splitlines() if own in line}

    def tokens(self) -> dict[str, str]:
        """Return the sign-in tokens by user id."""
        known: dict[str, str] = json.loads((self.folder / "data" / "console-tokens.json").read_text())
        return known

    async def ready(self) -> None:
        """Return when the bot says so."""

        async def look() -> bool:
            assert self.process.returncode is None, self.log.read_text()
            return "The bot is ready." in self.log.read_text()

        await eventually(look, seconds=40, what="readiness")

    async def ends(self, number: signal.Signals) -> int:
        """Send a signal and return the exit code, which must come soon."""
        self.process.send_signal(number)
        async with asyncio.timeout(END_SECONDS):
            return await self.process.wait()


@pytest.fixture
def folder() -> Iterator[Path]:
    """An empty folder."""
    with passable_folder() as path:
        yield path


@asynccontextmanager
async def bot(folder: Path) -> AsyncIterator[Process]:
    """Start a bot with no configuration; whatever happens, it is ended."""
    work = folder / "work"
    work.mkdir(exist_ok=True)
    port = free_port()
    settings = environment(ROLLBACK_DATA_DIR=str(folder / "data"), ROLLBACK_CONSOLE_PORT=str(port))
    file = folder / f"log-{port}"
    with file.open("wb") as log:
        process = await asyncio.create_subprocess_exec(
            *MODULE, "serve", cwd=work, env=settings, stdin=asyncio.subprocess.DEVNULL, stdout=log, stderr=log
        )
    started = Process(folder, file, process, port)
    try:
        yield started
    finally:
        if process.returncode is None:
            await started.ends(signal.SIGTERM)


def run(*argv: str, cwd: Path, **settings: str) -> subprocess.CompletedProcess[str]:
    """Run the command to its end, with a terminal that is wide enough."""
    known = environment(COLUMNS="240", NO_COLOR="1", ROLLBACK_DATA_DIR=str(cwd / "data"), **settings)
    return subprocess.run(
        [*ROLLBACK, *argv], cwd=cwd, env=known, capture_output=True, text=True, timeout=60, check=False
    )


async def answer(url: str, token: str, command: str) -> str:
    """Sign in, type a command, and return what the bot answers."""
    async with aiohttp.ClientSession() as session:
        console = ConsoleClient(url, token, session)
        await console.command(CHANNEL, command)

        async def look() -> str | None:
            found = (await console.state(CHANNEL))["ephemerals"]
            return words_of(found[-1]) if found else None

        return await eventually(look, what=f"an answer to {command}")


async def test_bot_without_configuration_serves_and_ends_in_good_order(folder: Path) -> None:
    """In an empty folder the bot starts, signs people in, answers, and leaves no process and no secret behind."""
    async with bot(folder) as started:
        await started.ready()
        tokens = started.tokens()
        assert (folder / "data" / "console-tokens.json").stat().st_mode & 0o077 == 0
        async with aiohttp.ClientSession() as session:
            link = f"{started.url}/?token={tokens['U0OPERATOR']}"
            async with session.get(link, allow_redirects=False) as page:
                assert (page.status, page.headers["Location"]) == (303, "/")
            async with session.get(f"{started.url}/api/state?channel=ops") as refused:
                assert refused.status == 401
        helped = await answer(started.url, tokens["U0OPERATOR"], "/rollback help")
        assert "Nothing runs before somebody with authority has approved it." in helped
        none = await answer(started.url, tokens["U0MANAGER"], "/rollback CHG0012345 it burns")
        assert "There is no rollback plan for CHG0012345." in none or "cannot be read" in none
        assert started.children()
        assert await started.ends(signal.SIGTERM) == 0
        assert started.children() == set()
        log = started.log.read_text()
    secret = (folder / "data" / "postgres" / "password").read_text().strip()
    for token in (*tokens.values(), secret):
        assert token not in log
    assert "xoxb-" not in log
    assert "Traceback" not in log


async def test_bot_that_was_killed_finds_its_database_again(folder: Path) -> None:
    """After kill -9 the database runs on, the next bot adopts it, and the people's tokens are the same."""
    async with bot(folder) as first:
        await first.ready()
        tokens = first.tokens()
        await answer(first.url, tokens["U0OPERATOR"], "/rollback CHG0012345 it burns")
        assert await first.ends(signal.SIGKILL) == -signal.SIGKILL
        assert first.children()
    async with bot(folder) as second:
        await second.ready()
        assert re.search(r"PostgreSQL on port \d+ adopted", second.log.read_text())
        assert second.tokens() == tokens
        assert "What you can type" in await answer(second.url, tokens["U0OPERATOR"], "/rollback help")
        assert await second.ends(signal.SIGINT) == 0
        assert second.children() == set()


async def test_second_bot_on_the_same_folder_is_refused(folder: Path) -> None:
    """A second bot on the same data says who works there, touches nothing, and ends with exit code 1."""
    async with bot(folder) as first:
        await first.ready()
        async with bot(folder) as second:
            async with asyncio.timeout(20):
                assert await second.process.wait() == 1
        said = " ".join(second.log.read_text().split())
        assert f"Another bot (process {first.process.pid}) works on" in said
        assert "It and its database were left alone." in said
        assert "Stop it first, or give this bot a data folder of its own." in said
        assert "Traceback" not in said
        assert "What you can type" in await answer(first.url, first.tokens()["U0OPERATOR"], "/rollback help")


def test_help_lists_the_commands(folder: Path) -> None:
    """`rollback --help` and `python -m bot --help` say what there is."""
    shown = run("--help", cwd=folder)
    assert shown.returncode == 0
    for command in ("serve", "doctor", "demo", "plan"):
        assert re.search(rf"│ {command} ", shown.stdout), shown.stdout
    same = subprocess.run(
        [*MODULE, "--help"], cwd=folder, env=environment(COLUMNS="240"), capture_output=True, text=True, check=True
    )
    assert "serve" in same.stdout
    assert run("plan", "--help", cwd=folder).stdout.count("check") >= 1
    assert run("rollbakc", cwd=folder).returncode == 2


def row(table: str, part: str) -> str:
    """Return the words of a part's row in the doctor's table."""
    found = [line for line in table.splitlines() if re.match(rf"│ {re.escape(part)} ", line)]
    assert found, table
    return " ".join(found[0].split())


def test_doctor_without_configuration_names_what_would_be_used(folder: Path) -> None:
    """With nothing configured nothing is broken: the doctor shows the defaults and what is missing, exit code 0."""
    shown = run("doctor", cwd=folder)
    assert shown.returncode == 0, shown.stdout
    assert "│ default │ bot and worker in one process, zone default, no probes" in row(shown.stdout, "role")
    assert "│ default │ embedded PostgreSQL" in row(shown.stdout, "store")
    assert "│ default │" in row(shown.stdout, "chat")
    assert "│ missing │ inventory.yaml does not exist │ Write it, see docs/inventory.md." in row(
        shown.stdout, "inventory"
    )
    assert "│ missing │" in row(shown.stdout, "plans")
    assert "│ default │ policy.yaml does not exist" in row(shown.stdout, "policy")
    assert not (folder / "data").exists()


def test_doctor_tells_every_fault_of_an_inventory(folder: Path) -> None:
    """A broken inventory is shown with its line and its fault, and the exit code is 1."""
    (folder / "inventory.yaml").write_text("databases:\n  shop-db:\n    service: shop\n    hots: db01\n")
    shown = run("doctor", cwd=folder)
    assert shown.returncode == 1
    said = " ".join(shown.stdout.split())
    assert "broken" in row(shown.stdout, "inventory and policy")
    assert "inventory.yaml" in said
    assert "Traceback" not in shown.stdout + shown.stderr


def test_doctor_reads_inventory_policy_and_credentials(folder: Path) -> None:
    """What is configured is shown; a credential that cannot be read is broken, and its value is never shown."""
    (folder / "inventory.yaml").write_text(yaml.safe_dump(INVENTORY))
    (folder / "policy.yaml").write_text(yaml.safe_dump(POLICY))
    (folder / "plans").mkdir()
    without = run("doctor", cwd=folder)
    assert without.returncode == 1
    assert "│ broken │" in row(without.stdout, "credential of shop-db")
    with_it = run("doctor", cwd=folder, SHOP_DB_PASSWORD="hunter2-and-more")
    assert with_it.returncode == 0, with_it.stdout
    assert "│ ok │ can be read" in row(with_it.stdout, "credential of shop-db")
    assert "│ ok │ 2 people in policy.yaml" in row(with_it.stdout, "policy")
    assert "│ ok │ 2 targets in inventory.yaml" in row(with_it.stdout, "inventory")
    assert "│ ok │ 0 plans in plans" in row(with_it.stdout, "plans")
    assert "hunter2" not in with_it.stdout + with_it.stderr


def test_role_of_its_own_needs_a_store_of_its_own(folder: Path) -> None:
    """A worker without a store's address is refused in words and leaves nothing behind; the option wins."""
    shown = run("serve", "--role", "worker", "--zone", "dmz", cwd=folder, ROLLBACK_ROLE="bot")
    assert shown.returncode == 1
    said = " ".join(shown.stderr.split())
    assert "ROLLBACK_ROLE is worker, but ROLLBACK_DATABASE_URL is not given: bots and workers meet in" in said
    assert "Traceback" not in shown.stderr
    assert not (folder / "data").exists()
    assert run("serve", "--role", "wroker", cwd=folder).returncode == 2


def test_settings_that_contradict_each_other_are_told_in_words(folder: Path) -> None:
    """A half-configured Slack ends the command with words, and without the token."""
    shown = run("serve", cwd=folder, SLACK_BOT_TOKEN="xoxb-very-secret")
    assert shown.returncode == 1
    said = " ".join(shown.stderr.split())
    assert "SLACK_BOT_TOKEN is given, but neither SLACK_APP_TOKEN (Socket Mode) nor SLACK_SIGNING_SECRET" in said
    assert "very-secret" not in shown.stdout + shown.stderr
    assert "Traceback" not in shown.stderr


def sound_plan() -> dict[str, Any]:
    """Return a plan for the shop, as short as a plan can be."""
    return {
        "api": "rollback/v1",
        "change": "CHG0012345",
        "title": "Shop 2",
        "service": "shop",
        "criticality": "low",
        "versions": {"deployed": "v2", "restored": "v1"},
        "deployed_at": "2024-01-15T15:20:00Z",
        "window": "30m",
        "point_of_no_return": {"after": "1h", "reason": "orders cannot be carried back"},
        "bridge": {"url": "https://meet.example.org/bridge"},
        "metrics": "shop-metrics",
        "baseline": {"error_rate": 0.001, "p95": "100ms"},
        "backups": [
            {
                "id": "release-before",
                "kind": "artifact",
                "target": "web",
                "location": "/backups/v1.tar.gz",
                "taken_at": "2024-01-15T14:30:00Z",
            }
        ],
        "phases": [
            {
                "name": "Switch",
                "expected": "1m",
                "steps": [{"id": "link", "kind": "servers.link", "target": "web", "release": "v1"}],
            }
        ],
        "verification": {
            "expected": "1m",
            "steps": [
                {"id": "health", "kind": "http.health", "target": "shop-http"},
                {"id": "metrics", "kind": "metrics.baseline", "target": "shop-metrics", "needs": ["health"]},
            ],
        },
        "communication": {"escalation": [{"role": "Change Manager", "user": "U0JSMITH"}]},
    }


@pytest.fixture
def shop(folder: Path) -> Path:
    """A folder with an inventory that fits the plan."""
    faces = {
        "endpoints": {"shop-http": {"service": "shop", "url": "http://shop.internal"}},
        "metrics": {
            "shop-metrics": {"kind": "metrics_page", "service": "shop", "url": "http://shop.internal/metrics"}
        },
    }
    (folder / "inventory.yaml").write_text(yaml.safe_dump({**INVENTORY, **faces}))
    return folder


def test_plan_check_accepts_a_sound_plan(shop: Path) -> None:
    """`rollback plan check` says what a sound plan is, with its digest, and ends with exit code 0."""
    (shop / "CHG0012345.yaml").write_text(yaml.safe_dump(sound_plan(), sort_keys=False))
    shown = run("plan", "check", "CHG0012345.yaml", cwd=shop)
    assert shown.returncode == 0, shown.stdout
    assert re.search(
        r"✓ CHG0012345.yaml: CHG0012345 - Shop 2, 3 steps, about \d+ \w+, digest [0-9a-f]{12}", shown.stdout
    )


def test_plan_check_tells_every_fault_of_every_plan(shop: Path) -> None:
    """Each fault is a line with file, line, path and suggestion; sound plans beside are still told; exit code 1."""
    (shop / "CHG0012345.yaml").write_text(yaml.safe_dump(sound_plan(), sort_keys=False))
    wrong = {**sound_plan(), "change": "CHG0012346", "titel": "Shop"}
    wrong["phases"][0]["steps"][0]["target"] = "webb"
    del wrong["communication"]
    text = yaml.safe_dump(wrong, sort_keys=False)
    (shop / "CHG0012346.yaml").write_text(text)
    shown = run("plan", "check", "CHG0012345.yaml", "CHG0012346.yaml", "CHG0012347.yaml", cwd=shop)
    assert shown.returncode == 1
    assert "✓ CHG0012345.yaml" in shown.stdout
    at = {name: 1 + text[: text.index(name)].count("\n") for name in ("titel:", "target: webb")}
    for line in (
        f"CHG0012346.yaml:{at['titel:']}:1 titel: unknown field 'titel' — known: communication, ",
        f"CHG0012346.yaml:{at['target: webb']}:",
        "target 'webb' is not in the inventory — did you mean 'web'?",
        "communication: one of the five parts that every plan must have is missing",
        "CHG0012347.yaml: cannot be read",
    ):
        assert line in shown.stdout, f"{line!r} not in:\n{shown.stdout}"


def test_plan_schema_accepts_what_the_reader_accepts(folder: Path) -> None:
    """`rollback plan schema` prints a JSON Schema by which editors find the same faults."""
    shown = run("plan", "schema", cwd=folder)
    assert shown.returncode == 0
    schema = json.loads(shown.stdout)
    Draft202012Validator.check_schema(schema)
    assert list(Draft202012Validator(schema).iter_errors(sound_plan())) == []
    assert list(Draft202012Validator(schema).iter_errors({**sound_plan(), "titel": "Shop"}))
    assert run("plan", "schema", "--out", "plan.schema.json", cwd=folder).returncode == 0
    assert json.loads((folder / "plan.schema.json").read_text()) == schema
