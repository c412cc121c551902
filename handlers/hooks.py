"""What other systems ask the bot over HTTP: may a service be deployed now?"""

from __future__ import annotations

import hmac
import logging
import re
from collections.abc import Iterable
from typing import Final

from aiohttp import web

from bot.domain.errors import RollbackError, StoreUnavailableError, UnknownServiceError
from bot.domain.run import Run
from bot.domain.steering import blocked_words
from bot.engine.service import Service

log = logging.getLogger(__name__)

PATH: Final = "/hooks/deployments/{service}"
"""GET or POST, with the header ``Authorization: Bearer <ROLLBACK_HOOKS_TOKEN>``."""

_SERVICE: Final = re.compile(r"[^\x00-\x1f\x7f]{1,80}")


def routes(service: Service, *, token: str) -> Iterable[web.RouteDef]:
    """Return the route by which a pipeline asks before it deploys.

    200 ``{"deploy": true}``; 423 ``{"deploy": false, "reason": ..., "rollbacks": [...]}`` while a rollback blocks
    deployments; 503 when it cannot be told, which is not a yes; 401 without the token, 400 for no service, 404 for
    one that the inventory does not know.

    Args:
        service: The use cases.
        token: The secret that the callers share with the bot.

    Raises:
        ValueError: If the token is empty: then anybody could ask.
    """
    if not token:
        raise ValueError("a hook without a token is open to everybody")

    async def ask(request: web.Request) -> web.Response:
        given = request.headers.get("Authorization", "")
        if not hmac.compare_digest(given.encode(errors="surrogateescape"), f"Bearer {token}".encode()):
            return web.json_response({"error": "the token is missing or wrong"}, status=401)
        name = request.match_info["service"]
        if not _SERVICE.fullmatch(name):
            return web.json_response({"error": "that is no name of a service"}, status=400)
        try:
            blocking = await service.blocking(name)
        except UnknownServiceError as error:
            return web.json_response({"deploy": False, "reason": f"{error.brief} {error.resolution}"}, status=404)
        except (StoreUnavailableError, RollbackError) as error:
            log.warning("a pipeline asked for %r, and it cannot be told: %s", name, error)
            answer = {"deploy": False, "reason": "It cannot be told at the moment. Do not deploy before it can."}
            return web.json_response(answer, status=503)
        return _answer(blocking)

    return (web.get(PATH, ask), web.post(PATH, ask))


def _answer(blocking: tuple[Run, ...]) -> web.Response:
    if not blocking:
        return web.json_response({"deploy": True})
    document = {
        "deploy": False,
        "reason": " ".join(blocked_words(run) for run in blocking),
        "rollbacks": [{"id": run.id, "change": run.plan.change, "state": run.state.value} for run in blocking],
    }
    return web.json_response(document, status=423)
