"""Judges a chaos run by its evidence: the journals, the leases, and what the targets themselves saw.

Each rule is one promise of the engine. A rule is broken by what happened, not by what somebody believed: whether a
thing was there already is the target's word, who held the lease at that moment is the database's.

**The hole that is known.** A worker writes STARTED under its lease, makes sure that the lease cannot have lapsed,
and then calls the actuator. If it is frozen after that and wakes when the lease is gone, it may send a last message
to the target before it notices: nothing on the worker's side can prevent that, so actuators that can carry a token
or a precondition to the target do. Here every act carries its token, the name of the thing that it creates, which
can be created once. What a woken worker sends within `LAST_BREATH` seconds after it was frozen in the middle of an
act is therefore counted and shown, and so is what follows from it alone; it breaks no rule. Everything else that
acts without a lease does: a worker that was not frozen, one that was frozen before its STARTED, one that goes on.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from enum import StrEnum
from itertools import pairwise

from bot.domain import events
from tests.chaos.evidence import Act, Entry, Evidence, Lease, Nap, Word

LAST_BREATH = 1.0
"""Seconds after its waking in which a worker must have noticed that it lost its lease."""
_IN_FLIGHT = 2.0
"""Seconds that a message may take to its target: it left while the lease was in force."""
_ACTING = frozenset({"begin", "tick", "effect", "end"})


class Rule(StrEnum):
    """What must hold."""

    ONCE = "no step is done twice"
    STARTED = "nothing acts without a STARTED of its own"
    LEASED = "nothing acts without a lease"
    TARGET = "no two rollbacks act on a target"
    WORKER = "no two workers act for a rollback"
    ZONE = "nobody acts on a target of another zone"
    LOST = "none is lost: each ended, or is held with a reason"
    ORDER = "steps begin when what they need is done"
    TRUE = "journal and targets agree"
    WORDS = "each word of a person counts once"
    ENDS = "workers end when they are told to, and only then"


@dataclass(frozen=True)
class Finding:
    """A rule that was broken, and how."""

    rule: Rule
    words: str


@dataclass
class Court:
    """The evidence, sorted for the questions that the rules ask.

    Attributes:
        evidence: The evidence.
        excused: What the known hole let through, by what it was.
        started: The STARTED of each act, by its number.
        present: The tokens of everything that was created.
        breaths: How long after its waking a worker said something without its lease, in seconds.
    """

    evidence: Evidence
    excused: Counter[str] = field(default_factory=Counter)
    breaths: list[float] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._naps: defaultdict[int, list[Nap]] = defaultdict(list)
        for nap in self.evidence.naps:
            self._naps[nap.pid].append(nap)
        self._leases: defaultdict[str, list[Lease]] = defaultdict(list)
        for lease in self.evidence.leases:
            self._leases[lease.run].append(lease)
        self._zones = {life.pid: life.zone for life in self.evidence.lives}
        self.started = _matched(self.evidence)
        self.present = {act.token for act in self.evidence.acts if any(word.op == "effect" for word in act.words)}

    def owner(self, run: str, at: float) -> str | None:
        """Return who held the lease of a run at that time."""
        leases = self._leases[run]
        number = bisect_right(leases, at, key=lambda lease: lease.at) - 1
        if number < 0:
            return None
        lease = leases[number]
        return lease.owner if lease.until is not None and at <= lease.until else None

    def zone_of(self, worker: str) -> str:
        """Return the zone that a worker works for."""
        return self._zones[pid_of(worker)]

    def leases_of(self, run: str) -> list[Lease]:
        """Return every change of a run's lease, in order."""
        return self._leases[run]

    def naps_of(self, pid: int) -> list[Nap]:
        """Return when a process was frozen."""
        return self._naps[pid]

    def leased(self, act: Act, word: Word) -> bool:
        """Return whether the sender held the lease when it sent the word, or when the target heard it."""
        on_its_way = word.at - word.sent <= _IN_FLIGHT and self.owner(act.run, word.sent) == act.worker
        return on_its_way or self.owner(act.run, word.at) == act.worker

    def last_breath(self, act: Act, word: Word) -> bool:
        """Return whether a worker says this before it can notice that it was frozen in the middle of the act."""
        since = self.started.get(act.number)
        return since is not None and any(
            since.at <= nap.until <= word.at <= nap.until + LAST_BREATH for nap in self._naps[pid_of(act.worker)]
        )

    def excusable(self, act: Act, word: Word) -> bool:
        """Return whether a word came through the known hole."""
        return not self.leased(act, word) and self.last_breath(act, word)

    def stretches(self, act: Act) -> Iterator[tuple[Word, ...]]:
        """Yield the words of an act in stretches in which its worker was awake."""
        acting = [word for word in act.words if word.op in _ACTING]
        stretch: list[Word] = []
        for word in acting:
            if stretch and self._asleep(act, stretch[-1].at, word.at):
                yield tuple(stretch)
                stretch = []
            stretch.append(word)
        if stretch:
            yield tuple(stretch)

    def _asleep(self, act: Act, since: float, until: float) -> bool:
        return any(nap.until > since and nap.since < until for nap in self._naps[pid_of(act.worker)])


def pid_of(worker: str) -> int:
    """Return the process id in the name of a worker, ``host:boot:pid:birth:instance``."""
    return int(worker.split(":")[2])


