"""alb.weights: a listener of an Application Load Balancer forwards to other target groups, and is read back."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import timedelta

from actuators.aws import access
from actuators.balancer import targets
from actuators.balancer.alb_listener import Listener, forwarding, opened
from actuators.balancer.alb_steps import AlbHealth, AlbWeights, short
from actuators.balancer.alb_values import Forward, Health
from actuators.remedies import cannot_look
from bot.domain.actuation import Check, Context, Fault, Observation, Outcome, Presence, Progress, Remedy, Verdict
from bot.domain.clock import Clock
from bot.domain.errors import ActuatorError
from bot.domain.times import in_words

_READ_BACK_SECONDS = 15.0
_LOOK = 0.5


class AlbWeightsActuator:
    """Changes the weights of a forward action through the AWS API."""

    async def check(self, step: AlbWeights, context: Context) -> tuple[Check, ...]:
        """Verify names, the standby's health and access; read only."""
        subject = f"Listener of {step.target}"
        try:
            async with opened(step, context) as listener:
                weights = listener.resolve(step.weights)
                forward = await listener.forward()
                await listener.fit(weights)
                health = await listener.health(weights)
                allowed = await access.may(listener.aws, *listener.operation)
        except ActuatorError as error:
            return (cannot_look(subject, error),)
        now = Check(subject, Verdict.OK, f"now: {listener.words(forward.weights)}")
        return (now, *_standby(step, weights, health), *_hindrances(step, listener, forward, weights), allowed)

    async def observe(self, step: AlbWeights, context: Context) -> Observation:
        """Read where the listener forwards to."""
        try:
            async with opened(step, context) as listener:
                weights = listener.resolve(step.weights)
                forward = await listener.forward()
        except ActuatorError as error:
            return Observation(Presence.UNKNOWN, str(error))
        words = f"{step.target}: {listener.words(forward.weights)}"
        facts = {"weights": listener.named(forward.weights)}
        if not forward.same_traffic(weights):
            return Observation(Presence.ABSENT, words, facts)
        if _sticks(step, forward):
            return Observation(Presence.ABSENT, f"{words}, and clients stay with their group", facts)
        return Observation(Presence.PRESENT, words, facts)

    async def apply(self, step: AlbWeights, context: Context) -> Outcome:
        """Send the new weights once somebody is there to take the traffic, and read them back."""
        async with opened(step, context) as listener:
            weights = listener.resolve(step.weights)
            actions = await listener.actions()
            before = forwarding(step.target, actions)
            await listener.fit(weights)
            health = await listener.health(weights)
            _must_take(step, weights, health, listener, before)
            context.report(Progress(0, 1, "listeners", f"Setting {listener.words(weights)}"))
            await listener.shift(actions, weights, step)
            after = await _read_back(step, listener, weights, clock=context.clock)
            context.report(Progress(1, 1, "listeners", "read back"))
        words = f"{step.target}: {listener.words(after.weights)}; {_health_words(health)}"
        facts = {"weights": listener.named(after.weights)}
        if before.same_traffic(weights):
            return Outcome(words, facts)
        back = {"weights": listener.named(before.weights), "stickiness": "keep"}
        return Outcome(f"{words}; before: {listener.words(before.weights)}", {**facts, "before": back})

    async def remedies(self, step: AlbWeights, fault: Fault, context: Context) -> tuple[Remedy, ...]:
        """Return what shows why traffic was not shifted; what lies behind it, if it was."""
        if fault.presence is Presence.ABSENT:
            return (_show(step),)
        return await self.no_effect(step, context)

    async def no_effect(self, step: AlbWeights, context: Context) -> tuple[Remedy, ...]:
        """Return what may help when the weights were set and the errors go on all the same."""
        try:
            async with opened(step, context) as listener:
                sticky = (await listener.forward()).sticky
        except ActuatorError:
            sticky = None  # then the balancer's own diagnosis will tell
        unstick = (_unstick(step, sticky),) if sticky is not None else ()
        return (_show(step), *unstick, *targets.downstream_remedies(step, context))


