"""How long a look at a target may take."""

from __future__ import annotations

from datetime import timedelta

import pytest

from bot.domain import events
from bot.domain.actuation import Check, Verdict
from tests.support import plans
from tests.support.engine import Lab
from tests.support.fakes import turn


async def slow() -> tuple[Check, ...]:
    """Look for longer than no time at all."""
    for _ in range(50):
        await turn()
    return (Check("Look", Verdict.OK, "ready"),)


async def test_a_slow_look_is_waited_for(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    """A step whose look at the target takes longer than most has a limit of its own instead of the engine's."""
    monkeypatch.setattr(plans.Drain, "looking", timedelta(minutes=5))
    lab.estate.checks |= {"drain": slow, "health": slow}
    plan = plans.plan_of([[plans.drain("drain")]], verification=[plans.probe("health")])
    run = await lab.requested(plan)
    await lab.worker(check_timeout=timedelta(0)).advance(run)
    checked: events.Checked = (await lab.runs.load(run.id)).last(events.Checked)
    found = {finding.subject: finding.verdict for finding in checked.findings}
    assert found["Look"] is Verdict.OK
    assert found["metrics.baseline on payments-metrics"] is Verdict.FAIL
