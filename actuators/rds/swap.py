"""rds.swap and rds.swap_back: which of both instances bears the service's name, and with it the endpoint."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from actuators.aws import access
from actuators.rds import checks, names
from actuators.rds.alignment import align
from actuators.rds.estate import Estate, opened
from actuators.rds.instance import Instance
from actuators.rds.loss import loss_by
from actuators.rds.remedies import for_swap
from actuators.rds.renaming import Exchange, exchange
from actuators.rds.steps import RdsStep, RdsSwap, RdsSwapBack
from actuators.remedies import cannot_look
from bot.domain.actuation import Check, Context, Fault, Loss, Observation, Outcome, Presence, Remedy, Verdict
from bot.domain.errors import ActuatorError


@dataclass(frozen=True)
class _Pair:
    """The two instances of a swap.

    Attributes:
        live: Who bears the service's name.
        copy: This run's copy, whatever its name.
        source: What it was made of, whatever its name.
    """

    live: Instance | None
    copy: Instance | None
    source: Instance | None


async def _pair(estate: Estate) -> _Pair:
    copy = await estate.copy()
    live = copy if copy is not None and copy.name == estate.instance else await estate.find(estate.instance)
    if live is not None and copy is not None and live.resource == copy.resource:
        copy = live  # it got its name between the two looks
    source = await estate.of_resource(copy.mark.source) if copy is not None and copy.mark is not None else None
    return _Pair(live, copy, source)


class SwapActuator:
    """Renames the failed instance away and the copy to its name."""

    async def check(self, step: RdsSwap, context: Context) -> tuple[Check, ...]:
        """Look at both instances as far as they are there, and at the permission to rename them."""
        return await _examined(step, context, copy_needed=False)

    async def observe(self, step: RdsSwap, context: Context) -> Observation:
        """Tell by the ids that never change who bears the name."""
        async with opened(step, context) as estate:
            return _told(estate, await _pair(estate))

    async def apply(self, step: RdsSwap, context: Context) -> Outcome:
        """Swap, or go on with a swap that was interrupted."""
        async with opened(step, context) as estate:
            pair = await _pair(estate)
            seen = _told(estate, pair)
            if seen.presence is Presence.PRESENT:
                return Outcome(seen.words, seen.facts)
            if seen.presence is Presence.UNKNOWN or pair.copy is None or pair.copy.mark is None:
                raise ActuatorError(
                    f"The instances cannot be swapped: {seen.words}.",
                    untouched="No instance was renamed.",
                    resolution="Run the restore of this rollback first; has it run, see its events (rds.events).",
                )
            if pair.copy.name != estate.instance:
                await _ready(estate, pair.copy, pair.source)
            kept = names.failed_name(estate.instance, context.rollback_id, at=context.clock.now())
            mark = pair.copy.mark
            live = await exchange(estate, Exchange(estate.instance, mark.source, kept, pair.copy.resource))
            source = await estate.of_resource(mark.source)
        words = f"{live.name} is the restored instance, {live.status}, at {live.address}; {_kept(source)}"
        return Outcome(words, {"failed_instance": source.name if source else "", "endpoint": live.address})

    async def remedies(self, step: RdsSwap, fault: Fault, context: Context) -> tuple[Remedy, ...]:
        """Return what RDS tells, and the way back where a name has changed hands."""
        del fault
        return await for_swap(step, context)

    async def loss(self, step: RdsSwap, context: Context) -> Loss | None:
        """Tell how many minutes of writes do not come along."""
        return await loss_by(step, context)


class SwapBackActuator:
    """Renames the copy away and the failed instance back to its name."""

    async def check(self, step: RdsSwapBack, context: Context) -> tuple[Check, ...]:
        """Look at both instances, and at the permission to rename them."""
        try:
            async with opened(step, context) as estate:
                found = await _returning(step, estate)
                state = Check(f"Instance {found.name}", Verdict.OK, found.state())
        except ActuatorError as error:
            return (cannot_look(f"Instance {step.resource}", error),)
        return (state, *await _examined(step, context, copy_needed=True))

    async def observe(self, step: RdsSwapBack, context: Context) -> Observation:
        """Tell by the ids that never change who bears the name."""
        async with opened(step, context) as estate:
            found = await _returning(step, estate)
        if found.name == estate.instance and found.serving:
            return Observation(Presence.PRESENT, f"{found.name} is the instance of before the swap")
        return Observation(Presence.ABSENT, f"{step.resource}: {found.state()}")

    async def apply(self, step: RdsSwapBack, context: Context) -> Outcome:
        """Give the names back, or go on where that was interrupted."""
        async with opened(step, context) as estate:
            await _returning(step, estate)
            copy = await estate.copy()
            if copy is None:
                raise ActuatorError(
                    f"There is no instance of this rollback to take the place of {step.resource}.",
                    untouched="No instance was renamed.",
                    resolution=f"Rename {step.resource} to {estate.instance} by hand, if nobody bears that name.",
                )
            live = await exchange(estate, Exchange(estate.instance, copy.resource, estate.beside, step.resource))
        return Outcome(f"{live.name} is the instance of before the swap again, {live.status}, at {live.address}")


async def _returning(step: RdsSwapBack, estate: Estate) -> Instance:
    found = await estate.of_resource(step.resource)
    if found is None:
        raise ActuatorError(
            f"There is no instance {step.resource} in {estate.target.region}.",
            untouched="No instance was renamed.",
            resolution="See whether it was deleted (rds.events).",
        )
    copy = await estate.copy()
    # Any other would put a stranger's data, or the copy itself, under the service's name.
    if copy is not None and copy.mark is not None and copy.mark.source != step.resource:
        raise ActuatorError(
            f"{found.name} ({step.resource}) is not the instance that {copy.name} was made of"
            f" ({copy.mark.source}).",
            untouched="No instance was renamed.",
            resolution=f"Name {copy.mark.source} as `resource`, which the remedy of the swap does by itself.",
        )
    return found


async def _ready(estate: Estate, copy: Instance, source: Instance | None) -> None:
    """Check that a copy can serve, and give it what was changed on its source since it was restored."""
    checks.must_be_usable(copy)
    await align(estate, copy, source)


def _told(estate: Estate, pair: _Pair) -> Observation:
    """Tell how far the swap is."""
    name, live, copy, source = estate.instance, pair.live, pair.copy, pair.source
    if copy is None or copy.mark is None:
        return Observation(Presence.UNKNOWN, f"There is no {estate.beside} to be swapped in")
    facts = {"failed_instance": source.name if source else ""}
    if copy.name == name:
        if copy.serving and copy.address.startswith(f"{name}."):
            words = f"{name} is the restored instance, {copy.status}, at {copy.address}; {_kept(source)}"
            return Observation(Presence.PRESENT, words, facts)
        return Observation(Presence.ABSENT, f"The restored instance has got its name; {copy.state()}", facts)
    if live is not None and live.resource != copy.mark.source:
        words = f"{name} is another instance ({live.resource}) than the one that {copy.name} was made of"
        return Observation(Presence.UNKNOWN, words)
    if live is None:
        words = f"Half done: nobody bears the name {name}; {copy.state()}; {_kept(source)}"
        return Observation(Presence.ABSENT, words, facts)
    return Observation(Presence.ABSENT, f"{name} is still the failed instance; {copy.state()}")


def _kept(source: Instance | None) -> str:
    return f"the failed one is kept as {source.name}" if source is not None else "the failed one is gone"


async def _examined(step: RdsStep, context: Context, *, copy_needed: bool) -> tuple[Check, ...]:
    subject = f"Instances of {step.target}"
    try:
        async with opened(step, context) as estate:
            pair = await _pair(estate)
            some = _present(estate, pair, copy_needed=copy_needed)
            kept = {pair.source.name} if pair.source is not None else set()
            arns = [some.beside("db", name) for name in sorted({estate.instance, estate.beside} | kept)]
            allowed = await access.may(estate.aws, "ModifyDBInstance", *arns)
    except ActuatorError as error:
        return (cannot_look(subject, error),)
    return (*_states(pair), allowed)


def _present(estate: Estate, pair: _Pair, *, copy_needed: bool) -> Instance:
    some = pair.copy if copy_needed else pair.live or pair.copy
    if some is not None:
        return some
    raise ActuatorError(
        f"There is no RDS instance {estate.beside if copy_needed else estate.instance} in {estate.target.region}.",
        untouched="Nothing was changed.",
        resolution="Correct the inventory, or see what became of it (rds.events).",
    )


def _states(pair: _Pair) -> Iterator[Check]:
    for instance in filter(None, (pair.live, pair.copy if pair.copy is not pair.live else None)):
        yield checks.usable(instance)
