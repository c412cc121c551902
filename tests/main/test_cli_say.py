"""Steering a rollback from the command line."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner, Result

import actuators.metrics
from bot.domain import events
from bot.domain.errors import RollbackError
from bot.domain.lifecycle import State
from bot.domain.plan import plan_model
from bot.domain.run import Run
from bot.main import cli
from bot.main.clock import SystemClock
from bot.main.compose import build_registry
from storage.database import Database
from storage.migrations import upgrade
from storage.runs import SqlRuns
from storage.tokens import SqlTokens
from tests.support import plans, stories
from tests.support.pgserver import running_server


@dataclass
class Site:
    """A store with one rollback, and the people of the example.

    Attributes:
        url: The store.
        folder: Where the files of the site are.
        monkeypatch: Sets the variables of the command line.
    """

    url: str
    folder: Path
    monkeypatch: pytest.MonkeyPatch

    def rollback(self, *history: events.AnyEvent, by_hand: str = "") -> str:
        """Write a rollback in execution, and what happened then; return its id.

        Args:
            history: What happened.
            by_hand: The id of a step before all others that a person does; empty: there is none.
        """
        return asyncio.run(self._write(history, by_hand))

    async def _write(self, history: tuple[events.AnyEvent, ...], by_hand: str) -> str:
        catalogue = build_registry(actuators.metrics.MetricsSource({}, clock=SystemClock())).catalogue()
        model = plan_model(catalogue)
        database = Database(self.url)
        try:
            runs = SqlRuns(database, plan_model=model, clock=SystemClock())
            document = plans.document()
            if by_hand:
                first = {"name": "First", "expected": "5m", "steps": [plans.by_hand(by_hand, evidence="required")]}
                document["phases"].insert(0, first)
            plan = model.model_validate(document)
            straight = stories.run_in(State.EXECUTING).history
            targets = plans.inventory().only(plan.all_targets())
            run = await runs.create(plan, targets, straight[0], locks=plan.targets())
            for event in (*straight[1:], *history):
                run = await runs.append(run, event, lease=None)
            return run.id
        finally:
            await database.close()

    def load(self, rollback_id: str) -> Run:
        """Return the rollback as it stands."""

        async def read() -> Run:
            catalogue = build_registry(actuators.metrics.MetricsSource({}, clock=SystemClock())).catalogue()
            database = Database(self.url)
            try:
                return await SqlRuns(database, plan_model=plan_model(catalogue), clock=SystemClock()).load(
                    rollback_id
                )
            finally:
                await database.close()

        return asyncio.run(read())

    def act_as(self, user: str) -> None:
        """Give the command line a token of that person."""

        async def issue() -> str:
            database = Database(self.url)
            try:
                token, _ = await SqlTokens(database).issue(user_id=user, label="test", created_by="os:test")
                return token
            finally:
                await database.close()

        self.monkeypatch.setenv("ROLLBACK_TOKEN", asyncio.run(issue()))


@pytest.fixture(scope="module")
def new_store() -> Iterator[Callable[[], str]]:
    """Makes stores that a bot has set up."""
    numbers = itertools.count()
    with running_server() as server:
        address = f"postgresql://{server.user}:{server.password}@127.0.0.1:{server.port}"
        server.execute("CREATE DATABASE template_store")
        asyncio.run(upgrade(f"{address}/template_store"))

        def make() -> str:
            name = f"store_{next(numbers)}"
            server.execute(f"CREATE DATABASE {name} TEMPLATE template_store")
            return f"{address}/{name}"

        yield make


@pytest.fixture
def site(new_store: Callable[[], str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Site:
    """Return a site whose settings the command line reads."""
    policy = tmp_path / "policy.yaml"
    policy.write_text(yaml.safe_dump(plans.policy().model_dump(mode="json")), encoding="utf-8")
    found = new_store()
    monkeypatch.setenv("ROLLBACK_DATABASE_URL", found)
    monkeypatch.setenv("ROLLBACK_POLICY", str(policy))
    monkeypatch.setenv("ROLLBACK_DATA_DIR", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    return Site(found, tmp_path, monkeypatch)


def run(*words: str) -> Result:
    """Type a command."""
    return CliRunner().invoke(cli.app, list(words))


def refused(result: Result) -> str:
    """Return the words by which a command was refused."""
    assert isinstance(result.exception, RollbackError), result.output
    return str(result.exception)


def test_hold_and_resume(site: Site) -> None:
    """A word typed in a shell is recorded in the name of the token's person, with the reason."""
    rollback_id = site.rollback()
    site.act_as(plans.ON_CALL)
    assert f"{rollback_id} is on hold" in run("hold", rollback_id, "look", "at", "the", "replica").output
    asked: Any = site.load(rollback_id).pause
    assert (asked.who, asked.why) == (plans.ON_CALL, "look at the replica")
    assert run("resume", "fine").exit_code == 0
    assert site.load(rollback_id).pause is None


