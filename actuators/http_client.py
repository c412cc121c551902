"""One bounded HTTP request: no redirects, no endless body, every fault an answer in words."""

from __future__ import annotations

import asyncio
import json
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import aiohttp

from actuators.redact import redact
from bot.domain.clock import Clock

BODY_LIMIT = 256 * 1024
"""Bytes of an answer that are read."""

_REDIRECT = range(300, 400)


class UnreachableError(Exception):
    """No answer came: refused, timed out, broken off, or not trusted. The message says which."""


@dataclass(frozen=True)
class Answer:
    """What a server answered.

    Attributes:
        status: The HTTP status.
        body: The body, at most `BODY_LIMIT` bytes.
        truncated: Whether more would have come.
        latency: Seconds from the request to the end of the body.
        headers: The headers.
    """

    status: int
    body: bytes
    truncated: bool
    latency: float
    headers: Mapping[str, str]

    @property
    def text(self) -> str:
        """The body as text."""
        return self.body.decode(errors="replace")

    def json(self) -> Any:
        """Return the body as JSON, None if it is none."""
        try:
            return json.loads(self.body)
        except ValueError:
            return None

    def words(self) -> str:
        """Return the status in words."""
        if self.status in _REDIRECT:
            # Behind the question mark there may be a token of a sign-in page.
            place = redact(self.headers.get("Location", "?").split("?")[0] or "?")[:200]
            return f"HTTP {self.status} to {place} (redirects are not followed)"
        return f"HTTP {self.status}"


@dataclass(frozen=True)
class Request:
    """What is asked for.

    Attributes:
        url: The whole address.
        method: The HTTP method.
        body: Sent as JSON if given.
        headers: Further headers.
        params: The query.
        timeout: Seconds for the whole exchange.
        limit: Bytes of the answer that are read.
    """

    url: str
    method: str = "GET"
    body: Mapping[str, object] | None = None
    headers: Mapping[str, str] | None = None
    params: Mapping[str, str] | None = None
    timeout: float = 5.0
    limit: int = BODY_LIMIT


def fresh_session() -> aiohttp.ClientSession:
    """Return a session that keeps nothing from one request to the next: no connection, cookie or address.

    A probe that kept its connection, or the cookie of a load balancer, would ask the same instance again and again,
    and one that the traffic has left already.
    """
    connector = aiohttp.TCPConnector(force_close=True, use_dns_cache=False)
    return aiohttp.ClientSession(connector=connector, cookie_jar=aiohttp.DummyCookieJar())


async def exchange(session: aiohttp.ClientSession, request: Request, *, clock: Clock) -> Answer:
    """Send a request and read the answer.

    Raises:
        UnreachableError: If no whole answer came in time.
    """
    started = clock.monotonic()
    try:
        async with (
            asyncio.timeout(request.timeout),
            session.request(
                request.method,
                request.url,
                json=request.body,
                params=request.params,
                headers=request.headers,
                allow_redirects=False,
            ) as response,
        ):
            body = await _read(response, request.limit + 1)
            return Answer(
                status=response.status,
                body=body[: request.limit],
                truncated=len(body) > request.limit,
                latency=clock.monotonic() - started,
                headers=response.headers,
            )
    except TimeoutError:
        raise UnreachableError(f"no answer within {request.timeout:g} s") from None
    except (aiohttp.ClientError, OSError, ValueError) as error:
        raise UnreachableError(_reason(error)) from None


def join(base: str, path: str) -> str:
    """Put a path behind the address of a service."""
    return base.rstrip("/") + path


async def _read(response: aiohttp.ClientResponse, limit: int) -> bytes:
    parts = bytearray()
    async for chunk in response.content.iter_any():
        parts += chunk
        if len(parts) >= limit:
            break
    return bytes(parts[:limit])


def _reason(error: Exception) -> str:
    if isinstance(error, aiohttp.ClientConnectorCertificateError | ssl.SSLError):
        return "the certificate is not trusted"
    if isinstance(error, aiohttp.ClientConnectorError):
        return f"no connection: {error.os_error.strerror or error.os_error}"
    if isinstance(error, aiohttp.ServerDisconnectedError):
        return "the connection was closed before an answer came"
    return f"no valid answer: {str(error) or type(error).__name__}"