def _show(step: AlbWeights) -> Remedy:
    return Remedy(
        "target-health",
        "Show weights and target health",
        "Reads where the listener forwards to, and how the targets of each group are.",
        AlbHealth(id="health", target=step.target, rule=step.rule),
    )


def _unstick(step: AlbWeights, seconds: int) -> Remedy:
    return Remedy(
        "unstick",
        "End the target groups' stickiness",
        f"Clients stay with their old group for up to {in_words(timedelta(seconds=seconds))}. Sets the same weights"
        " without stickiness; sessions that only the old group knows are lost.",
        step.model_copy(update={"stickiness": "off"}),
    )


def _standby(step: AlbWeights, weights: Mapping[str, int], health: Mapping[str, Health]) -> Iterator[Check]:
    for arn, weight in weights.items():
        if not weight:
            continue
        subject, words = f"Targets of {short(arn)}", health[arn].words()
        if health[arn].healthy() >= step.healthy:
            yield Check(subject, Verdict.OK, words)
        elif health[arn].unwatched:
            words = f"Nobody checks them, because no listener uses the group: {words}"
            resolution = "Let an http.health step look at the standby before the switch."
            yield Check(subject, Verdict.WARN, words, resolution)
        else:
            words = f"{words}; {step.healthy} healthy needed. Nothing was changed."
            yield Check(subject, Verdict.FAIL, words, "Look at the targets' own log and health page.")


def _hindrances(
    step: AlbWeights, listener: Listener, forward: Forward, weights: Mapping[str, int]
) -> Iterator[Check]:
    subject = f"Listener of {step.target}"
    others = {arn: weight for arn, weight in forward.weights.items() if weight and arn not in weights}
    if others:
        words = f"The step does not name {listener.words(others)}: no traffic is left for it."
        yield Check(subject, Verdict.WARN, words, "Name every group that is to keep traffic.")
    if forward.sticky is not None and step.stickiness == "keep":
        words = f"Clients stay with their group for up to {in_words(timedelta(seconds=forward.sticky))}."
        yield Check(subject, Verdict.WARN, words, "With `stickiness: off` they go where the weights say at once.")


def _must_take(
    step: AlbWeights,
    weights: Mapping[str, int],
    health: Mapping[str, Health],
    listener: Listener,
    before: Forward,
) -> None:
    """Check that every group that is to get traffic can take it. A standby that is ill must stay a standby."""
    ill = [
        f"{short(arn)}: {health[arn].words()}"
        for arn, weight in weights.items()
        if weight and health[arn].healthy() < step.healthy and not health[arn].unwatched
    ]
    if ill:
        raise ActuatorError(
            f"Fewer than {step.healthy} healthy targets, so no traffic may be sent there: {'; '.join(ill)}.",
            untouched=f"The weights of {step.target} are as they were: {listener.words(before.weights)}.",
            resolution="Look at the targets' own log and health page; retry when they are well.",
        )


async def _read_back(step: AlbWeights, listener: Listener, weights: Mapping[str, int], *, clock: Clock) -> Forward:
    until = clock.monotonic() + _READ_BACK_SECONDS
    while True:
        forward = await listener.forward()
        if forward.same_traffic(weights) and not _sticks(step, forward):
            return forward
        if clock.monotonic() >= until:
            sticks = ", and clients stay with their group" if _sticks(step, forward) else ""
            raise ActuatorError(
                f"AWS took the weights of {step.target} and still tells {listener.words(forward.weights)}{sticks}.",
                untouched="Nothing else was changed.",
                resolution="Look whether something else (a deployment controller) sets them too; then retry.",
                transient=True,
            )
        await clock.sleep(_LOOK)


def _sticks(step: AlbWeights, forward: Forward) -> bool:
    """Whether clients stay with their group although the step ends that."""
    return step.stickiness == "off" and forward.sticky is not None


def _health_words(health: Mapping[str, Health]) -> str:
    return ", ".join(f"{short(arn)}: {found.words()}" for arn, found in health.items())
