"""Settings of the copy that no restore takes, or that were changed on the source meanwhile."""

from __future__ import annotations

from actuators.rds.estate import Estate
from actuators.rds.instance import Instance, changes_to
from bot.domain.errors import ActuatorError

_NEEDED = {
    "DBParameterGroupName", "DBPortNumber", "DeletionProtection", "EnableIAMDatabaseAuthentication",
    "OptionGroupName", "PubliclyAccessible", "VpcSecurityGroupIds",
}  # fmt: skip
"""Without these the service could not use the copy, or anybody could delete it."""
_SECONDS = 600.0
"""After which settings that AWS took and does not show are an error."""


def lacking(copy: Instance, source: Instance | None) -> list[str]:
    """Return the needed settings in which a copy differs from its source; none, if that is gone."""
    return sorted(changes_to(copy, source).keys() & _NEEDED) if source is not None else []


async def align(estate: Estate, copy: Instance, source: Instance | None) -> tuple[Instance, list[str]]:
    """Give a copy the settings of its source, and read them back.

    Args:
        estate: Where.
        copy: The copy, which is available.
        source: What it was made of; None: that is gone, and the copy stays as it is.

    Returns:
        The copy as it is now, and the settings that still differ and are not needed.

    Raises:
        ActuatorError: If a needed setting differs all the same.
    """
    changes = changes_to(copy, source) if source is not None else {}
    if source is None or not changes:
        return copy, []
    await estate.aws.change(
        "rds", "modify_db_instance", DBInstanceIdentifier=copy.name, ApplyImmediately=True, **changes
    )
    clock, until = estate.context.clock, estate.context.clock.monotonic() + _SECONDS
    copy = await estate.wait(
        copy.resource,
        # AWS begins with a change a while after it took it, so an instance at rest is not done yet.
        lambda found: (
            found.serving and ((found.settled and not lacking(found, source)) or clock.monotonic() >= until)
        ),
        doing=f"Setting {', '.join(sorted(changes))}",
    )
    if lacking(copy, source):
        raise ActuatorError(
            f"AWS took settings of {copy.name} and still tells others: {', '.join(lacking(copy, source))}.",
            untouched=f"{source.name} was not touched.",
            resolution="Compare both instances in AWS's console and set them by hand; then retry.",
        )
    return copy, sorted(changes_to(copy, source))
