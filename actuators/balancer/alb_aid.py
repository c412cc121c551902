"""alb.health shows where a listener forwards to and how the targets there are."""

from __future__ import annotations

from actuators.balancer.alb_listener import opened
from actuators.balancer.alb_steps import AlbHealth
from actuators.balancer.alb_values import Forward, Health
from actuators.balancer.tables import aligned
from actuators.probes import LeavesNothing
from actuators.remedies import cannot_look, shown
from bot.domain.actuation import Check, Context, Outcome, Verdict
from bot.domain.criteria import percent
from bot.domain.errors import ActuatorError

_HEADINGS = ("target group", "weight", "traffic", "targets")


class AlbHealthActuator(LeavesNothing):
    """A diagnosis."""

    async def check(self, step: AlbHealth, context: Context) -> tuple[Check, ...]:
        """Look whether the listener can be read."""
        subject = f"Listener of {step.target}"
        try:
            async with opened(step, context) as listener:
                forward = await listener.forward()
        except ActuatorError as error:
            return (cannot_look(subject, error),)
        return (Check(subject, Verdict.OK, f"now: {listener.words(forward.weights)}"),)

    async def apply(self, step: AlbHealth, context: Context) -> Outcome:
        """Read the weights and every group's targets."""
        async with opened(step, context) as listener:
            forward = await listener.forward()
            health = await listener.health(forward.weights)
        names = dict(zip(forward.weights, listener.named(forward.weights), strict=True))
        rows = [(names[arn], *_cells(arn, forward, health[arn])) for arn in forward.weights]
        ill = [name for arn, name in names.items() if forward.weights[arn] and not health[arn].healthy()]
        words = f"{step.target}: {listener.words(forward.weights)}."
        if ill:
            words += f" {', '.join(ill)} gets traffic and has no healthy target."
        elif forward.sticky is not None:
            words += f" Clients stay with their group for up to {forward.sticky} seconds, whatever the weights."
        else:
            words += " Where clients still see another group, look behind the balancer (DNS, CDN)."
        facts = {
            "weights": listener.named(forward.weights),
            "healthy": {names[a]: h.healthy() for a, h in health.items()},
        }
        return Outcome(words, facts, shown(aligned((_HEADINGS, *rows)).splitlines()))


def _cells(arn: str, forward: Forward, health: Health) -> tuple[str, str, str]:
    part = forward.traffic().get(arn)
    return str(forward.weights[arn]), percent(float(part)) if part else "none", health.words()