def test_a_step_of_a_person(site: Site) -> None:
    """What a person did, or cannot do, is said in a shell with its evidence; the table shows who is waited for."""
    rollback_id = site.rollback(stories.manual_asked(plans.at("15:50"), "key"), by_hand="key")
    site.act_as(plans.ON_CALL)
    assert "asked" in run("status", rollback_id).output
    assert "needs evidence" in refused(run("done", rollback_id, "key", "turned it"))
    done = run("done", rollback_id, "key", "turned it", "evidence:", "https://vault.example.org/7")
    assert f"{rollback_id}: «Do key» is done: it goes on now." in done.output
    said: Any = site.load(rollback_id).history[-1]
    assert (said.who, said.why, said.evidence) == (plans.ON_CALL, "turned it", "https://vault.example.org/7")
    assert "No step of" in refused(run("cannot", rollback_id, "key", "it is lost"))


def test_a_step_that_a_person_cannot_do(site: Site) -> None:
    """A no is recorded as the failure of the step, with its reason."""
    rollback_id = site.rollback(stories.manual_asked(plans.at("15:50"), "key"), by_hand="key")
    site.act_as(plans.ON_CALL)
    assert "has it on record" in run("cannot", rollback_id, "it", "is", "lost").output
    failure: Any = site.load(rollback_id).status("key").failure
    assert (failure.who, failure.why) == (plans.ON_CALL, "it is lost")


def test_the_rules_are_those_of_the_chat(site: Site) -> None:
    """Whoever holds no role is refused in the same words as in the chat, and an abort asks twice where it must."""
    rollback_id = site.rollback(stories.started(plans.at("15:50"), "swap"))
    site.act_as(plans.STRANGER)
    assert "You hold no role here" in refused(run("hold", rollback_id, "why", "not"))
    site.act_as(plans.ON_CALL)
    assert f"abort {rollback_id} confirmed" in refused(run("abort", rollback_id, "wrong", "change"))
    assert run("abort", rollback_id, "confirmed", "now", "wrong", "change").exit_code == 0
    asked: events.AbortAsked = site.load(rollback_id).last(events.AbortAsked)
    assert (asked.stop, asked.why) == (True, "wrong change")
    assert "what came in after the backup is no longer served" in asked.confirmed


def test_nobody_acts_without_a_token(site: Site) -> None:
    """Without a token nothing is done, whoever holds the store's credentials."""
    rollback_id = site.rollback()
    refused(run("hold", rollback_id, "why"))
    assert site.load(rollback_id).pause is None


def test_hand_over(site: Site) -> None:
    """The next lead is named by the id of the user."""
    rollback_id = site.rollback()
    site.act_as(plans.ON_CALL)
    assert run("handover", rollback_id, "--to", plans.MANAGER, "end", "of", "shift").exit_code == 0
    assert site.load(rollback_id).lead == plans.MANAGER
    assert "Hand over to whom?" in refused(run("handover", rollback_id, "end"))


@pytest.mark.parametrize(
    ("history", "code", "words"),
    [
        ((), 0, "Nothing blocks deployments of payments"),
        ((stories.began(plans.at("15:47"), blocks=True),), 10, "Deployments of payments are blocked"),
    ],
)
def test_pipelines_ask(site: Site, history: tuple[events.AnyEvent, ...], code: int, words: str) -> None:
    """A pipeline learns by the exit code whether a service may be deployed, and by words why not."""
    site.rollback(*history)
    result = run("hold", "check", "payments")
    assert (result.exit_code, words in result.output) == (code, True)


def test_what_cannot_be_told_is_not_a_yes(site: Site) -> None:
    """When the store cannot be reached the exit code says neither yes nor no, and the words say: do not deploy."""
    site.monkeypatch.setenv("ROLLBACK_DATABASE_URL", "postgresql://nobody@127.0.0.1:1/none")
    result = run("hold", "check", "payments")
    assert (result.exit_code, "Do not deploy" in result.output) == (11, True)


def test_a_misspelt_service_is_not_a_yes(site: Site) -> None:
    """A pipeline that asks for a service nobody knows is told so, and not to deploy."""
    assert run("hold", "check", "paymets").exit_code == 0  # without an inventory nobody can tell
    file = site.folder / "inventory.yaml"
    file.write_text(yaml.safe_dump(plans.inventory().model_dump(mode="json")), encoding="utf-8")
    site.monkeypatch.setenv("ROLLBACK_INVENTORY", str(file))
    assert run("hold", "check", "payments").exit_code == 0
    result = run("hold", "check", "paymets")
    assert (result.exit_code, "Did you mean payments?" in result.output) == (11, True)


def test_status(site: Site) -> None:
    """The status shows each step and who leads; without a rollback it says so."""
    assert "No rollback is under way" in run("status").output
    rollback_id = site.rollback()
    assert f"lead {plans.ON_CALL}" in run("status", rollback_id).output
    assert "There is no rollback rb-9999" in run("status", "rb-9999").output
