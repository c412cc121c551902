"""Incident, problem and change closure: written from the journal, as often as needed, never twice."""

from __future__ import annotations

from dataclasses import dataclass

from bot.domain import events, ports, records
from bot.domain.run import Run


@dataclass(frozen=True)
class Numbers:
    """The records of a rollback."""

    incident: str
    problem: str


class Books:
    """Keeps the records of a rollback in line with its journal.

    Args:
        records: Where records are kept.
    """

    def __init__(self, store: ports.Records) -> None:
        self._store = store

    async def open(self, run: Run) -> str:
        """Create the incident, linked to the change that caused it, and return its number."""
        number = await self._store.put(run.id, records.incident(run), change=run.plan.change)
        await self._store.link(run.plan.change, number, "causes")
        return number

    async def file_cause(self, run: Run, reported: events.CauseReported) -> str:
        """Create the incident of the actual cause, linked to the rollback's own, and return its number."""
        number = await self._store.put(run.id, records.cause(run, reported), change=run.plan.change)
        await self._store.link(number, await self.open(run), "relates to")
        return number

    async def close(self, run: Run) -> Numbers:
        """Bring incident, problem and change to their final form, linked to each other."""
        change = run.plan.change
        incident = await self.open(run)
        problem = await self._store.put(run.id, records.problem(run, incident_number=incident), change=change)
        await self._store.put(run.id, records.incident(run, problem=problem), change=change)
        closure = records.change_closure(run, incident_number=incident, problem_number=problem)
        await self._store.put(run.id, closure, change=change)
        await self._store.link(problem, incident, "causes")
        return Numbers(incident, problem)
