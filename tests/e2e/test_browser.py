"""Two people at the console's page, in a real browser: one asks for a rollback, the other decides."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from playwright.async_api import Browser, Page, async_playwright, expect

from bot.main.clock import SystemClock
from tests.support.production import MANAGER, OPERATOR, deployed, passable_folder
from tests.support.serving import Served, served

pytestmark = [pytest.mark.browser, pytest.mark.slow, pytest.mark.timeout(180)]

CLOCK = SystemClock()
PATIENCE = 60_000
"""Milliseconds that a rollback may take on a busy machine."""


@asynccontextmanager
async def chromium() -> AsyncIterator[Browser]:
    """Give a browser."""
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path="/usr/bin/chromium", args=["--no-sandbox"])
        yield browser
        await browser.close()


class Desk:
    """A person before a page.

    Attributes:
        page: The page.
        complaints: What the browser complains about.
    """

    def __init__(self, page: Page, pictures: Path, name: str) -> None:
        self.page = page
        self.complaints: list[str] = []
        self._pictures = pictures
        self._name = name
        page.on("pageerror", lambda error: self.complaints.append(str(error)))
        page.on(
            "console", lambda said: self.complaints.append(said.text) if "Content Security" in said.text else None
        )

    @classmethod
    async def of(cls, browser: Browser, site: Served, user: str, pictures: Path) -> Desk:
        """Sign a person in by the link, in a browser context of its own."""
        context = await browser.new_context(viewport={"width": 1280, "height": 900})
        desk = cls(await context.new_page(), pictures, user)
        await desk.page.goto(site.sign_in(user))
        await desk.page.wait_for_selector("#composer-text")
        assert "token" not in desk.page.url
        return desk

    async def types(self, command: str) -> None:
        """Type a command into the command box and press Return."""
        await self.page.click("#composer-text")
        await self.page.keyboard.type(command)
        await self.page.keyboard.press("Enter")

    async def goes(self, place: str) -> None:
        """Open a place of the rail."""
        await self.page.click(f".rail-item:has-text('{place}')")

    async def picture(self, name: str) -> None:
        """Keep what the person sees now."""
        await self.page.screenshot(path=self._pictures / f"{name}-{self._name}.png")

    async def sees(self, words: str, *, within: str = ".message") -> None:
        """Wait for words in a message, or elsewhere."""
        await expect(self.page.locator(within, has_text=words).last).to_be_visible(timeout=PATIENCE)


async def test_two_people_reject_one_rollback_and_complete_another(tmp_path: Path) -> None:
    """The operator types, the change manager rejects with a reason, then approves another and sees it complete."""
    with passable_folder() as folder:
        async with (
            deployed(folder, CLOCK) as production,
            served(production, clock=CLOCK) as site,
            chromium() as one,
        ):
            await production.estate.start_traffic()
            for change in ("CHG0012345", "CHG0012346"):
                production.write_plan(change, production.quick_plan())
            operator = await Desk.of(one, site, OPERATOR, tmp_path)
            manager = await Desk.of(one, site, MANAGER, tmp_path)
            await _reject(operator, manager)
            before = await production.fingerprint()
            assert before.served == "v2.4.0"
            await _approve(operator, manager)
            after = await production.fingerprint()
    assert (after.served, after.link) == ("v2.3.1", "v2.3.1")
    assert operator.complaints + manager.complaints == []


async def _reject(operator: Desk, manager: Desk) -> None:
    await operator.types("/rollback CHG0012346 the wrong one")
    answer = "rb-0001: the checks of CHG0012346 begin. Nothing is changed before it is approved. See #ops."
    await operator.sees(answer, within=".message:has-text('Only visible to you')")
    await manager.sees("Rollback of CHG0012346: waiting for authority")
    await manager.page.click("button:text-is('Reject')")
    await manager.page.wait_for_selector("dialog.modal")
    await manager.picture("1-reject")
    await manager.page.click("dialog.modal button:text-is('Reject')")
    assert await manager.page.inner_text(".field-error")
    await manager.picture("2-reason-required")
    await manager.page.fill("dialog.modal textarea", "CHG0012345 is the one that fails")
    await manager.page.click("dialog.modal button:text-is('Reject')")
    await operator.sees("Rollback of CHG0012346: stood down")
    await operator.sees("CHG0012345 is the one that fails")
    assert await operator.page.locator("button:text-is('Approve')").count() == 0
    await operator.picture("3-stood-down")


async def _approve(operator: Desk, manager: Desk) -> None:
    await operator.types("/rollback CHG0012345 error rate above 12 %")
    await manager.sees("Rollback of CHG0012345: waiting for authority")
    await manager.picture("4-waiting")
    await manager.goes("Home")
    await manager.sees("CHG0012345", within=".home-body")
    await expect(manager.page.locator(".home-body button:text-is('Approve')")).to_be_visible()
    await manager.picture("5-home-waiting")
    await manager.goes("ops")
    await manager.page.click("button:text-is('Approve')")
    await operator.sees("ROLLBACK IN PROGRESS")
    await operator.goes("Home")
    await operator.sees("in progress", within=".home-body")
    await operator.picture("6-home-under-way")
    await operator.goes("ops")
    await operator.picture("7-under-way")
    await manager.sees("ROLLBACK COMPLETE")
    await manager.sees("Service status: Restored to v2.3.1", within=".standard.complete")
    assert await manager.page.locator(".message button:text-is('Approve')").count() == 0
    await manager.picture("8-complete")
    await manager.page.locator("button.replies").last.click()
    await manager.sees("CHECKS", within=".thread")
    await manager.picture("9-thread")
