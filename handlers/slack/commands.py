"""What a person typed behind the slash command, understood. Pure, and never raises, whatever the text."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Final

SAYINGS: Final = (
    *("hold", "resume", "abort", "retry", "done", "cannot", "skip", "remedy"),
    *("extend", "continue", "handover", "confirm", "incident", "unblock"),
)
"""What one can say to a rollback that runs."""

EXAMPLES: Final = {
    "hold": "hold rb-0001 the replica lags",
    "resume": "resume rb-0001 the replica has caught up",
    "abort": "abort rb-0001 we fix forward",
    "retry": "retry rb-0001 stop the host is up again",
    "done": "done rb-0001 stop I saw that it is stopped",
    "cannot": "cannot rb-0001 stop the console is locked",
    "skip": "skip rb-0001 stop the host is out of service",
    "remedy": "remedy rb-0001 stop sessions see who is connected",
    "extend": "extend rb-0001 20m the restore is slow",
    "continue": "continue rb-0001 ten more minutes are enough",
    "handover": "handover rb-0001 @name end of my shift",
    "confirm": "confirm rb-0001 the orders are in the queue",
    "incident": "incident rb-0001 the card scheme is down, not our release",
    "unblock": "unblock rb-0001 v2.4.1 has the fix",
}
"""How each is written, to be typed behind the command."""

VERBS: Final = ("status", "list", "plan", "help", *SAYINGS)
LONGEST_REASON: Final = 500

_READ: Final = 4_000
"""Slack's own limit on what a person can type; more is not read."""
_SHOWN: Final = 60
_QUOTES: Final = "\"'`\u00b4\u2018\u2019\u201a\u201b\u201c\u201d\u201e\u201f\u00ab\u00bb\u2039\u203a"
_AROUND: Final = _QUOTES + ".,;:!?()[]{}<>*_~#/\\|-\u2013\u2014\u2026"
_CHANGE: Final = re.compile(r"CHG[-_]?([0-9]{4,12})", re.IGNORECASE)
_ALMOST_CHANGE: Final = re.compile(r"(?:[A-Z]{1,4}[-_]?)?([0-9]{4,12})", re.IGNORECASE)
_ROLLBACK: Final = re.compile(r"rb-[0-9]{1,12}", re.IGNORECASE)
_ALMOST_ROLLBACK: Final = re.compile(r"rb[-_]?([0-9]{1,12})", re.IGNORECASE)
_DIGITS: Final = re.compile(r"[0-9]{1,12}")
_ABOUT_CHANGE: Final = re.compile(r"CHG[-_]?[0-9]\S*", re.IGNORECASE)
_EMOJI: Final = re.compile(r":[a-z0-9_+'-]+:", re.IGNORECASE)
# Slack's own spelling of people, groups, channels and links: <@U1|bob>, <!subteam^S1|@ops>, <#C1|ops>, <https://x|y>.
_ENTITY: Final = re.compile(r"<([@#!]?)([^<>|\s]+)(?:\|([^<>]*))?>")
_MENTION: Final = re.compile(r"<@([UW][A-Z0-9]{2,30})(?:\|[^<>]*)?>")
_ESCAPES: Final = (("&lt;", "<"), ("&gt;", ">"), ("&amp;", "&"))


@dataclass(frozen=True)
class Request:
    """Roll back this change."""

    change: str
    reason: str


@dataclass(frozen=True)
class Status:
    """How do the live rollbacks stand, or the one of this change or id?"""

    word: str = ""


@dataclass(frozen=True)
class ListRecent:
    """Which were the latest rollbacks?"""


@dataclass(frozen=True)
class ShowPlan:
    """Show the plan of this change."""

    change: str


@dataclass(frozen=True)
class Say:
    """Say something to a rollback that runs.

    Attributes:
        verb: One of `SAYINGS`.
        rollback: Its id or its change; empty: the only one under way.
        words: What stands behind, the person of a hand-over left out.
        person: User id that was mentioned; empty if nobody was.
    """

    verb: str
    rollback: str
    words: tuple[str, ...]
    person: str = ""


@dataclass(frozen=True)
class Help:
    """What can I type?"""


@dataclass(frozen=True)
class Ask:
    """Nothing was typed: ask for change and reason in a modal."""


@dataclass(frozen=True)
class Unknown:
    """Not understood.

    Attributes:
        word: What was not understood, shortened.
        suggestion: What may have been meant, to be typed behind the command; empty if there is no guess.
        problem: What is wrong, if it is not just the word.
    """

    word: str
    suggestion: str = ""
    problem: str = ""


Command = Request | Status | ListRecent | ShowPlan | Say | Help | Ask | Unknown


