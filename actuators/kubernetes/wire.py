"""Requests to an API server, and its refusals in words."""

from __future__ import annotations

import json
import ssl
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from http import HTTPStatus
from typing import Any

import aiohttp

from actuators.redact import redact
from bot.domain.errors import ActuatorError

Json = dict[str, Any]
"""An object of the API server."""

Params = list[tuple[str, str]]
"""The query of a request."""

WATCH_SECONDS = 60
"""How long the server lets a watch last."""

_REQUEST = aiohttp.ClientTimeout(total=10)
_WATCH = aiohttp.ClientTimeout(total=None, sock_connect=10, sock_read=WATCH_SECONDS + 15)
"""A watch ends by itself at the server; one that stays silent for longer is deaf."""

_PASSING: frozenset[int] = frozenset(
    {
        HTTPStatus.CONFLICT,
        HTTPStatus.TOO_MANY_REQUESTS,
        HTTPStatus.INTERNAL_SERVER_ERROR,
        HTTPStatus.BAD_GATEWAY,
        HTTPStatus.SERVICE_UNAVAILABLE,
        HTTPStatus.GATEWAY_TIMEOUT,
    }
)
_NEXT: dict[int, str] = {
    HTTPStatus.UNAUTHORIZED: "Renew the credentials that the target names in the inventory, then retry.",
    HTTPStatus.FORBIDDEN: "Grant the bot what docs/actuators lists for this step, then retry.",
    HTTPStatus.NOT_FOUND: "Correct the name in the plan, or the namespace of the target in the inventory.",
}
_LONGEST = 600


class ApiError(ActuatorError):
    """The API server refused, or gave no answer.

    Args:
        brief: What happened.
        status: The HTTP status; 0 if no answer came.
        reason: The server's reason, e.g. ``Conflict``.
        transient: Whether it may pass by itself.
        resolution: What to do next.
        untouched: What was left as it was.
    """

    def __init__(
        self,
        brief: str,
        *,
        status: int = 0,
        reason: str = "",
        transient: bool = False,
        resolution: str = "",
        untouched: str = "",
    ) -> None:
        super().__init__(brief, untouched=untouched, resolution=resolution, transient=transient)
        self.status = status
        self.reason = reason


class Wire:
    """Sends requests with the client's credentials.

    Args:
        client: A `kubernetes.aio` client.
        server: The server's address, for messages.
    """

    def __init__(self, client: Any, *, server: str) -> None:
        self._client = client
        self.server = server

    async def ask(
        self,
        method: str,
        path: str,
        *,
        doing: str,
        params: Params | None = None,
        headers: Mapping[str, str] | None = None,
        body: Json | None = None,
    ) -> Json:
        """Send a request and return the JSON object that is the answer.

        Args:
            method: The HTTP method.
            path: The path.
            doing: What the server is to do, for messages: "did not ..., refused to ...".
            params: The query.
            headers: Further headers.
            body: Sent as JSON.

        Raises:
            ApiError: If it refuses, or no answer comes.
        """
        data = await self.read(method, path, doing=doing, params=params, headers=headers, body=body)
        try:
            found: Json = json.loads(data)
        except ValueError:
            raise self._silence(doing, ValueError("what it answers is no JSON")) from None
        return found

    async def read(
        self,
        method: str,
        path: str,
        *,
        doing: str,
        params: Params | None = None,
        headers: Mapping[str, str] | None = None,
        body: Json | None = None,
    ) -> bytes:
        """Send a request and return the answer as it is; arguments and errors as in `ask`."""
        try:
            response = await self._send(method, path, params=params, headers=headers, body=body)
            data = await response.read()
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            raise self._silence(doing, error) from None
        if response.status < HTTPStatus.MULTIPLE_CHOICES:
            return data
        raise self._refusal(doing, response.status, data)

    async def stream(self, path: str, *, doing: str, params: Params) -> AsyncGenerator[tuple[str, Json], None]:
        """Yield (type, object) of a watch's events until the server ends it.

        Raises:
            ApiError: If it cannot go on.
        """
        try:
            response = await self._send("GET", path, params=params, timeout=_WATCH)
            try:
                if response.status != HTTPStatus.OK:
                    raise self._refusal(doing, response.status, await response.read())
                async for line in _lines(response):
                    event = json.loads(line)
                    if event["type"] == "ERROR":
                        status = event["object"]
                        raise self._refusal(doing, int(status.get("code", 0)), json.dumps(status).encode())
                    yield event["type"], event["object"]
            finally:
                response.close()
        except (aiohttp.ClientError, OSError, TimeoutError, ValueError) as error:
            raise self._silence(doing, error) from None

    async def _send(
        self,
        method: str,
        path: str,
        *,
        params: Params | None = None,
        headers: Mapping[str, str] | None = None,
        body: Json | None = None,
        timeout: aiohttp.ClientTimeout = _REQUEST,  # noqa: ASYNC109 - aiohttp keeps it, per phase of the exchange
    ) -> aiohttp.ClientResponse:
        _, url, sent, document, _ = await self._client.param_serialize(
            method=method,
            resource_path=path,
            query_params=params or [],
            header_params=dict(headers or {}),
            body=body,
            auth_settings=["BearerToken"],
        )
        answer = await self._client.call_api(method, url, sent, document, _request_timeout=timeout)
        response: aiohttp.ClientResponse = answer.response
        return response

    def _refusal(self, doing: str, status: int, data: bytes) -> ApiError:
        told = _told(data)
        message = redact(" ".join(str(told.get("message") or "no reason given").split()))[:_LONGEST]
        return ApiError(
            f"The API server at {self.server} refused to {doing}: {message.rstrip('.')} (HTTP {status}).",
            status=status,
            reason=str(told.get("reason") or ""),
            transient=status in _PASSING,
            untouched="Nothing was changed by this request." if status < HTTPStatus.INTERNAL_SERVER_ERROR else "",
            resolution=_NEXT.get(status, "Correct the cause, then retry."),
        )

    def _silence(self, doing: str, error: Exception) -> ApiError:
        trusted = not isinstance(error, aiohttp.ClientConnectorCertificateError | ssl.SSLError)
        return ApiError(
            f"The API server at {self.server} did not {doing}: {_reason(error)}.",
            transient=trusted,
            resolution=(
                "Check that the worker reaches the cluster. Before anything is repeated, what took effect is read."
                if trusted
                else "Put the cluster's certificate authority into the kubeconfig."
            ),
        )


def _told(data: bytes) -> Json:
    """Read a refusal: a Status of the API server, or whatever a proxy before it says."""
    try:
        told: Any = json.loads(data)
    except ValueError:
        told = data.decode(errors="replace")
    return told if isinstance(told, dict) else {"message": str(told)}


async def _lines(response: aiohttp.ClientResponse) -> AsyncIterator[bytes]:
    """Yield the lines of a watch. aiohttp's own reader gives up on lines that objects exceed."""
    rest = b""
    async for chunk in response.content.iter_any():
        *whole, rest = (rest + chunk).split(b"\n")
        for line in whole:
            if line.strip():
                yield line
    if rest.strip():
        yield rest


def _reason(error: Exception) -> str:
    if isinstance(error, aiohttp.ClientConnectorCertificateError | ssl.SSLError):
        return "its certificate is not trusted"
    if isinstance(error, aiohttp.ClientConnectorError):
        return f"no connection ({error.os_error.strerror or error.os_error})"
    if isinstance(error, TimeoutError):
        return "no answer in time"
    return redact(str(error))[:_LONGEST].rstrip(".") or type(error).__name__
