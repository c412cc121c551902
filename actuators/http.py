"""The HTTP face of a service: health, version and a synthetic transaction. All of them are probes."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, ClassVar, Literal

import aiohttp
from pydantic import Field

from actuators import http_dependencies
from actuators.causes import likely_causes
from actuators.http_client import Answer, Request, UnreachableError, exchange, fresh_session, join
from actuators.http_values import missing, shortened
from actuators.probes import LeavesNothing
from actuators.remedies import cannot_look
from actuators.targets import target_of
from bot.domain.actuation import Check, Context, Fault, Outcome, Progress, Registered, Remedy, Verdict
from bot.domain.errors import ActuatorError
from bot.domain.inventory import Endpoint, Synthetic
from bot.domain.plan import Step
from bot.domain.times import Duration, format_duration, parse_duration

_OK = 200
_ELSEWHERE = range(300, 500)
"""Redirects and refusals: something answers, and most likely it is not the page that was meant."""


class Probe(Step):
    """Asks an endpoint again and again until the answer is right or the time is up.

    Attributes:
        every: Time between two questions.
        within: Time until the answer must be right.
    """

    reads_only: ClassVar[bool] = True

    every: Duration = parse_duration("1s")
    within: Duration = parse_duration("30s")

    def deadline(self) -> timedelta:
        """Return how long one attempt may take: never less than `within` and the last answer need."""
        return max(super().deadline(), self.within + timedelta(seconds=30))


class Health(Probe):
    """The service calls itself healthy: HTTP 200 and JSON ``{"status": "healthy"}``.

    Attributes:
        version: The version that the answer must name as well, if given.
    """

    kind: Literal["http.health"] = "http.health"
    version: str | None = None

    def words(self) -> str:
        """Return the step in words, for people."""
        return self.title or f"Health of {self.target}"


class Version(Probe):
    """The service runs a version: HTTP 200 and JSON ``{"version": ...}``.

    Attributes:
        version: The version, exactly.
    """

    kind: Literal["http.version"] = "http.version"
    version: str = Field(min_length=1)

    def words(self) -> str:
        """Return the step in words, for people."""
        return self.title or f"{self.target} runs {self.version}"


class SyntheticTransaction(Probe):
    """The endpoint's synthetic transaction succeeds: status and JSON as the inventory says.

    It is a test transaction by contract: it leaves nothing behind in the service, so it may be repeated.
    """

    kind: Literal["http.synthetic"] = "http.synthetic"

    def words(self) -> str:
        """Return the step in words, for people."""
        return self.title or f"Synthetic transaction on {self.target}"


@dataclass(frozen=True)
class Finding:
    """What one answer means.

    Attributes:
        good: Whether it is the right one.
        words: What it said.
        version: The version it named.
    """

    good: bool
    words: str
    version: str | None = None


class _ProbeActuator(LeavesNothing):
    """What the three probes share: asking until the answer is right."""

    async def _reachable(self, step: Probe, context: Context, path: str) -> tuple[Check, ...]:
        """Look whether anything answers. The service may well be down: that is no obstacle to a rollback."""
        endpoint = _endpoint(step, context)
        request = Request(join(endpoint.url, path))
        subject = f"Endpoint {step.target}"
        try:
            async with fresh_session() as session:
                answer = await exchange(session, request, clock=context.clock)
        except UnreachableError as error:
            words = f"{request.url} does not answer: {error}"
            return (
                Check(subject, Verdict.WARN, words, "Expected if the service is down; else check the address."),
            )
        words = f"{request.url} answers with {answer.words()}"
        if answer.status in _ELSEWHERE:
            resolution = "Unless that is the fault itself, correct `url` or the path: so the step cannot pass."
            return (Check(subject, Verdict.WARN, words, resolution),)
        return (Check(subject, Verdict.OK, words),)

    async def _until_good(
        self, step: Probe, context: Context, request: Request, judge: Callable[[Answer], Finding]
    ) -> Outcome:
        """Ask until the answer is right; the last finding becomes the error."""
        started = context.clock.monotonic()
        within, every = step.within.total_seconds(), step.every.total_seconds()
        async with fresh_session() as session:
            while True:
                answer, finding = await _ask(session, request, judge, context)
                if answer is not None and finding.good:
                    facts: dict[str, Any] = {"latency_seconds": round(answer.latency, 6)}
                    if finding.version is not None:
                        facts["version"] = finding.version
                    return Outcome(f"{step.target}: {finding.words}", facts)
                passed = context.clock.monotonic() - started
                context.report(Progress(min(passed, within), within, "seconds", finding.words))
                if passed + every > within:
                    raise ActuatorError(
                        f"{step.words()}: not as expected within {format_duration(step.within)}; "
                        f"last: {finding.words}.",
                        untouched=f"{request.url} was only asked.",
                        resolution="Look at the service's own log; retry when it answers, or let it take longer.",
                    )
                await context.clock.sleep(every)

    async def remedies(self, step: Probe, fault: Fault, context: Context) -> tuple[Remedy, ...]:
        """Return where else to look."""
        del step, fault
        return likely_causes(context)


async def _ask(
    session: aiohttp.ClientSession, request: Request, judge: Callable[[Answer], Finding], context: Context
) -> tuple[Answer | None, Finding]:
    try:
        answer = await exchange(session, request, clock=context.clock)
    except UnreachableError as error:
        return None, Finding(good=False, words=f"{request.url}: {error}")
    if answer.truncated:
        return answer, Finding(good=False, words=f"{answer.words()} with more than {request.limit} bytes")
    return answer, judge(answer)


class HealthActuator(_ProbeActuator):
    """Reads the health page."""

    async def check(self, step: Health, context: Context) -> tuple[Check, ...]:
        """Look whether the page answers."""
        return await _checked(step, lambda: self._reachable(step, context, _endpoint(step, context).health))

    async def apply(self, step: Health, context: Context) -> Outcome:
        """Wait until the service calls itself healthy."""
        endpoint = _endpoint(step, context)

        def judge(answer: Answer) -> Finding:
            document = answer.json()
            status = document.get("status") if isinstance(document, dict) else None
            version = _text(document, "version")
            words = f"{answer.words()}, status {shortened(status)}"
            if version is not None:
                words += f", version {version}"
            fitting = step.version is None or version == step.version
            return Finding(answer.status == _OK and status == "healthy" and fitting, words, version)

        return await self._until_good(step, context, Request(join(endpoint.url, endpoint.health)), judge)


class VersionActuator(_ProbeActuator):
    """Reads the version page."""

    async def check(self, step: Version, context: Context) -> tuple[Check, ...]:
        """Look whether the page answers."""
        return await _checked(step, lambda: self._reachable(step, context, _endpoint(step, context).version))

    async def apply(self, step: Version, context: Context) -> Outcome:
        """Wait until the service names the version."""
        endpoint = _endpoint(step, context)

        def judge(answer: Answer) -> Finding:
            version = _text(answer.json(), "version")
            good = answer.status == _OK and version == step.version
            words = f"{answer.words()}, version {version or 'not given'}"
            return Finding(good, words if good else f"{words} instead of {step.version}", version)

        return await self._until_good(step, context, Request(join(endpoint.url, endpoint.version)), judge)


class SyntheticActuator(_ProbeActuator):
    """Runs the synthetic transaction."""

    async def check(self, step: SyntheticTransaction, context: Context) -> tuple[Check, ...]:
        """Look whether a transaction is configured and the service answers; run none."""

        async def look() -> tuple[Check, ...]:
            _synthetic(step, context)
            return await self._reachable(step, context, _endpoint(step, context).health)

        return await _checked(step, look)

    async def apply(self, step: SyntheticTransaction, context: Context) -> Outcome:
        """Wait until the transaction succeeds."""
        endpoint = _endpoint(step, context)
        synthetic = _synthetic(step, context)

        def judge(answer: Answer) -> Finding:
            document = answer.json()
            lack = missing(synthetic.expect, document) if synthetic.expect else None
            good = answer.status == synthetic.expect_status and lack is None
            words = f"{synthetic.method} {synthetic.path}: {answer.words()}"
            if answer.status != synthetic.expect_status:
                words += f" instead of {synthetic.expect_status}"
            elif lack is not None:
                words += f", but {lack}"
            return Finding(good, words, _text(document, "version"))

        request = Request(join(endpoint.url, synthetic.path), method=synthetic.method, body=synthetic.body)
        return await self._until_good(step, context, request, judge)


def register() -> tuple[Registered[Any], ...]:
    """Return the steps of this actuator with what carries them out."""
    return (
        Registered(Health, HealthActuator()),
        Registered(Version, VersionActuator()),
        Registered(SyntheticTransaction, SyntheticActuator()),
        *http_dependencies.register(),
    )


async def _checked(step: Step, look: Callable[[], Awaitable[tuple[Check, ...]]]) -> tuple[Check, ...]:
    """Turn a wrong target into a finding."""
    try:
        return await look()
    except ActuatorError as error:
        return (cannot_look(f"Endpoint {step.target}", error),)


def _endpoint(step: Step, context: Context) -> Endpoint:
    return target_of(
        step, context, Endpoint, called="endpoint", section="endpoints", untouched="Nothing was asked."
    )


def _synthetic(step: Step, context: Context) -> Synthetic:
    synthetic = _endpoint(step, context).synthetic
    if synthetic is not None:
        return synthetic
    raise ActuatorError(
        f"Endpoint {step.target} has no synthetic transaction.",
        untouched="Nothing was asked.",
        resolution="Add `synthetic` (path, method, body, expect) to the endpoint in the inventory.",
    )


def _text(document: Any, key: str) -> str | None:
    value = document.get(key) if isinstance(document, dict) else None
    return value if isinstance(value, str) else None
