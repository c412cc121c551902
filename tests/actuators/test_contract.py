"""What every registered actuator promises, on a real target of its own.

A new actuator joins by a `worlds.py` (see `tests.support.contract`).
"""

from __future__ import annotations

import asyncio
import re
import shutil
import tempfile
from collections.abc import AsyncIterator, Awaitable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from actuators.metrics import MetricsSource
from bot.domain.actuation import (
    Fault,
    KnowsLoss,
    KnowsRemedies,
    Loss,
    Observation,
    Outcome,
    Presence,
    Registry,
    Remedy,
    Verdict,
)
from bot.domain.errors import ActuatorError, RollbackError
from bot.domain.manual import ManualStep
from bot.main.compose import build_registry
from tests.actuators.postgres.conftest import payments, payments_dump
from tests.support.actuation import FakeClock, fails
from tests.support.contract import Case, Ground, Lasting, World, worlds
from tests.support.pgserver import pg_server

__all__ = ["payments", "payments_dump", "pg_server"]

WORLDS = worlds()
PATIENCE = 25.0
"""Seconds: less than the engine waits for an answer."""
FAULTS = (
    "",
    "Something failed.",
    "It did not end within 2 minutes and was stopped.",
    "Restoring failed on 1 of 3 hosts. app02: cannot write /etc/payments/app.conf: Permission denied.",
    "Backup db-before is missing: there is no /backups/payments.dump.",
    'database "payments" is being accessed by other users: payments_app "web" from 10.0.0.7 (3).',
)


@pytest.fixture(scope="session")
def lasting() -> Iterator[Lasting]:
    """What stays for the whole session."""
    with ExitStack() as stack:
        yield Lasting(stack)


@pytest.fixture
def clock() -> FakeClock:
    """The clock of the registered actuators and of their runs."""
    return FakeClock()


@pytest.fixture
def registry(clock: FakeClock) -> Registry:
    """The actuators of a process of its own: what they remember is nobody else's."""
    return build_registry(MetricsSource({}, clock=clock))


@pytest.fixture
def ground(
    clock: FakeClock, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest, lasting: Lasting
) -> Iterator[Ground]:
    """What worlds are built on."""
    folder = Path(tempfile.mkdtemp(prefix="rollback-contract-"))
    folder.chmod(0o711)
    yield Ground(folder, clock, monkeypatch, request, lasting)
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(params=sorted(WORLDS))
async def case(request: pytest.FixtureRequest, ground: Ground) -> AsyncIterator[Case]:
    """One kind of step after the other, each in a world of its own."""
    world: World = WORLDS[request.param]
    async with world(ground) as built:
        assert built.step.kind == request.param
        yield built


async def remedies(registry: Registry, case: Case, brief: str, *, away: bool = False) -> tuple[Remedy, ...]:
    """Return what is offered after a failure, in time."""
    actuator = registry.actuator(case.step)
    if not isinstance(actuator, KnowsRemedies):
        return ()
    async with asyncio.timeout(PATIENCE):
        return await actuator.remedies(case.step, Fault(brief), case.away if away else case.context)


async def observed(looking: Awaitable[Observation]) -> Observation:
    """Return what was seen as the engine takes it: what is raised in words is unknown."""
    try:
        return await looking
    except RollbackError as error:
        return Observation(Presence.UNKNOWN, error.brief)


async def beyond_return(measuring: Awaitable[Loss | None]) -> str:
    """Return why a step is beyond return, as the engine takes it; a loss that cannot be measured is."""
    try:
        loss = await measuring
    except RollbackError as error:
        return error.brief
    return loss.beyond if loss else ""


def test_every_kind_has_a_world(registry: Registry) -> None:
    """No actuator is registered that nobody holds to the contract, and no world is left over."""
    assert sorted(WORLDS) == sorted(registry.catalogue())


async def test_looking_changes_nothing(registry: Registry, case: Case) -> None:
    """Check, observe, remedies and loss only read, and answer in the forms that the engine takes."""
    before, actuator = case.state(), registry.actuator(case.step)
    checks = await actuator.check(case.step, case.context)
    assert checks
    assert all(check.subject and check.words for check in checks)
    assert all(check.resolution for check in checks if check.verdict is Verdict.FAIL)
    seen = await actuator.observe(case.step, case.context)
    assert isinstance(seen, Observation)
    assert seen.words
    assert seen.presence is not Presence.PRESENT, "the world must leave the step something to do"
    for brief in (*FAULTS, *case.faults):
        await remedies(registry, case, brief)
    if isinstance(actuator, KnowsLoss):
        async with asyncio.timeout(PATIENCE):
            loss = await actuator.loss(case.step, case.context)
        assert loss is None or loss.words
    assert case.state() == before


