"""http.dependencies: whether what the service depends on calls itself healthy."""

from __future__ import annotations

import asyncio
from typing import Any, Literal

import aiohttp
from pydantic import Field

from actuators.http_client import Answer, Request, UnreachableError, exchange, fresh_session, join
from actuators.probes import LeavesNothing
from actuators.remedies import Diagnosis, cannot_look, shown
from bot.domain.actuation import Check, Context, Outcome, Registered, Verdict
from bot.domain.errors import ActuatorError
from bot.domain.inventory import Endpoint, Name

_OK = 200
_HEALTHY = frozenset({"healthy", "ok", "up", "pass", "passing", "green"})
"""What services call themselves when all is well; one that says nothing is judged by its HTTP status."""


class ShowDependencies(Diagnosis):
    """Shows whether other services, which this one depends on, answer and call themselves healthy.

    Attributes:
        endpoints: Which; the step's target is the first of them.
    """

    kind: Literal["http.dependencies"] = "http.dependencies"
    endpoints: tuple[Name, ...] = Field(min_length=1, max_length=50)

    def words(self) -> str:
        """Return the step in words, for people."""
        return self.title or f"Health of {', '.join(self.endpoints)}"


class DependenciesActuator(LeavesNothing):
    """A diagnosis: asks every health page once."""

    async def check(self, step: ShowDependencies, context: Context) -> tuple[Check, ...]:
        """Look whether the endpoints are known, and how they are now."""
        try:
            found = await _asked(step, context)
        except ActuatorError as error:
            return (cannot_look("Dependencies", error),)
        return tuple(
            Check(f"Dependency {name}", Verdict.OK, words)
            if good
            else Check(
                f"Dependency {name}", Verdict.WARN, words, "Ask its owner; the rollback may not be the cure."
            )
            for name, (good, words) in found.items()
        )

    async def apply(self, step: ShowDependencies, context: Context) -> Outcome:
        """Ask all of them at once."""
        found = await _asked(step, context)
        ill = {name: words for name, (good, words) in found.items() if not good}
        words = f"{len(found) - len(ill)} of {len(found)} dependencies healthy"
        if ill:
            words += f"; {'; '.join(f'{name}: {said}' for name, said in ill.items())}"
        details = [f"{name}: {said}" for name, (_, said) in found.items()]
        return Outcome(
            words, {"healthy": [name for name in found if name not in ill], "ill": list(ill)}, shown(details)
        )


async def _asked(step: ShowDependencies, context: Context) -> dict[str, tuple[bool, str]]:
    """Return for every endpoint whether it is well, and what it said.

    Raises:
        ActuatorError: If one of them is no endpoint of the inventory; nothing was asked then.
    """
    endpoints = {name: _endpoint(name, context) for name in step.endpoints}
    async with fresh_session() as session, asyncio.TaskGroup() as group:
        asking = {name: group.create_task(_ask(session, each, context)) for name, each in endpoints.items()}
    return {name: task.result() for name, task in asking.items()}


async def _ask(session: aiohttp.ClientSession, endpoint: Endpoint, context: Context) -> tuple[bool, str]:
    request = Request(join(endpoint.url, endpoint.health))
    try:
        answer = await exchange(session, request, clock=context.clock)
    except UnreachableError as error:
        return False, f"{request.url}: {error}"
    good, said = _judged(answer)
    return good, f"{request.url}: {said} in {answer.latency * 1000:.0f} ms"


def _judged(answer: Answer) -> tuple[bool, str]:
    if answer.truncated:
        return False, f"{answer.words()} with too long a body"
    document = answer.json()
    status = document.get("status") if isinstance(document, dict) else None
    if status is None:
        return answer.status == _OK, answer.words()
    good = answer.status == _OK and str(status).lower() in _HEALTHY
    return good, f"{answer.words()}, status {str(status)[:60]!r}"


def _endpoint(name: str, context: Context) -> Endpoint:
    target = context.inventory.find(name)
    if isinstance(target, Endpoint):
        return target
    raise ActuatorError(
        f"{name} is {'no endpoint' if target else 'not in the inventory'}.",
        untouched="Nothing was asked.",
        resolution="Name a target of the inventory's section `endpoints`.",
    )


def register() -> tuple[Registered[Any], ...]:
    """Return the step of this module with its actuator."""
    return (Registered(ShowDependencies, DependenciesActuator()),)
