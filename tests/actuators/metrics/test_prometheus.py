"""Queries against a genuine Prometheus whose data are made beforehand."""

from __future__ import annotations

import math
import os
import shutil
import subprocess
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from actuators import metrics
from actuators.metrics import BackAtBaseline, MetricsSource, Sampler
from actuators.metrics.window import quantile
from bot.domain.actuation import Registry, Verdict
from bot.domain.inventory import Inventory, PrometheusQueries
from tests.support.actuation import FakeClock, RealClock, make_context, make_plan
from tests.support.pgserver import free_port

pytestmark = pytest.mark.real

PROGRAM = shutil.which("prometheus", path="/usr/bin:/usr/local/bin:" + os.environ.get("PATH", ""))
PROMTOOL = shutil.which("promtool", path="/usr/bin:/usr/local/bin:" + os.environ.get("PATH", ""))
MINUTE = timedelta(minutes=1)
BUCKETS = {0.1: 20.0, 0.175: 90.0, 0.25: 99.0, math.inf: 100.0}
"""Requests a second by upper bound."""

ERROR_RATE = '(sum(rate(http_requests_total{status=~"5.."}[1m])) or vector(0)) / sum(rate(http_requests_total[1m]))'
P95 = "histogram_quantile(0.95, sum by (le) (rate(http_request_duration_seconds_bucket[1m])))"


def data() -> str:
    """Return ten minutes of samples until a minute from now, 100 requests a second, 3 in 1000 failed."""
    now = int(datetime.now(UTC).timestamp())  # noqa: TID251 - Prometheus lives in the machine's time
    lines = {
        "requests": ["# TYPE http_requests counter"],
        "times": ["# TYPE http_request_duration_seconds histogram"],
    }
    for second in range(-600, 61, 5):
        done = second + 600
        for status, rate in (("200", 99.7), ("503", 0.3)):
            lines["requests"].append(f'http_requests_total{{status="{status}"}} {done * rate} {now + second}')
        for bound, rate in BUCKETS.items():
            le = "+Inf" if math.isinf(bound) else bound
            lines["times"].append(f'http_request_duration_seconds_bucket{{le="{le}"}} {done * rate} {now + second}')
    return "\n".join([*lines["requests"], *lines["times"], "# EOF", ""])


