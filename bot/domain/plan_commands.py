"""Whether a plan's commands are ones that the inventory allows, filled in as it allows."""

from __future__ import annotations

import difflib
from collections.abc import Iterator

from bot.domain.inventory import Inventory, ServerGroup
from bot.domain.plan import Step


def wrong_with(step: Step, inventory: Inventory) -> Iterator[tuple[str, str, str]]:
    """Yield (field, what is wrong, what to write instead) for a step that has a command run; nothing for others."""
    group = inventory.find(step.target)
    name = getattr(step, "command", None)
    if not step.kind.startswith("command.") or not isinstance(group, ServerGroup) or not isinstance(name, str):
        return
    command = group.commands.get(name)
    if command is None:
        near = difflib.get_close_matches(name, group.commands, n=1)
        known = ", ".join(sorted(group.commands)) or "none"
        meant = f"did you mean {near[0]!r}?" if near else f"allowed: {known}"
        yield "command", f"the inventory allows no command {name!r} on {step.target}", meant
        return
    for problem in command.problems(getattr(step, "parameters", {})):
        yield "parameters", problem, "see `parameters` of the command in the inventory"
