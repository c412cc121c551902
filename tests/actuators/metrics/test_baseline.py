"""The return to the baseline: when it counts, and that unknown never does."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from actuators import metrics
from actuators.metrics import BackAtBaseline, MetricsSource
from actuators.metrics.baseline import Settling, shortfalls
from bot.domain.actuation import Outcome, Presence, Registry, Verdict
from bot.domain.criteria import Reading
from bot.domain.errors import ActuatorError
from bot.domain.inventory import Inventory
from bot.domain.plan import Baseline
from tests.actuators.metrics.conftest import Page, Release
from tests.support.actuation import FakeClock, Reports, fails, make_context, make_plan
from tests.support.pgserver import free_port

STEP = BackAtBaseline(id="metrics", target="page", settle="10s", within="60s")
BASELINE = Baseline(error_rate=0.002, p95="175ms")


async def run(
    page: Page, traffic: Callable[[float], None], *, step: BackAtBaseline = STEP, reports: Reports | None = None
) -> tuple[Outcome, FakeClock]:
    """Apply the step while a second's traffic is served in each second."""
    clock = FakeClock(on_sleep=traffic)
    inventory = page.inventory()
    source = MetricsSource(dict(Inventory.model_validate(inventory).metrics), clock=clock)
    registry = Registry(*metrics.register(source))
    context = make_context(make_plan(step, baseline=BASELINE), inventory, clock=clock, reports=reports)
    return await registry.actuator(step).apply(step, context), clock


async def test_good_values_settle(page: Page) -> None:
    """Values within the limits pass once they have lasted, with the specification's words and the facts."""
    reports = Reports()
    page.live.serve(1000, failed=300, seconds=0.9)
    outcome, clock = await run(
        page, lambda second: page.live.serve(100, failed=int(second) % 3 == 0), reports=reports
    )
    assert outcome.words == "error rate 0.3% (baseline: 0.2%), 171ms p95 (baseline: 175ms)"
    assert outcome.facts["error_rate"] == pytest.approx(0.003, abs=0.001)
    assert outcome.facts["p95_seconds"] == pytest.approx(0.17125)
    assert outcome.facts["availability"] == 1
    assert 10 <= clock.seconds <= 12
    assert [round(progress.done) for progress in reports.seen] == list(range(11))
    assert {(progress.total, progress.unit) for progress in reports.seen} == {(10, "seconds")}


async def test_a_bad_start_is_waited_for(page: Page) -> None:
    """Errors at the beginning slide out of the window; only then the values pass."""
    _, clock = await run(page, lambda second: page.live.serve(100, failed=50 if second < 20 else 0))
    assert 29 <= clock.seconds <= 33


async def test_values_that_stay_bad_fail_with_each_limit(page: Page) -> None:
    """What does not come back within the time is named with value and limit."""
    with pytest.raises(ActuatorError, match="not back at the baseline within 1m") as caught:
        await run(page, lambda _second: page.live.serve(100, failed=12, seconds=0.6))
    assert "error rate 12% (limit: 1%)" in caught.value.brief
    assert "975ms p95 (limit: 262ms)" in caught.value.brief


async def test_no_traffic_never_passes(page: Page) -> None:
    """A service that nobody uses shows no errors, and is not taken for a good one."""
    with pytest.raises(ActuatorError, match="error rate unknown"):
        await run(page, lambda _second: None)


async def test_no_page_never_passes() -> None:
    """A page that does not answer is unknown, and the reason is in the message."""
    page = Page(url=f"http://127.0.0.1:{free_port()}/metrics")
    with pytest.raises(ActuatorError, match="no connection") as caught:
        await run(page, lambda _second: None)
    assert "error rate unknown" in caught.value.brief


async def test_a_restart_in_the_middle_is_no_error(page: Page) -> None:
    """A service that restarts while it is watched counts anew and passes when it is good."""

    def traffic(second: float) -> None:
        if second == 5:
            page.release = Release()
        page.live.serve(100)

    outcome, clock = await run(page, traffic)
    assert outcome.facts["error_rate"] == 0
    assert clock.seconds <= 13


