"""Who may do what on the page."""

from collections.abc import AsyncIterator
from typing import Any

import pytest
from aiohttp import ClientSession, DummyCookieJar
from pydantic import SecretStr

from handlers.console import ConsoleUser
from handlers.console.gate import SESSION_SECONDS
from tests.support.console import ALICE, BORIS, OPS, Lab, ManualClock, MemoryStore, lab

Json = dict[str, Any]


@pytest.fixture
def clock() -> ManualClock:
    """A clock that the test moves."""
    return ManualClock()


@pytest.fixture
async def here(clock: ManualClock) -> AsyncIterator[Lab]:
    """A running console."""
    async with lab(clock=clock) as running:
        yield running


@pytest.fixture
async def browser() -> AsyncIterator[ClientSession]:
    """A client that carries exactly the cookies it is given."""
    async with ClientSession(cookie_jar=DummyCookieJar()) as session:
        yield session


async def signed_in(here: Lab, browser: ClientSession, user: ConsoleUser = ALICE) -> dict[str, str]:
    """Sign in and return the headers of the session, CSRF token included."""
    body = {"token": user.token.get_secret_value()}
    async with browser.post(f"{here.url}/sign-in", json=body) as response:
        assert response.status == 200
        cookie = response.headers["Set-Cookie"]
    assert "HttpOnly" in cookie
    assert "SameSite=Strict" in cookie
    headers = {"Cookie": cookie.partition(";")[0]}
    async with browser.get(f"{here.url}/api/me", headers=headers) as response:
        me = await response.json()
    assert me["user"]["id"] == user.id
    return headers | {"X-Console-CSRF": me["csrf"]}


COMMAND = {"channel": OPS.id, "text": "/rollback help"}


async def post(here: Lab, browser: ClientSession, headers: dict[str, str], **extra: Any) -> tuple[int, str]:
    """Send a command; returns the status and the error."""
    async with browser.post(f"{here.url}/api/command", json=COMMAND | extra, headers=headers) as response:
        return response.status, str((await response.json()).get("error"))


ROUTES = [
    ("GET", "/api/me"),
    ("GET", f"/api/state?channel={OPS.id}"),
    ("GET", "/api/stream"),
    ("POST", "/api/command"),
    ("POST", "/api/action"),
    ("POST", "/api/read"),
    ("POST", "/api/view/submit"),
    ("POST", "/api/view/close"),
    ("POST", "/api/home/open"),
    ("POST", "/sign-out"),
]


@pytest.mark.parametrize(("method", "path"), ROUTES)
@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Authorization": "Bearer wrong"},
        {"Authorization": "Bearer "},
        {"Cookie": "rollback_console=U0ALICE.99999999999.00"},
    ],
    ids=["none", "wrong", "empty", "forged"],
)
async def test_nobody_passes_without_a_token(
    here: Lab, browser: ClientSession, method: str, path: str, headers: dict[str, str]
) -> None:
    """Every route of the API refuses a stranger, and the bot hears nothing."""
    async with browser.request(method, here.url + path, json=COMMAND, headers=headers) as response:
        assert response.status == 401
        assert (await response.json())["ok"] is False
    assert here.bot.received == []


async def test_a_cookie_needs_its_csrf_token(here: Lab, browser: ClientSession) -> None:
    """A POST by cookie without the session's CSRF token, or with another session's, is refused."""
    headers = await signed_in(here, browser)
    other = await signed_in(here, browser, BORIS)
    assert await post(here, browser, {"Cookie": headers["Cookie"]}) == (403, "csrf")
    assert await post(here, browser, headers | {"X-Console-CSRF": other["X-Console-CSRF"]}) == (403, "csrf")
    assert here.bot.received == []
    assert await post(here, browser, headers) == (200, "None")
    kind = headers | {"Content-Type": "text/plain"}
    async with browser.post(f"{here.url}/api/command", data="{}", headers=kind) as response:
        assert response.status == 415


async def test_nobody_acts_for_another(here: Lab, browser: ClientSession) -> None:
    """Whoever a request names, the user is the token's owner."""
    headers = await signed_in(here, browser)
    await post(here, browser, headers, user=BORIS.id, user_id=BORIS.id, user_name=BORIS.name)
    fields = here.bot.received[-1].fields
    assert (fields["user_id"], fields["user_name"]) == (ALICE.id, ALICE.name)


