"""Who may sign in to the console, and with which tokens."""

from __future__ import annotations

import json
import os
import secrets
from pathlib import Path

from bot.domain.authority import Person, Policy, Role
from bot.domain.errors import RollbackError

LOCAL_POLICY = Policy(
    people=(
        Person(id="U0OPERATOR", name="Olivia Operator", roles=(Role.ON_CALL_ENGINEER,)),
        Person(id="U0MANAGER", name="Max Manager", roles=(Role.CHANGE_MANAGER,)),
    )
)
"""The people of a console without a policy file: two, because nobody authorises their own request."""


def sign_in_tokens(policy: Policy, file: Path) -> dict[str, str]:
    """Return the console's sign-in token of each person, kept in a file that only the bot's user can read."""
    known: dict[str, str] = {}
    if file.exists():
        known = _read(file)
    tokens = {person.id: known.get(person.id) or secrets.token_urlsafe(24) for person in policy.people}
    if tokens != known:
        partial = file.with_suffix(".partial")
        descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "w", encoding="utf-8") as stream:
            json.dump(tokens, stream, indent=2)
        partial.replace(file)
    return tokens


def _read(file: Path) -> dict[str, str]:
    try:
        known = json.loads(file.read_text(encoding="utf-8"))
        return {str(user): str(token) for user, token in known.items()}
    except (OSError, ValueError, AttributeError) as error:
        raise RollbackError(
            f"The console's sign-in tokens cannot be read: {file} is damaged or not ours ({type(error).__name__}).",
            untouched="It was left as it is.",
            resolution="Remove it; everybody gets a new token.",
        ) from error
