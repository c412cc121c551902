from __future__ import annotations

import json
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from bot.demo.estate import measure, releases, traffic

T0 = datetime(2024, 1, 15, 15, 47, tzinfo=UTC)


def line(second: float, *, status: int | None = 201, seconds: float = 0.01) -> str:
    """Return what the traffic writes about one request."""
    at = (T0 + timedelta(seconds=second)).timestamp()
    return json.dumps({"at": at, "seconds": seconds, "status": status, "error": ""}) + "\n"


def test_error_rate_counts_server_errors_and_missing_answers(tmp_path: Path) -> None:
    """A 5xx and a missing answer are failures; a refusal (4xx) is the caller's fault."""
    path = tmp_path / "traffic.jsonl"
    path.write_text(line(0) + line(1, status=422) + line(2, status=500) + line(3, status=None))
    seen = measure(path, T0, T0 + timedelta(seconds=10))
    assert (seen.count, seen.failed, seen.unanswered, seen.error_rate) == (4, 2, 1, 0.5)


def test_window_holds_its_start_and_not_its_end(tmp_path: Path) -> None:
    """Two adjoining windows share no request and lose none."""
    path = tmp_path / "traffic.jsonl"
    path.write_text(line(0) + line(5) + line(10))
    middle = T0 + timedelta(seconds=5)
    assert measure(path, T0, middle).count == 1
    assert measure(path, middle, T0 + timedelta(seconds=10)).count == 1


def test_p95_is_the_nearest_rank_over_the_answers(tmp_path: Path) -> None:
    """The p95 of 1..100 ms is 95 ms, and a request without an answer has no response time."""
    path = tmp_path / "traffic.jsonl"
    lines = [line(number / 100, seconds=number / 1000) for number in range(1, 101)]
    path.write_text("".join(lines) + line(2, status=None, seconds=3.0))
    assert measure(path, T0, T0 + timedelta(seconds=10)).p95_seconds == 0.095


@pytest.mark.parametrize("present", [True, False])
def test_no_data_is_not_zero_errors(tmp_path: Path, *, present: bool) -> None:
    """Without requests, or without the file, the rates are unknown."""
    path = tmp_path / "traffic.jsonl"
    if present:
        path.write_text(line(100))
    seen = measure(path, T0, T0 + timedelta(seconds=10))
    assert (seen.count, seen.error_rate, seen.p95_seconds) == (0, None, None)


def test_line_being_written_is_left_for_later(tmp_path: Path) -> None:
    """A last line without its end is no reason to fail."""
    path = tmp_path / "traffic.jsonl"
    path.write_text(line(0) + line(1)[:20])
    assert measure(path, T0, T0 + timedelta(seconds=10)).count == 1


def test_traffic_goes_on_while_nobody_answers_and_ends_in_time(tmp_path: Path) -> None:
    """An outage is recorded request by request, and the duration is bounded."""
    out = tmp_path / "traffic.jsonl"
    url = f"http://127.0.0.1:{releases.free_port()}"
    options = ("--url", url, "--rate", "50", "--seconds", "0.4", "--users", "100", "--out", str(out))
    subprocess.run([sys.executable, traffic.__file__, *options], check=True, timeout=20)
    lines = [json.loads(text) for text in out.read_text().splitlines()]
    assert len(lines) == 20
    assert {(entry["status"], entry["error"]) for entry in lines} == {(None, "ClientConnectorError")}
