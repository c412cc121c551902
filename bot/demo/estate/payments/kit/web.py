"""The HTTP side of the payments service."""

import json
import logging
import time
from collections.abc import Awaitable, Callable
from decimal import Decimal, InvalidOperation

import psycopg
from aiohttp import web
from psycopg_pool import PoolTimeout

from .ledger import Ledger, Pool, Receipt, RefusedError, Release, schema_version, synthetic_user
from .metrics import Metrics

log = logging.getLogger("payments")
MAX_ID = 2**63
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class BadRequestError(Exception):
    """The request's body is not what the endpoint takes."""


class Api:
    """The endpoints, over one ledger and one pool."""

    def __init__(self, *, release: Release, ledger: Ledger, pool: Pool) -> None:
        self._release = release
        self._ledger = ledger
        self._pool = pool
        self._metrics = Metrics(version=release.version, build=release.build)

    def application(self) -> web.Application:
        """Build the aiohttp application."""

        @web.middleware  # which cannot mark a bound method
        async def answer(request: web.Request, handler: Handler) -> web.StreamResponse:
            return await self._answer(request, handler)

        app = web.Application(middlewares=[answer])
        app.router.add_get("/health", self._health)
        app.router.add_get("/version", self._version)
        app.router.add_get("/metrics", self._metrics_page)
        app.router.add_post("/api/v1/transactions", self._transaction)
        app.router.add_post("/api/v1/test-transaction", self._test_transaction)
        return app

    async def _answer(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        started = time.perf_counter()
        response = await self._guard(request, handler)
        resource = request.match_info.route.resource
        if resource is not None and resource.canonical.startswith("/api/"):
            self._metrics.observe(
                method=request.method,
                path=resource.canonical,
                status=response.status,
                seconds=time.perf_counter() - started,
            )
        return response

    async def _guard(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        try:
            return await handler(request)
        except web.HTTPException as error:
            return web.json_response({"error": error.reason}, status=error.status)
        except BadRequestError as error:
            return web.json_response({"error": str(error)}, status=400)
        except RefusedError as error:
            return web.json_response({"error": str(error)}, status=422)
        except (PoolTimeout, psycopg.OperationalError) as error:
            log.error("%s %s: database away: %s", request.method, request.path, first_line(error))  # noqa: TRY400 - the trace would be the driver's, 60 times a second
            return web.json_response({"error": "the database is not available"}, status=503)
        except Exception as error:  # noqa: BLE001 - the last line of defence of an HTTP server
            log.error("%s %s: %s: %s", request.method, request.path, type(error).__name__, first_line(error))  # noqa: TRY400 - as above
            return web.json_response({"error": "internal error"}, status=500)

    async def _health(self, _request: web.Request) -> web.Response:
        try:
            schema = await schema_version(self._pool)
        except (PoolTimeout, psycopg.Error) as error:
            log.warning("health: %s", first_line(error))
            return self._health_answer(database="disconnected")
        if schema != self._release.schema:
            return self._health_answer(database=f"schema {schema}, this release needs {self._release.schema}")
        return self._health_answer(database="connected")

    def _health_answer(self, *, database: str) -> web.Response:
        healthy = database == "connected"
        return web.json_response(
            {
                "status": "healthy" if healthy else "unhealthy",
                "version": self._release.version,
                "database": database,
            },
            status=200 if healthy else 503,
        )

    async def _version(self, _request: web.Request) -> web.Response:
        return web.json_response({"version": self._release.version, "build": self._release.build})

    async def _metrics_page(self, _request: web.Request) -> web.Response:
        return web.Response(
            body=self._metrics.page(),
            headers={"Content-Type": "text/plain; version=0.0.4; charset=utf-8"},
        )

    async def _transaction(self, request: web.Request) -> web.Response:
        body = await _body(request)
        user_id = body.get("user_id")
        if type(user_id) is not int or not 0 < user_id < MAX_ID:
            raise BadRequestError("user_id must be a positive whole number")
        amount = _amount(body)
        async with self._pool.connection() as connection, connection.transaction():
            receipt = await self._ledger.book(connection, user_id=user_id, amount=amount)
        return web.json_response(_confirmation(receipt, status="booked"), status=201)

    async def _test_transaction(self, request: web.Request) -> web.Response:
        """Book a transaction through the whole path, then undo it: row counts stay what they were."""
        body = await _body(request)
        if body.get("test") is not True:
            raise BadRequestError('"test" must be true: this endpoint books nothing that lasts')
        amount = _amount(body)
        async with self._pool.connection() as connection, connection.transaction(force_rollback=True):
            receipt = await self._ledger.book(connection, user_id=await synthetic_user(connection), amount=amount)
        return web.json_response({**_confirmation(receipt, status="confirmed"), "test": True})


def first_line(error: BaseException) -> str:
    """Return an error's first line: PostgreSQL's further lines repeat the customer's data."""
    return (str(error).splitlines() or [type(error).__name__])[0]


async def _body(request: web.Request) -> dict[str, object]:
    try:
        body = json.loads(await request.read(), parse_float=Decimal)
    except ValueError as error:
        raise BadRequestError(f"the body is no JSON: {error}") from error
    if not isinstance(body, dict):
        raise BadRequestError("the body must be a JSON object")
    return body


def _amount(body: dict[str, object]) -> Decimal:
    try:
        amount = Decimal(str(body["amount"])).quantize(Decimal("0.01"))
    except (KeyError, InvalidOperation) as error:
        raise BadRequestError("amount must be a number") from error
    if not (amount.is_finite() and amount > 0):
        raise BadRequestError("amount must be above 0")
    return amount


def _confirmation(receipt: Receipt, *, status: str) -> dict[str, object]:
    return {
        "status": status,
        "transaction_id": receipt.transaction_id,
        "user_id": receipt.user_id,
        "amount": f"{receipt.amount:.2f}",
        "currency": receipt.currency,
        "created_at": receipt.created_at,
    }