def parse(text: str) -> Command:
    """Understand the text behind the command.

    Letters' case, extra blanks, quotation marks of any kind, and emoji or mentions in front do not matter.

    Args:
        text: The field ``text`` of the slash command, with Slack's escapes.

    Returns:
        What is wanted, or why it cannot be told.
    """
    words = _without_ornaments(_clean(text).split())
    if not words:
        return Ask()
    head, rest = words[0].strip(_AROUND), words[1:]
    if head.upper() == "CHG" and rest and re.fullmatch(r"[0-9]{4,12}", rest[0].strip(_AROUND)):
        head, rest = f"CHG{rest[0].strip(_AROUND)}", rest[1:]
    change = _CHANGE.fullmatch(head)
    if change:
        return Request(f"CHG{change[1]}", reason_of(rest))
    if _ROLLBACK.fullmatch(head):
        return Status(head.lower())
    if words[0] in {"?", "-h", "--help"}:
        return Help()
    if head.lower() in SAYINGS:
        return _say(head.lower(), rest, text)
    return _verb(head.lower(), rest) or _not_understood(head or words[0], rest)


def _say(verb: str, rest: list[str], raw: str) -> Say:
    """Return what is said; a rollback's id or change may stand first, beside the person of a hand-over."""
    mentioned = _MENTION.search(raw[:_READ]) if verb == "handover" else None
    if mentioned:
        rest = [word for word in rest if not word.startswith("@")]
    rollback, rest = _named(rest)
    return Say(verb, rollback, tuple(rest), mentioned[1] if mentioned else "")


def _named(rest: list[str]) -> tuple[str, list[str]]:
    """Return the rollback that is named first, and what stands behind it.

    What only looks like an id or a change counts as one too: taken for the beginning of a reason, it would turn a
    word about one rollback into a word about whichever is under way.
    """
    first = rest[0].strip(_AROUND) if rest else ""
    if first.upper() in ("CHG", "RB") and len(rest) > 1 and _DIGITS.fullmatch(rest[1].strip(_AROUND)):
        first, rest = f"{first}-{rest[1].strip(_AROUND)}", rest[1:]
    rollback = _ALMOST_ROLLBACK.fullmatch(first)
    if rollback:
        return f"rb-{rollback[1]}", rest[1:]
    if _ABOUT_CHANGE.fullmatch(first):
        return normal_change(first)[:_SHOWN], rest[1:]
    return "", rest


def normal_change(word: str) -> str:
    """Return the number of a change as the plans write it: ``chg-0012345`` is ``CHG0012345``; others unchanged."""
    bare = word.strip(_AROUND)
    found = _CHANGE.fullmatch(bare)
    return f"CHG{found[1]}" if found else bare


def _verb(verb: str, rest: list[str]) -> Command | None:
    match verb:
        case "status":
            return Status(normal_change(" ".join(rest[:1])))
        case "list":
            return ListRecent()
        case "plan" if rest:
            return ShowPlan(normal_change(rest[0]))
        case "plan":
            return Unknown("plan", "plan CHG0012345", "The number of the change is missing.")
        case "help":
            return Help()
        case _:
            return None


def _not_understood(word: str, rest: list[str]) -> Unknown:
    shown = word[:_SHOWN]
    almost = _ALMOST_CHANGE.fullmatch(word)
    if almost:
        return Unknown(shown, f"CHG{almost[1]}", "That is not the number of a change.")
    if word.upper().startswith("CHG"):
        return Unknown(shown, "", "The number of a change is CHG and 4 to 12 digits, for example CHG0012345.")
    nearest = get_close_matches(word.lower()[:_SHOWN], VERBS, n=1, cutoff=0.6)
    if not nearest:
        return Unknown(shown)
    takes = {"status": rest[:1], "plan": rest[:1] or ["CHG0012345"]}.get(nearest[0], [])
    if nearest[0] in SAYINGS:
        takes = rest
    return Unknown(shown, " ".join((nearest[0], *(normal_change(each)[:_SHOWN] for each in takes))).strip())


def _clean(text: str) -> str:
    """Return the text as the person saw it: compatibility forms folded, Slack's spellings and controls undone."""
    plain = _ENTITY.sub(_shown_entity, text[:_READ])
    for escaped, character in _ESCAPES:
        plain = plain.replace(escaped, character)
    folded = unicodedata.normalize("NFKC", plain)
    return "".join(" " if each.isspace() else each for each in folded if each.isspace() or not _invisible(each))


def _shown_entity(found: re.Match[str]) -> str:
    mark, name, label = found[1], found[2], found[3]
    if mark == "!":
        return f"@{(label or name.partition('^')[0]).lstrip('@')}"
    if mark:
        return f"{mark}{label or name}"
    return name


def _invisible(character: str) -> bool:
    # Controls, direction overrides and zero-width marks: they hide in pasted text, and nobody means them.
    return unicodedata.category(character) in {"Cc", "Cf", "Cs", "Co", "Cn"}


def _without_ornaments(words: list[str]) -> list[str]:
    for index, word in enumerate(words):
        ornament = word.startswith("@") or _EMOJI.fullmatch(word) or not any(each.isalnum() for each in word)
        if not ornament or word == "?":
            return words[index:]
    return []


def reason_of(words: Sequence[str]) -> str:
    """Return the words behind a command as a reason: without the quotation marks around it, not too long."""
    joined = " ".join(words)
    if len(joined) > 1 and joined[0] in _QUOTES and joined[-1] in _QUOTES:
        joined = joined[1:-1].strip()
    return joined[:LONGEST_REASON]
