"""downstream.purge: a CDN's cache is emptied by the request that the inventory names."""

from __future__ import annotations

import asyncio
import ssl
from datetime import datetime
from urllib.parse import urlsplit

import aiohttp

from actuators import secrets
from actuators.downstream.steps import DownstreamPurge, downstream_of
from actuators.http_client import Answer, Request, UnreachableError, exchange
from actuators.redact import redact, tail
from actuators.remedies import cannot_look
from bot.domain.actuation import Check, Context, Observation, Outcome, Presence, Verdict
from bot.domain.errors import ActuatorError
from bot.domain.inventory import Purge
from bot.domain.times import utc_second

_CONNECT_SECONDS = 3.0
_SECONDS = 15.0
_GOOD = range(200, 300)
_LATER = {408, 425, 429, *range(500, 600)}
_DENIED = {401, 403}


class PurgeActuator:
    """Sends the purge request.

    No CDN tells afterwards whether a purge was done, so what it answered to this process is what is known of it.
    After a crash the outcome is unknown; purging twice is harmless.
    """

    def __init__(self) -> None:
        self._confirmed: dict[str, datetime] = {}

    async def check(self, step: DownstreamPurge, context: Context) -> tuple[Check, ...]:
        """Look whether there is a request to send, its token is there and its server answers; send nothing."""
        subject = f"CDN purge of {step.target}"
        try:
            purge = _purge(step, context)
            if purge.token is not None:
                secrets.resolve(purge.token)
            await _reach(purge)
        except ActuatorError as error:
            return (cannot_look(subject, error),)
        except OSError as error:
            words = f"{purge.url} cannot be reached: {error.strerror or error}"
            return (Check(subject, Verdict.WARN, words, "Check the address, and the network's way out to it."),)
        words = f"{urlsplit(purge.url).netloc} answers; whether it accepts the token shows only when it is used"
        return (Check(subject, Verdict.OK, words),)

    async def observe(self, step: DownstreamPurge, context: Context) -> Observation:
        """Tell what the CDN confirmed to this process."""
        confirmed = self._confirmed.get(context.token(step))
        if confirmed is not None:
            return Observation(Presence.PRESENT, f"The CDN confirmed the purge at {utc_second(confirmed)}")
        words = "A CDN does not tell whether it was purged, and no answer of it is known here; purging is harmless"
        return Observation(Presence.UNKNOWN, words)

    async def apply(self, step: DownstreamPurge, context: Context) -> Outcome:
        """Send the request once."""
        purge = _purge(step, context)
        token = secrets.resolve(purge.token) if purge.token is not None else ""
        headers = {purge.header: f"{purge.scheme} {token}".strip()} if token else None
        request = Request(
            purge.url, method=purge.method, body=purge.body or None, headers=headers, timeout=_SECONDS
        )
        try:
            async with aiohttp.ClientSession() as session:
                answer = await exchange(session, request, clock=context.clock)
        except UnreachableError as error:
            raise ActuatorError(
                f"The CDN gave no answer to {purge.method} {purge.url}: {error}.",
                untouched="Whether it purged anything is not known; purging again is harmless.",
                resolution="Check the address and the network's way out to it; retry.",
                transient=True,
            ) from None
        output = tail(redact(answer.text, secrets=[token] if token else []))
        if answer.status not in _GOOD:
            raise _refused(purge, answer, output)
        self._confirmed[context.token(step)] = context.clock.now()
        return Outcome(f"{purge.method} {purge.url}: {answer.words()}, the cache is purged", {}, output)


def _refused(purge: Purge, answer: Answer, output: str) -> ActuatorError:
    if answer.status in _DENIED:
        where = secrets.describe(purge.token) if purge.token is not None else "`purge.token`, which is not given"
        resolution = f"Put a token that may purge into {where}."
    elif answer.status in _LATER:
        resolution = "Retry; the CDN is busy or ill."
    else:
        resolution = "Correct `purge` (url, method, body) of the downstream in the inventory."
    return ActuatorError(
        f"The CDN refused {purge.method} {purge.url}: {answer.words()}.",
        untouched="Its cache is as it was.",
        resolution=resolution,
        transient=answer.status in _LATER,
        output=output,
    )


async def _reach(purge: Purge) -> None:
    """Open a connection and close it again.

    Raises:
        OSError: If that fails.
    """
    parts = urlsplit(purge.url)
    tls = ssl.create_default_context() if parts.scheme == "https" else None
    port = parts.port or (443 if tls else 80)
    try:
        async with asyncio.timeout(_CONNECT_SECONDS):
            _, writer = await asyncio.open_connection(parts.hostname, port, ssl=tls)
    except TimeoutError:
        raise OSError(0, f"no answer within {_CONNECT_SECONDS:g} seconds") from None
    writer.transport.abort()


def _purge(step: DownstreamPurge, context: Context) -> Purge:
    purge = downstream_of(step, context).purge
    if purge is not None:
        return purge
    raise ActuatorError(
        f"No purge request is known for {step.target}.",
        untouched="Nothing was contacted.",
        resolution="Add `purge` (url, body, token) to the downstream in the inventory.",
    )
