"""A short window of a service's own page: what is known of it, and what is not."""

from __future__ import annotations

import asyncio
import math
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from actuators.metrics import MetricsSource, Sampler
from actuators.metrics.page import UnreadableError, read_page
from actuators.metrics.window import Window, quantile
from bot.domain.criteria import Reading
from bot.domain.inventory import MetricsPage
from tests.actuators.metrics.conftest import Page, Release
from tests.support.actuation import FakeClock
from tests.support.pgserver import free_port

MINUTE = timedelta(minutes=1)


class Watcher:
    """Reads a page as time goes by."""

    def __init__(self, page: Page) -> None:
        self.clock = FakeClock()
        self.sampler = Sampler(clock=self.clock)
        self.target = MetricsPage(service="payments", url=page.url)

    async def read(self, window: timedelta = MINUTE) -> Reading:
        """Let a second pass and read."""
        self.clock.seconds += 1
        return await self.sampler.read("page", self.target, window=window)


async def test_error_rate_and_p95_of_the_window(page: Page) -> None:
    """Rates are those of what came between the first and the last sample, not of what was there before."""
    watcher = Watcher(page)
    page.live.serve(1000, failed=500, seconds=0.9)
    await watcher.read()
    page.live.serve(200, failed=24)
    reading = await watcher.read()
    assert reading.error_rate == pytest.approx(0.12)
    assert reading.p95 is not None
    # All of them lie between 100 and 175 ms: 95 % of the way.
    assert reading.p95.total_seconds() == pytest.approx(0.1 + 0.075 * 0.95)
    assert reading.availability == 1
    assert reading.window == timedelta(seconds=1)
    assert reading.source == "page"


async def test_one_sample_and_no_traffic_are_unknown(page: Page) -> None:
    """With one sample, or without a request between two, nobody knows the rates; that is not zero."""
    watcher = Watcher(page)
    page.live.serve(50)
    first = await watcher.read()
    assert not first.known()
    second = await watcher.read()
    assert (second.error_rate, second.p95, second.availability) == (None, None, 1)


async def test_a_window_forgets(page: Page) -> None:
    """What came before the window has no influence on it."""
    watcher = Watcher(page)
    await watcher.read()
    page.live.serve(100, failed=100)
    await watcher.read()
    for _ in range(3):
        page.live.serve(10)
        reading = await watcher.read(window=timedelta(seconds=3))
    assert reading.error_rate == 0
    assert (await watcher.read()).error_rate == pytest.approx(100 / 130)


async def test_a_restarted_service_counts_anew(page: Page) -> None:
    """After a restart the counters begin at zero: what they show was all counted since, and nothing is negative."""
    watcher = Watcher(page)
    page.live.serve(1000, failed=120)
    await watcher.read()
    page.live.serve(100, failed=10)
    await watcher.read()
    page.release = Release()
    page.live.serve(50, failed=5)
    reading = await watcher.read()
    assert reading.error_rate == pytest.approx(15 / 150)
    assert reading.p95 is not None


async def test_a_restart_is_seen_by_the_start_time_too(page: Page) -> None:
    """A service that has counted further than before by the next look says by its start time that it began anew."""
    page.release = Release(started=1000)
    watcher = Watcher(page)
    page.live.serve(10)
    await watcher.read()
    page.release = Release(started=2000)
    page.live.serve(40, failed=4)
    assert (await watcher.read()).error_rate == pytest.approx(0.1)


async def test_another_release_may_have_other_buckets(page: Page) -> None:
    """Buckets of two releases are never mixed: the p95 is that of the newer one."""
    watcher = Watcher(page)
    page.live.serve(10, seconds=0.9)
    await watcher.read()
    page.live.serve(100, seconds=0.9)
    await watcher.read()
    page.release = Release(buckets=(0.01, 0.02, 0.04))
    await watcher.read()
    page.live.serve(100, seconds=0.015)
    reading = await watcher.read()
    assert reading.p95 is not None
    assert reading.p95.total_seconds() == pytest.approx(0.0195)


async def test_availability_is_the_share_of_answered_looks(page: Page) -> None:
    """Looks that were not answered lower the availability, and the rates go on across the gap."""
    watcher = Watcher(page)
    release = page.live
    await watcher.read()
    page.release = None
    await watcher.read()
    page.text = "<html>maintenance</html>"
    await watcher.read()
    page.release, page.text = release, None
    release.serve(10, failed=1)
    reading = await watcher.read()
    assert reading.availability == pytest.approx(0.5)
    assert reading.error_rate == pytest.approx(0.1)


async def test_an_unreachable_page_is_unavailable_and_else_unknown() -> None:
    """When nothing answers, availability is 0 and everything else is unknown."""
    watcher = Watcher(Page(url=f"http://127.0.0.1:{free_port()}/metrics"))
    await watcher.read()
    reading = await watcher.read()
    assert (reading.error_rate, reading.p95, reading.availability) == (None, None, 0)


async def test_readings_in_quick_succession_look_once(page: Page) -> None:
    """Two readings within the interval share a sample, even when they are asked for at once."""
    watcher = Watcher(page)
    sampler, target = watcher.sampler, watcher.target
    await asyncio.gather(*(sampler.read("page", target, window=MINUTE) for _ in range(5)))
    assert page.asked == 1