async def test_a_target_that_is_away_is_told(registry: Registry, case: Case) -> None:
    """Looking at it never raises but in words; nobody takes it for done, and what acts is refused beforehand."""
    actuator, before = registry.actuator(case.step), case.state()
    async with asyncio.timeout(PATIENCE):
        checks = await actuator.check(case.step, case.away)
        seen = await observed(actuator.observe(case.step, case.away))
    assert seen.words
    assert seen.presence is (Presence.ABSENT if case.step.reads_only else Presence.UNKNOWN)
    if case.step.reads_only or not case.refuses:
        assert {check.verdict for check in checks} != {Verdict.OK}
    else:
        assert fails(checks)
    for brief in FAULTS:
        assert isinstance(await remedies(registry, case, brief, away=True), tuple)
    if isinstance(actuator, KnowsLoss):
        async with asyncio.timeout(PATIENCE):
            beyond = await beyond_return(actuator.loss(case.step, case.away))
        assert beyond, "what cannot be measured counts as too much"
    assert case.state() == before


async def test_a_target_that_nobody_knows_is_refused(registry: Registry, case: Case) -> None:
    """A name that is not in the inventory is a finding of the check, and nothing is taken for done."""
    step, actuator = case.step.model_copy(update={"target": "nobody-knows-it"}), registry.actuator(case.step)
    if getattr(step, "endpoints", None):
        step = step.model_copy(update={"endpoints": ("nobody-knows-it",)})
    assert fails(await actuator.check(step, case.context))
    assert (await observed(actuator.observe(step, case.context))).presence is not Presence.PRESENT
    if isinstance(actuator, KnowsRemedies):
        assert isinstance(await actuator.remedies(step, Fault("Permission denied"), case.context), tuple)


async def test_applying_twice_is_harmless(registry: Registry, case: Case) -> None:
    """The second time finds the effect of the first and leaves it; what only reads changes nothing at all."""
    if case.before is not None:
        await case.before()
    actuator, untouched = registry.actuator(case.step), case.state()
    if isinstance(case.step, ManualStep):
        with pytest.raises(ActuatorError, match="done by a person"):
            await actuator.apply(case.step, case.context)
        return
    assert isinstance(await actuator.apply(case.step, case.context), Outcome)
    after = case.state()
    if case.step.reads_only:
        assert after == untouched
    else:
        assert (await actuator.observe(case.step, case.context)).presence is Presence.PRESENT
    again = await actuator.apply(case.step, case.context)
    assert again.words
    assert case.state() == after


async def test_remedies_are_fit_for_a_journal_and_for_buttons(registry: Registry, case: Case) -> None:
    """Short titles, names of their own, diagnoses first, steps that come back from JSON as they were."""
    for brief in (*FAULTS, *case.faults):
        found = await remedies(registry, case, brief)
        assert len({remedy.id for remedy in found}) == len(found)
        assert [not remedy.step.reads_only for remedy in found] == sorted(
            not remedy.step.reads_only for remedy in found
        )
        for remedy in found:
            assert re.fullmatch(r"[a-z0-9][a-z0-9._-]*", remedy.id), "the engine makes a step's name of it"
            assert 0 < len(remedy.title) <= 60
            assert remedy.words
            assert registry.read(remedy.step.model_dump(mode="json")) == remedy.step
            assert case.context.inventory.find(remedy.step.target) is not None
            assert not (remedy.settles and remedy.step.reads_only), "looking brings nothing about"
            assert await registry.actuator(remedy.step).check(remedy.step, case.context)


async def test_diagnoses_show_something_and_change_nothing(registry: Registry, case: Case) -> None:
    """Every diagnosis that is offered can be run, ends in words and bounded details, and only reads."""
    run: set[str] = set()
    before = case.state()
    for brief in (*FAULTS, *case.faults):
        for remedy in await remedies(registry, case, brief):
            if not remedy.step.reads_only or remedy.id in run:
                continue
            run.add(remedy.id)
            outcome = await registry.actuator(remedy.step).apply(remedy.step, case.context)
            assert outcome.words
            assert len(outcome.output) <= 50_000
    assert case.state() == before


def test_a_registry_reads_only_what_it_knows() -> None:
    """A step of an unknown kind is no step."""
    with pytest.raises(KeyError):
        Registry().read({"kind": "postgres.swap"})