@pytest.fixture(scope="module")
def prometheus(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a Prometheus that holds the data."""
    if PROGRAM is None or PROMTOOL is None:
        if os.environ.get("ROLLBACK_REAL_PARTS") == "require":
            pytest.fail("prometheus and promtool are not installed, and ROLLBACK_REAL_PARTS=require")
        pytest.skip("prometheus and promtool are not installed (Debian: apt-get install prometheus)")
    folder: Path = tmp_path_factory.mktemp("prometheus")
    (folder / "data.txt").write_text(data())
    (folder / "prometheus.yml").write_text("global: {}\n")
    create = [PROMTOOL, "tsdb", "create-blocks-from", "openmetrics", str(folder / "data.txt"), str(folder / "data")]
    subprocess.run(create, check=True, capture_output=True, timeout=30)
    address = f"127.0.0.1:{free_port()}"
    argv = [PROGRAM, f"--config.file={folder / 'prometheus.yml'}", f"--storage.tsdb.path={folder / 'data'}"]
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen([*argv, f"--web.listen-address={address}"], stdout=log, stderr=log)
    try:
        wait_until_ready(address, process, folder / "log")
        yield f"http://{address}"
    finally:
        process.terminate()
        process.wait(20)


def wait_until_ready(address: str, process: subprocess.Popen[bytes], log: Path) -> None:
    """Return when Prometheus answers."""
    import urllib.error  # noqa: PLC0415 - only here
    import urllib.request  # noqa: PLC0415

    for _ in range(300):
        try:
            with urllib.request.urlopen(f"http://{address}/-/ready", timeout=2) as answer:
                if answer.status == 200:
                    return
        except (urllib.error.URLError, ConnectionError):
            pass
        try:
            process.wait(0.05)
            break
        except subprocess.TimeoutExpired:
            continue
    pytest.fail(f"prometheus did not start: {log.read_text()[-2000:]}")


def queries(url: str, **fields: Any) -> PrometheusQueries:
    """Return a target."""
    return PrometheusQueries.model_validate(
        {"service": "payments", "url": url, "error_rate": ERROR_RATE, "p95": P95, **fields}
    )


async def read(target: PrometheusQueries) -> Any:
    """Read a target."""
    return await Sampler(clock=RealClock()).read("prometheus", target, window=MINUTE)


async def test_values_are_read(prometheus: str) -> None:
    """Error rate, p95 and availability come from their queries, and our own quantile agrees with Prometheus'."""
    reading = await read(queries(prometheus, availability="vector(0.999)"))
    assert reading.error_rate == pytest.approx(0.003, rel=0.01)
    expected = quantile(0.95, BUCKETS)
    assert expected is not None
    assert reading.p95.total_seconds() == pytest.approx(expected, rel=0.01)
    assert reading.availability == pytest.approx(0.999)
    assert reading.source == "prometheus"


@pytest.mark.parametrize(
    "query",
    [
        "sum(rate(no_such_metric[1m]))",
        "vector(0) / vector(0)",
        "scalar(no_such_metric)",
        "http_requests_total",
        "sum(",
    ],
)
async def test_what_is_not_one_number_is_unknown(prometheus: str, query: str) -> None:
    """A missing metric, NaN, several series and a wrong query are unknown; other values are read all the same."""
    reading = await read(queries(prometheus, error_rate=query))
    assert reading.error_rate is None
    assert reading.p95 is not None


@pytest.mark.parametrize(
    ("name", "query"),
    [("error_rate", "12.3"), ("error_rate", "-0.1"), ("availability", "99.9"), ("p95", "1e300"), ("p95", "-1")],
)
async def test_a_value_that_cannot_be_is_unknown(prometheus: str, name: str, query: str) -> None:
    """A share in per cent would demand the rollback of a sound service: what lies outside is no data."""
    reading = await read(queries(prometheus, **{name: f"vector({query})"}))
    assert getattr(reading, name) is None
    whole = await read(queries(prometheus, availability="vector(1.01)"))
    assert whole.availability == 1.0


async def test_a_scalar_is_a_value(prometheus: str) -> None:
    """A query may yield a scalar instead of a vector."""
    assert (await read(queries(prometheus, error_rate="scalar(vector(0.25))"))).error_rate == 0.25


async def test_check_names_a_wrong_query(prometheus: str) -> None:
    """A query that Prometheus refuses, or that yields several series, is told before the approval."""
    step = BackAtBaseline(id="metrics", target="prometheus")
    for fields, words in (
        ({}, ""),
        ({"p95": "sum("}, "parse error"),
        ({"p95": "http_requests_total"}, "2 series"),
        ({"availability": "no_such_metric"}, "no data for availability"),
        ({"error_rate": "vector(12.3)"}, "error_rate is 12.3, it must be a share of 0..1"),
        ({"url": f"http://127.0.0.1:{free_port()}"}, "no connection"),
    ):
        target = queries(fields.pop("url", prometheus), **fields)
        inventory = Inventory(metrics={"prometheus": target})
        source = MetricsSource(dict(inventory.metrics), clock=RealClock())
        context = make_context(make_plan(step), inventory.model_dump(), clock=FakeClock())
        (check,) = await Registry(*metrics.register(source)).actuator(step).check(step, context)
        assert check.verdict is (Verdict.WARN if words else Verdict.OK)
        assert words in check.words


async def test_good_values_pass_when_they_have_lasted(prometheus: str) -> None:
    """The baseline step reads a Prometheus as it reads a page, and waits until the values have stayed good."""
    step = BackAtBaseline(id="metrics", target="prometheus", settle="20s")
    inventory = Inventory(metrics={"prometheus": queries(prometheus)})
    clock = FakeClock()
    source = MetricsSource(dict(inventory.metrics), clock=clock)
    context = make_context(make_plan(step), inventory.model_dump(), clock=clock)
    outcome = await Registry(*metrics.register(source)).actuator(step).apply(step, context)
    assert outcome.words.startswith("error rate 0.3% (baseline: 0.2%), ")
    assert clock.seconds == 20


async def test_an_unreachable_server_is_unknown() -> None:
    """When Prometheus is away nothing is known, not even the availability."""
    reading = await read(queries(f"http://127.0.0.1:{free_port()}", availability="vector(1)"))
    assert not reading.known()


async def test_the_token_is_sent_and_never_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    """The token goes by the header, and a refusal does not repeat it."""
    monkeypatch.setenv("PROMETHEUS_TOKEN", "tok-1234567890")
    seen: list[str | None] = []

    async def refuse(request: web.Request) -> web.Response:
        seen.append(request.headers.get("Authorization"))
        return web.json_response({"status": "error", "error": "forbidden"}, status=403)

    app = web.Application()
    app.router.add_get("/api/v1/query", refuse)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    port = free_port()
    await web.TCPSite(runner, "127.0.0.1", port).start()
    try:
        target = queries(f"http://127.0.0.1:{port}", token={"env": "PROMETHEUS_TOKEN"})
        sampler = Sampler(clock=RealClock())
        assert not (await sampler.read("prometheus", target, window=MINUTE)).known()
        problem = await sampler.problem("prometheus", target)
    finally:
        await runner.cleanup()
    assert set(seen) == {"Bearer tok-1234567890"}
    assert "HTTP 403: forbidden" in problem
    assert "tok-" not in problem
