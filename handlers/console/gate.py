"""Who is asking: a bearer token, or a session cookie with a token against forged requests.

Sessions are signed values, not rows: they survive a restart, and end with the user's token.
"""

import hashlib
import hmac
from collections.abc import Mapping
from typing import Final

from aiohttp import web

from bot.domain import ports
from handlers.console.model import ConsoleUser, PageError

COOKIE: Final = "rollback_console"
CSRF_HEADER: Final = "X-Console-CSRF"
SESSION_SECONDS: Final = 12 * 3600
ATTEMPTS: Final = 10
ATTEMPT_SECONDS: Final = 60.0


class Gate:
    """Identify users. The token decides who somebody is; no request can name another user to act for."""

    def __init__(self, users: Mapping[str, ConsoleUser], *, secret: str, clock: ports.Clock) -> None:
        self._users = users
        self._clock = clock
        self._key = hashlib.sha256(b"console session\x00" + secret.encode()).digest()
        self._failures: dict[str, list[float]] = {}

    def user(self, request: web.Request) -> ConsoleUser:
        """Return who asks.

        Raises:
            PageError: Nobody known (401), or a cookie's POST without its CSRF token (403).
        """
        scheme, _, token = request.headers.get("Authorization", "").partition(" ")
        if scheme.lower() == "bearer":
            return self._by_token(token.strip(), request)
        session = request.cookies.get(COOKIE, "")
        user = self._by_session(session)
        if user is None:
            raise PageError(
                "not_authed", "You are not signed in. Nothing was done. Sign in with your token.", status=401
            )
        if request.method not in {"GET", "HEAD"}:
            given = request.headers.get(CSRF_HEADER, "")
            if not hmac.compare_digest(given.encode(), self.csrf(session).encode()):
                raise PageError(
                    "csrf",
                    "The request did not come from this page. Nothing was done. Reload the page.",
                    status=403,
                )
        return user

    def sign_in(self, token: str, request: web.Request) -> str:
        """Return a new session for the owner of a token.

        Raises:
            PageError: Unknown token (401), or too many unknown ones from this address (429).
        """
        user = self._by_token(token, request)
        expires = int(self._clock.now().timestamp()) + SESSION_SECONDS
        return f"{user.id}.{expires}.{self._mac(f'{user.id}.{expires}', user)}"

    def csrf(self, session: str) -> str:
        """Return the token that POSTs of a session must carry in their header."""
        return hmac.new(self._key, b"csrf\x00" + session.encode(), hashlib.sha256).hexdigest()

    def _by_token(self, token: str, request: web.Request) -> ConsoleUser:
        now = self._clock.monotonic()
        address = request.remote or ""
        recent = [at for at in self._failures.get(address, []) if now - at < ATTEMPT_SECONDS]
        if len(recent) >= ATTEMPTS:
            raise PageError(
                "too_many_attempts", "Too many wrong tokens. Wait a minute, then try again.", status=429
            )
        # Every token is compared, in constant time, so that the time taken tells nothing about any of them.
        given = token.encode()
        matching = [
            user
            for user in self._users.values()
            if hmac.compare_digest(user.token.get_secret_value().encode(), given) and given
        ]
        if not matching:
            self._failures = {key: ats for key, ats in self._failures.items() if now - ats[-1] < ATTEMPT_SECONDS}
            self._failures[address] = [*recent, now]
            raise PageError("invalid_auth", "This token is not known here. Nothing was done. Check it.", status=401)
        return matching[0]

    def _by_session(self, session: str) -> ConsoleUser | None:
        user_id, _, rest = session.partition(".")
        expires, _, mac = rest.partition(".")
        user = self._users.get(user_id)
        if user is None or not (expires.isascii() and expires.isdecimal()):
            return None
        genuine = hmac.compare_digest(mac.encode(), self._mac(f"{user_id}.{expires}", user).encode())
        alive = int(expires) > self._clock.now().timestamp()
        return user if genuine and alive else None

    def _mac(self, claim: str, user: ConsoleUser) -> str:
        message = f"{claim}\x00{user.token.get_secret_value()}".encode()
        return hmac.new(self._key, message, hashlib.sha256).hexdigest()
