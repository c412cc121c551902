"""Names change hands: one instance leaves a name, another takes it. Each half is looked at before it is done.

RDS has no exchange of two names, so for a while nobody bears the one that the service uses. An instance is known by
the id that never changes, so an exchange that was interrupted anywhere is taken up where it was.
"""

from __future__ import annotations

from dataclasses import dataclass

from actuators.rds.estate import Estate
from actuators.rds.instance import USABLE, Instance
from bot.domain.errors import ActuatorError


@dataclass(frozen=True)
class Exchange:
    """Which instance is to have which name.

    Attributes:
        name: The name that changes hands.
        leaves: The resource id of the instance that has it now, or had it.
        kept: The name that this one gets.
        takes: The resource id of the instance that is to have it.
    """

    name: str
    leaves: str
    kept: str
    takes: str


async def exchange(estate: Estate, plan: Exchange) -> Instance:
    """Bring an exchange about, or to its end; return the instance that bears the name now.

    Raises:
        ActuatorError: If a name is somebody else's, or an instance does not come back.
    """
    leaving = await estate.of_resource(plan.leaves)
    if leaving is not None and leaving.name == plan.name:
        await _rename(estate, leaving, plan.kept)
    holder = await estate.find(plan.name)
    if holder is not None and holder.resource != plan.takes:
        raise _taken(plan.name, holder)
    taking = await estate.of_resource(plan.takes)
    if taking is None:
        raise _gone(plan)
    if taking.name != plan.name:
        taking = await _rename(estate, taking, plan.name)
    if taking.name != plan.name:
        raise _taken(taking.name, taking)
    return await estate.wait(
        plan.takes,
        lambda found: found.name == plan.name and found.serving and found.address.startswith(f"{plan.name}."),
        doing=f"Waiting for {plan.name}",
    )


async def _rename(estate: Estate, instance: Instance, name: str) -> Instance:
    """Give an instance another name; return once it bears it, available or not."""
    old = instance.name
    if instance.becoming in ("", old):
        instance = await estate.wait(
            instance.resource,
            lambda found: found.status in USABLE or found.name != old or bool(found.becoming),
            doing=f"Waiting to rename {old}",
        )
    if instance.name == old and not instance.becoming:
        holder = await estate.find(name)
        if holder is not None:
            raise _taken(name, holder)
        await estate.aws.change(
            "rds",
            "modify_db_instance",
            DBInstanceIdentifier=old,
            NewDBInstanceIdentifier=name,
            ApplyImmediately=True,
        )
    return await estate.wait(instance.resource, lambda found: found.name != old, doing=f"Renaming {old} to {name}")


def _taken(name: str, holder: Instance) -> ActuatorError:
    return ActuatorError(
        f"The name {name} belongs to another instance than it should ({holder.resource}, {holder.status}).",
        untouched="That instance was left as it is.",
        resolution="Look whose it is and rename it by hand; then retry, which goes on where this stopped.",
    )


def _gone(plan: Exchange) -> ActuatorError:
    return ActuatorError(
        f"The instance {plan.takes}, which was to become {plan.name}, is not there any more.",
        untouched="No further instance was renamed.",
        resolution=f"If nobody bears the name {plan.name} now, give it back to the failed instance (the remedy).",
    )
