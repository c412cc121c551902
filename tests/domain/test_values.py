"""What passes between the engine and actuators, and the errors that people read."""

from typing import Any

import pytest

from bot.domain.actuation import Actuator, Check, Context, Observation, Outcome, Progress, Registered, Registry
from bot.domain.errors import ActuatorError, PlanInvalidError, RollbackError
from bot.domain.plan import Step
from bot.domain.ports import TargetBusyError
from tests.support import plans
from tests.support.actuation import FakeClock


class Idle:
    """An actuator that is only looked up."""

    async def check(self, step: Step, context: Context) -> tuple[Check, ...]:
        """Never asked here."""
        raise NotImplementedError

    async def observe(self, step: Step, context: Context) -> Observation:
        """Never asked here."""
        raise NotImplementedError

    async def apply(self, step: Step, context: Context) -> Outcome:
        """Never asked here."""
        raise NotImplementedError


@pytest.mark.parametrize(
    ("done", "total", "share"), [(3, 6, 0.5), (0, 6, 0.0), (9, 6, 1.0), (3, None, None), (0, 0, None)]
)
def test_share(done: float, total: float | None, share: float | None) -> None:
    """Progress is a share of the total between 0 and 1, and unknown as long as the total is."""
    assert Progress(done, total, "hosts").share() == share


def test_token() -> None:
    """What a step creates on its target carries a name that no other step of any run has."""
    plan = plans.plan()
    context = Context("rb-0004", plan, plans.inventory(), FakeClock(), lambda _progress: None)
    tokens = [context.token(step) for step in plan.steps()]
    assert tokens[0] == "rb-0004-stop"
    assert len(set(tokens)) == len(tokens)


def test_registry() -> None:
    """The registry knows each step's model and actuator by the step's kind."""
    drain, swap = Idle(), Idle()
    registry = Registry(Registered(plans.Drain, drain), Registered(plans.Swap, swap))
    assert registry.catalogue() == {"postgres.drain": plans.Drain, "postgres.swap": plans.Swap}
    assert registry.actuator(plans.Drain(id="drain", target="payments-db")) is drain
    assert registry.actuator(plans.Swap(id="swap", target="payments-db")) is swap


def test_wrapped() -> None:
    """A registry can be had with every actuator wrapped; the first one stays as it is."""
    drain: Actuator[Any] = Idle()
    outer: Actuator[Any] = Idle()
    registry = Registry(Registered(plans.Drain, drain))
    wrapped = registry.wrapped({drain: outer}.__getitem__)
    step = plans.Drain(id="drain", target="payments-db")
    assert (registry.actuator(step), wrapped.actuator(step)) == (drain, outer)
    assert wrapped.catalogue() == registry.catalogue()


def test_unregistered() -> None:
    """A step that no actuator is registered for is an error."""
    with pytest.raises(KeyError):
        Registry().actuator(plans.Drain(id="drain", target="payments-db"))


def test_error_in_words() -> None:
    """An error reads as what happened, what was left untouched and what to do next, without gaps."""
    assert str(RollbackError("It broke.", untouched="Nothing ran.", resolution="Retry.")) == (
        "It broke. Nothing ran. Retry."
    )
    assert str(RollbackError("It broke.", resolution="Retry.")) == "It broke. Retry."


def test_actuator_error() -> None:
    """An actuator's error says whether the fault is a passing one, by default not."""
    error = ActuatorError("It broke.", output="line", transient=True)
    assert (error.transient, error.output) == (True, "line")
    assert ActuatorError("It broke.").transient is False


def test_plan_invalid() -> None:
    """An unusable plan's error carries every problem, and says that nothing was run."""
    error = PlanInvalidError("The plan is unusable.", problems=("a", "b"))
    assert error.problems == ("a", "b")
    assert "Nothing was run." in str(error)


def test_target_busy() -> None:
    """Who is kept out by another rollback is told which, and that nothing was started."""
    error = TargetBusyError("payments-db is busy.", holder="rb-0003", targets=("payments-db",))
    assert (error.holder, error.targets) == ("rb-0003", ("payments-db",))
    assert str(error) == (
        "payments-db is busy. Nothing was started. Wait until rb-0003 has ended, or see `/rollback status`."
    )