async def test_a_service_that_is_hardly_there_does_not_pass(page: Page) -> None:
    """Good values of the few moments in which the service answers are not enough."""
    release = page.live

    def traffic(second: float) -> None:
        release.serve(100)
        page.release = release if int(second) % 3 == 0 else None

    with pytest.raises(ActuatorError, match="availability 3"):
        await run(page, traffic)


async def test_earlier_samples_do_not_count(page: Page) -> None:
    """What was watched before the step began is no part of its window."""
    clock = FakeClock()
    inventory = page.inventory()
    source = MetricsSource(dict(Inventory.model_validate(inventory).metrics), clock=clock)
    for _ in range(30):
        page.live.serve(100, failed=50)
        await source.read("page", timedelta(minutes=1))
        clock.seconds += 1
    clock.on_sleep = lambda _second: page.live.serve(100)
    context = make_context(make_plan(STEP, baseline=BASELINE), inventory, clock=clock)
    outcome = await Registry(*metrics.register(source)).actuator(STEP).apply(STEP, context)
    assert outcome.facts["error_rate"] == 0
    assert clock.seconds <= 43


@pytest.mark.parametrize(
    ("reading", "wrong"),
    [
        ({"error_rate": 0.002, "p95": "175ms"}, 0),
        ({"error_rate": 0.0099, "p95": "262ms", "availability": 0.95}, 0),
        ({"error_rate": 0.01, "p95": "262ms"}, 1),
        ({"error_rate": 0.0, "p95": "263ms"}, 1),
        ({"error_rate": 0.5, "p95": "2s", "availability": 0.5}, 3),
        ({"error_rate": None, "p95": "100ms"}, 1),
        ({"error_rate": 0.0, "p95": None}, 1),
        ({}, 2),
    ],
)
def test_limits(reading: dict[str, Any], wrong: int) -> None:
    """Below 1 %, up to half above the baseline's p95, available 95 % of the time; unknown misses."""
    assert len(shortfalls(Reading.model_validate(reading), BASELINE, STEP)) == wrong


def test_a_baseline_above_one_per_cent_is_good_enough() -> None:
    """A service that had more errors before the deployment is back when it has as many again."""
    baseline = Baseline(error_rate=0.02, p95="175ms")
    assert shortfalls(Reading(error_rate=0.02, p95="175ms"), baseline, STEP) == ()
    assert shortfalls(Reading(error_rate=0.021, p95="175ms"), baseline, STEP) != ()


def test_queries_must_stay_good_from_look_to_look() -> None:
    """A query's own window may reach back, so one good look is not enough, and a bad one starts the time again."""
    settling = Settling(settle=10, windowed=False)
    looks = [(0.0, True), (9.0, True), (10.0, False), (11.0, True), (21.0, True)]
    assert [settling.update(now=now, window=timedelta(), good=good) for now, good in looks] == [0, 9, 0, 0, 10]


async def test_check_warns_when_the_page_is_away(page: Page) -> None:
    """An ill service may show no metrics: the approver is told, and the rollback is not stopped."""
    for url, verdict in ((page.url, Verdict.OK), (f"http://127.0.0.1:{free_port()}/metrics", Verdict.WARN)):
        inventory = Page(url=url).inventory()
        clock = FakeClock()
        source = MetricsSource(dict(Inventory.model_validate(inventory).metrics), clock=clock)
        context = make_context(make_plan(STEP), inventory, clock=clock)
        (check,) = await Registry(*metrics.register(source)).actuator(STEP).check(STEP, context)
        assert check.verdict is verdict


async def test_target_of_another_kind_fails_the_check(page: Page) -> None:
    """A step on a target without metrics says so before anything runs."""
    step = STEP.model_copy(update={"target": "other"})
    registry = Registry(*metrics.register(MetricsSource({}, clock=FakeClock())))
    context = make_context(make_plan(step), page.inventory(), clock=FakeClock())
    assert "not in the inventory" in fails(await registry.actuator(step).check(step, context))
    assert (await registry.actuator(step).observe(step, context)).presence is Presence.ABSENT


def test_the_deadline_leaves_room_for_the_time_to_settle() -> None:
    """An attempt is not cut off before the step itself would give up."""
    assert STEP.deadline() >= timedelta(seconds=120)
    assert BackAtBaseline(id="m", target="p", within="30m").deadline() > timedelta(minutes=30)
