"""What all probes have in common."""

from __future__ import annotations

from bot.domain.actuation import Context, Observation, Presence
from bot.domain.plan import Step


class LeavesNothing:
    """Answers the engine's look at a step that only reads."""

    async def observe(self, step: Step, context: Context) -> Observation:
        """Answer that nothing lasting is there: a probe has no effect."""
        del step, context
        return Observation(Presence.ABSENT, "A probe leaves nothing behind")