async def test_a_link_signs_in_and_leaves_no_token_behind(here: Lab, browser: ClientSession) -> None:
    """`/?token=` becomes a cookie and a clean address; a wrong one becomes the sign-in page, without a cookie."""
    async with browser.get(f"{here.url}/?token=token-of-alice", allow_redirects=False) as response:
        assert (response.status, response.headers["Location"]) == (303, "/")
        assert "token-of-alice" not in response.headers["Set-Cookie"]
    async with browser.get(f"{here.url}/?token=wrong", allow_redirects=False) as response:
        assert (response.status, response.headers["Location"]) == (303, "/#sign-in-failed")
        assert "Set-Cookie" not in response.headers


async def test_sessions_end(clock: ManualClock, browser: ClientSession) -> None:
    """A session survives a restart, and ends after twelve hours or when its user's token changes."""
    store = MemoryStore()
    async with lab(clock=clock, store=store) as before:
        headers = await signed_in(before, browser)
    async with lab(clock=clock, store=store) as after:
        assert await post(after, browser, headers) == (200, "None")
    changed = ConsoleUser(ALICE.id, ALICE.name, ALICE.title, SecretStr("another"))
    async with lab(clock=clock, store=store, users=[changed, BORIS]) as rotated:
        assert await post(rotated, browser, headers) == (401, "not_authed")
    clock.advance(SESSION_SECONDS + 1)
    async with lab(clock=clock, store=store) as late:
        assert await post(late, browser, headers) == (401, "not_authed")


async def test_guessing_is_slowed_down(here: Lab, browser: ClientSession, clock: ManualClock) -> None:
    """After ten wrong tokens in a minute an address waits; then the right one works."""
    for _ in range(10):
        async with browser.post(f"{here.url}/sign-in", json={"token": "guess"}) as response:
            assert response.status == 401
    async with browser.post(f"{here.url}/sign-in", json={"token": "token-of-alice"}) as response:
        assert (response.status, (await response.json())["error"]) == (429, "too_many_attempts")
    clock.advance(61)
    await signed_in(here, browser)


@pytest.mark.parametrize(
    "path", ["/", "/static/app.js", "/static/none.js", "/api/me", "/archives/C0OPS/p1705333620000000"]
)
async def test_every_answer_is_hardened(here: Lab, browser: ClientSession, path: str) -> None:
    """Every answer forbids foreign and inline scripts, framing and sniffing."""
    async with browser.get(here.url + path) as response:
        policy = response.headers["Content-Security-Policy"]
        assert "default-src 'none'; script-src 'self'" in policy
        assert "unsafe-inline" not in policy
        assert response.headers["X-Content-Type-Options"] == "nosniff"
        assert response.headers["X-Frame-Options"] == "DENY"


async def test_the_page_holds_no_inline_code_and_no_markup_sink() -> None:
    """The page's files use neither inline handlers nor any way to turn text into markup."""
    from importlib.resources import files  # noqa: PLC0415 - used by this test alone

    for file in (files("handlers.console") / "static").iterdir():
        text = file.read_text()
        for forbidden in ("innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval(", "onclick="):
            assert forbidden not in text, (file.name, forbidden)


def test_tokens_are_not_shown() -> None:
    """A user's repr does not show the token."""
    assert "token-of-alice" not in repr(ALICE)


@pytest.mark.parametrize(
    "users",
    [
        [ALICE, ConsoleUser("U0X", "x", "", ALICE.token)],
        [ALICE, ConsoleUser(ALICE.id, "x", "", SecretStr("y"))],
        [ConsoleUser("U0X", "x", "", SecretStr(""))],
    ],
    ids=["same token", "same id", "no token"],
)
async def test_ambiguous_users_are_refused(clock: ManualClock, users: list[ConsoleUser]) -> None:
    """Two users with one token or one id, or a user without a token, are refused at the start."""
    with pytest.raises(ValueError, match=r"share an? (token|id)"):
        async with lab(clock=clock, users=users):
            pass