def _matched(evidence: Evidence) -> dict[int, Entry]:
    """Return the STARTED of each act: one act for each, by the same worker, written before."""
    unused: defaultdict[tuple[str, str, str], list[Entry]] = defaultdict(list)
    for run, journal in evidence.journals.items():
        for entry in journal:
            if isinstance(entry.event, events.StepStarted):
                unused[run, entry.event.step, entry.event.who].append(entry)
    found = {}
    for act in evidence.acts:
        before = [entry for entry in unused[act.run, act.step, act.worker] if entry.at <= act.words[0].at]
        if before:
            found[act.number] = before[-1]
            unused[act.run, act.step, act.worker].remove(before[-1])
    return found


def on_targets(court: Court) -> Iterator[Finding]:
    """Judge by what the targets saw."""
    yield from _once(court)
    for act in court.evidence.acts:
        if act.number not in court.started:
            yield Finding(Rule.STARTED, f"{act.token} was begun by {act.worker}, and no STARTED says so")
        if court.zone_of(act.worker) != court.evidence.runs[act.run].zone_of(act.target):
            yield Finding(Rule.ZONE, f"{act.token} was begun by {act.worker} in {court.zone_of(act.worker)}")
        yield from _leased(court, act)
    yield from _apart(court)


def _once(court: Court) -> Iterator[Finding]:
    """Find what was begun or created although it was there already."""
    by_token: defaultdict[str, list[tuple[Word, Act]]] = defaultdict(list)
    for act in court.evidence.acts:
        if not act.reads_only:
            by_token[act.token] += [(word, act) for word in act.words if word.op in ("begin", "effect")]
    for token, words in by_token.items():
        maker: tuple[Word, Act] | None = None
        for word, act in sorted(words, key=lambda pair: pair[0].at):
            again = bool(word.answer.get("present")) or word.answer.get("made") is False
            if again and maker is not None:
                yield from _again(court, token, maker, word, act)
            if word.op == "effect" and word.answer.get("made"):
                maker = word, act


def _again(court: Court, token: str, maker: tuple[Word, Act], word: Word, act: Act) -> Iterator[Finding]:
    made, by = maker
    what = "was created" if word.op == "effect" else "was begun"
    if _asked_again(court, act, made.at, word.at):
        court.excused["done again because a person said so"] += 1
    elif court.excusable(act, word) or court.excusable(by, made):
        court.excused[f"{what} when it was there already, stopped by its token"] += 1
    else:
        yield Finding(Rule.ONCE, f"{token} {what} by {act.worker} although {by.worker} had created it")


def _asked_again(court: Court, act: Act, since: float, until: float) -> bool:
    return any(
        isinstance(entry.event, events.Decided)
        and entry.event.choice is events.Choice.RETRY
        and entry.event.step == act.step
        and since <= entry.at <= until
        for entry in court.evidence.journals[act.run]
    )


def _leased(court: Court, act: Act) -> Iterator[Finding]:
    for word in act.words:
        if word.op not in _ACTING or court.leased(act, word):
            continue
        if court.last_breath(act, word):
            court.excused[f"last breath of a woken worker: {word.op}"] += 1
            woken = max(nap.until for nap in court.naps_of(pid_of(act.worker)) if nap.until <= word.at)
            court.breaths.append(word.at - woken)
        else:
            owner = court.owner(act.run, word.at)
            yield Finding(Rule.LEASED, f"{act.token}: {word.op} by {act.worker}, while the lease is {owner}'s")


@dataclass(frozen=True)
class _Stretch:
    act: Act
    words: tuple[Word, ...]

    @property
    def since(self) -> float:
        return self.words[0].at

    @property
    def until(self) -> float:
        return self.words[-1].at


def _apart(court: Court) -> Iterator[Finding]:
    """Find those who act on a target, or for a rollback, at the same time as another does."""
    by_target: defaultdict[str, list[_Stretch]] = defaultdict(list)
    by_run: defaultdict[str, list[_Stretch]] = defaultdict(list)
    for act in court.evidence.acts:
        for words in court.stretches(act):
            by_run[act.run].append(_Stretch(act, words))
            if not act.reads_only:
                by_target[act.target].append(_Stretch(act, words))
    for one, other in _meetings(by_target.values()):
        if one.act.run != other.act.run:
            yield from _met(court, Rule.TARGET, one, other)
    for one, other in _meetings(by_run.values()):
        if one.act.worker != other.act.worker:
            yield from _met(court, Rule.WORKER, one, other)


def _meetings(groups: Iterable[list[_Stretch]]) -> Iterator[tuple[_Stretch, _Stretch]]:
    for group in groups:
        open_ones: list[_Stretch] = []
        for stretch in sorted(group, key=lambda one: one.since):
            open_ones = [one for one in open_ones if one.until >= stretch.since]
            yield from ((one, stretch) for one in open_ones)
            open_ones.append(stretch)


def _met(court: Court, rule: Rule, one: _Stretch, other: _Stretch) -> Iterator[Finding]:
    if any(all(court.excusable(some.act, word) for word in some.words) for some in (one, other)):
        court.excused["last breath of a woken worker beside another's act"] += 1
    else:
        yield Finding(
            rule, f"{one.act.token} by {one.act.worker} and {other.act.token} by {other.act.worker} at once"
        )


def locks_apart(court: Court) -> Iterator[Finding]:
    """Find targets that two rollbacks had at the same time, by the store's own word."""
    by_target: defaultdict[str, list[tuple[float, float, str]]] = defaultdict(list)
    for lock in court.evidence.locks:
        by_target[lock.target].append((lock.taken, lock.ended or float("inf"), lock.run))
    for target, locks in by_target.items():
        for (_, ended, one), (taken, _, other) in pairwise(sorted(locks)):
            if taken < ended:
                yield Finding(Rule.TARGET, f"{target} was locked by {one} and {other} at once")