async def test_the_source_samples_in_the_background(page: Page) -> None:
    """While it runs, every page is looked at once a second and the memory stays bounded."""
    done = asyncio.Event()
    clock = FakeClock()
    source = MetricsSource(
        {"page": MetricsPage(service="payments", url=page.url)}, clock=clock, keep=timedelta(seconds=20)
    )

    def tick(seconds: float) -> None:
        page.live.serve(10, failed=1)
        if seconds >= 60:
            done.set()

    clock.on_sleep = tick
    async with asyncio.TaskGroup() as group:
        task = group.create_task(source.run())
        await done.wait()
        task.cancel()
    assert page.asked >= 60
    reading = await source.read("page", timedelta(minutes=5))
    assert reading.error_rate == pytest.approx(0.1)
    assert timedelta(seconds=18) <= reading.window <= timedelta(seconds=21)
    assert source.sampler._session is None


async def test_the_background_survives_every_fault(page: Page) -> None:
    """A page that breaks in any way does not end the loop."""
    texts = iter([None, "no { metrics", "http_requests_total{status=", "", "http_requests_total x\n"] * 3)
    done = asyncio.Event()

    def tick(_seconds: float) -> None:
        try:
            page.text = next(texts)
        except StopIteration:
            done.set()

    source = MetricsSource({"page": MetricsPage(service="p", url=page.url)}, clock=FakeClock(on_sleep=tick))
    async with asyncio.TaskGroup() as group:
        task = group.create_task(source.run())
        await done.wait()
        assert not task.done()
        task.cancel()
    assert page.asked >= 15


async def test_an_unknown_name_is_no_reading() -> None:
    """Asking for a target that the inventory lacks is a mistake of the caller, not an unknown value."""
    with pytest.raises(KeyError):
        await MetricsSource({}, clock=FakeClock()).read("page", MINUTE)


@pytest.mark.parametrize("text", ["<html></html>", '{"status": "healthy"}', "http_requests_total{a=1} x"])
def test_other_documents_are_no_metrics(text: str) -> None:
    """A page that answers with something else counts as not answered."""
    with pytest.raises(UnreadableError, match="no metrics"):
        read_page(text, MetricsPage(service="p", url="http://127.0.0.1"))


def test_only_the_named_series_are_read() -> None:
    """Names and the failed label are the inventory's; NaN is left out, other metrics are not even parsed."""
    target = MetricsPage(
        service="p", url="http://127.0.0.1", requests="rpc_total", failed_label="code", duration="rpc_seconds"
    )
    text = (
        '# TYPE rpc_total counter\nrpc_total{code="503"} 2\nrpc_total{code="200"} 8\nrpc_total{code="404"} NaN\n'
        'rpc_seconds_bucket{le="0.1"} 4\nrpc_seconds_bucket{le="+Inf"} 10\nbroken line of another metric\n'
    )
    scrape = read_page(text, target)
    assert sum(scrape.requests.values()) == 10
    assert [scrape.requests[series] for series in scrape.failed] == [2]
    assert sorted(bound for _, bound in scrape.buckets) == [0.1, math.inf]


@pytest.mark.parametrize(
    ("buckets", "expected"),
    [
        ({0.1: 0.0, 0.2: 100.0, math.inf: 100.0}, 0.195),
        ({0.1: 100.0, 0.2: 100.0, math.inf: 100.0}, 0.095),
        ({0.1: 50.0, 0.2: 60.0, math.inf: 100.0}, 0.2),
        ({0.1: 0.0, math.inf: 0.0}, None),
        ({math.inf: 10.0}, None),
        ({0.1: 10.0, 0.2: 10.0}, None),
        ({0.1: 96.0, 0.2: 95.0, math.inf: 100.0}, 0.1 * 95 / 96),
        ({}, None),
    ],
)
def test_quantiles(buckets: dict[float, float], expected: float | None) -> None:
    """The rules of histogram_quantile hold: interpolation, the highest finite bound, unknown without data."""
    found = quantile(0.95, buckets)
    assert found == (None if expected is None else pytest.approx(expected))


@given(
    values=st.lists(st.floats(min_value=0.001, max_value=0.999), min_size=1, max_size=60),
    share=st.floats(min_value=0.01, max_value=1),
)
def test_a_quantile_lies_in_the_bucket_of_the_true_one(values: list[float], share: float) -> None:
    """The estimate is never further off than the bucket of the true quantile is wide."""
    bounds = [0.1, 0.2, 0.4, 0.8, 1.0, math.inf]
    buckets = {bound: float(sum(value <= bound for value in values)) for bound in bounds}
    true = sorted(values)[math.ceil(share * len(values)) - 1]
    upper = next(bound for bound in bounds if true <= bound)
    lower = max([0.0, *(bound for bound in bounds if bound < upper)])
    found = quantile(share, buckets)
    assert found is not None
    assert lower - 1e-9 <= found <= upper + 1e-9


def test_the_memory_is_bounded() -> None:
    """However often somebody looks, a window holds no more samples than it may."""
    window = Window(keep=300, limit=10)
    for number in range(100):
        window.add(number / 100, None)
    assert len(window._samples) == 10
