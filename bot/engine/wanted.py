"""What must be said, with what follows from how the saying went; what a message shows; and its words alone."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping

from bot.domain.actuation import Progress
from bot.domain.announcements import (
    Announcement,
    Card,
    HeldQuestion,
    Note,
    Place,
    Standard,
    announcements,
)
from bot.domain.authority import Policy
from bot.domain.run import Run
from bot.domain.speech import Entry

COUNTDOWN = "countdown"
"""Key of the second message that is edited in place."""


def wanted(run: Run, policy: Policy, entries: Mapping[str, Entry]) -> Iterator[Announcement]:
    """Yield every message that must exist by now, in the order in which they became due.

    Args:
        run: The rollback.
        policy: Names the approvers.
        entries: The ledger. A direct message that was given up calls for a note in the thread, right behind it: so
            whatever is still to be said comes after the note.
    """
    for announcement in announcements(run, policy):
        yield announcement
        entry = entries.get(announcement.key)
        if announcement.place is Place.DIRECT and entry and entry.given_up:
            yield _unreached(run, policy, announcement)


def _unreached(run: Run, policy: Policy, announcement: Announcement) -> Announcement:
    person = policy.person(announcement.user)
    roles = (contact.role for contact in run.plan.communication.escalation if contact.user == announcement.user)
    name = person.name if person else next(roles, announcement.user)
    content = announcement.content
    about = f" about {content.title}" if isinstance(content, Standard) else ""
    words = f"{name} could not be reached directly{about}. Tell them by another way."
    return Announcement(f"{announcement.key}-unreached", Place.THREAD, Note(words, tone="warn"))


def shown_on_card(run: Run, progress: Mapping[str, Progress]) -> str:
    """Return what names all that the card shows: the same for the same journal and progress, in any process."""
    steps = sorted(progress.items())
    return f"{run.seq} {digest(repr(steps))}" if steps else str(run.seq)


def digest(text: str) -> str:
    """Return a short name for a text, the same in any process."""
    return hashlib.blake2b(text.encode(), digest_size=8).hexdigest()


def audience(policy: Policy) -> str:
    """Return what names the people to whom a rollback's messages are addressed."""
    return digest(policy.model_dump_json())


def plain(run: Run, announcement: Announcement) -> str:
    """Return a message in words alone, for a chat that does not take it as it should be."""
    content = announcement.content
    match content:
        case Card():
            return f"Rollback {run.id} of {run.plan.title_line()}: {run.state.value.replace('_', ' ')}."
        case Standard():
            return content.text()
        case Note():
            return "\n".join(part for part in (content.text, content.output) if part)
        case HeldQuestion():
            return f"{run.words_of(content.step)} is held, and somebody must decide. {_without_buttons(run)}"
        case _:  # a question; the type checker holds that nothing else comes here
            about = f" about {run.words_of(content.step)}" if content.step else ""
            return f"A decision is needed{about}: {content.about.value}. {_without_buttons(run)}"


def _without_buttons(run: Run) -> str:
    return f"The buttons cannot be shown here: answer by `/rollback`, naming {run.id}."
