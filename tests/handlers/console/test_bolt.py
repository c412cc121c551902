"""The product's own chat library behind the console: command, button, modal, home, through signed HTTP."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from html import escape
from typing import Any

import pytest
from aiohttp import ClientSession, web
from playwright.async_api import Page, async_playwright
from slack_bolt.adapter.aiohttp import to_aiohttp_response, to_bolt_request
from slack_bolt.async_app import AsyncAck, AsyncApp
from slack_sdk.web.async_client import AsyncWebClient

from handlers.console import Console, ConsoleClient
from tests.support.console import ALICE, BORIS, BOT_TOKEN, OPS, SECRET, MemoryStore, SystemClock, serve

Json = dict[str, Any]


def plain(text: str) -> Json:
    """Build a plain_text object."""
    return {"type": "plain_text", "text": text}


def card(status: str, *, decided: str = "") -> list[Json]:
    """Build the card of one rollback; without a decision it has buttons."""
    tasks = [{"type": "task_card", "task_id": "restore", "title": "Restore the backup", "status": status}]
    plan: Json = {"type": "plan", "block_id": "plan", "title": "Rollback", "tasks": tasks}
    confirm = {
        "title": plain("Sure?"),
        "text": plain("It goes back."),
        "confirm": plain("Yes"),
        "deny": plain("No"),
    }
    buttons: Json = {
        "type": "actions",
        "block_id": "decide",
        "elements": [
            {
                "type": "button",
                "action_id": "approve",
                "style": "primary",
                "text": plain("Approve"),
                "confirm": confirm,
            },
            {"type": "button", "action_id": "reject", "style": "danger", "text": plain("Reject")},
        ],
    }
    done: Json = {"type": "context", "elements": [{"type": "mrkdwn", "text": decided or "-"}]}
    return [plan, done if decided else buttons]


def small_bot(base_url: str) -> AsyncApp:
    """Build a small rollback bot: a command, two buttons, a modal and a home."""
    client = AsyncWebClient(token=BOT_TOKEN, base_url=f"{base_url}/slack-api/")
    app = AsyncApp(signing_secret=SECRET, client=client)

    @app.command("/rollback")
    async def rollback(ack: AsyncAck, command: Json, client: AsyncWebClient) -> None:
        if not command["text"]:
            await ack("Which change? Type `/rollback CHG0012345`.")
            return
        await ack()
        text = f"{command['text']} was asked for"
        await client.chat_postMessage(channel=command["channel_id"], text=text, blocks=card("pending"))

    @app.action("approve")
    async def approve(ack: AsyncAck, body: Json, client: AsyncWebClient) -> None:
        await ack()
        where = {"channel": body["channel"]["id"], "ts": body["message"]["ts"]}
        decided = f"Approved by <@{body['user']['id']}>"
        await client.chat_update(**where, text=decided, blocks=card("in_progress", decided=decided))
        await client.chat_postMessage(channel=where["channel"], thread_ts=where["ts"], text="`pg_restore` *done*")
        await client.chat_update(**where, text=decided, blocks=card("complete", decided=decided))

    @app.action("reject")
    async def reject(ack: AsyncAck, body: Json, client: AsyncWebClient) -> None:
        await ack()
        entry: Json = {"type": "plain_text_input", "action_id": "reason", "multiline": True}
        view: Json = {
            "type": "modal",
            "callback_id": "reject",
            "private_metadata": f"{body['channel']['id']} {body['message']['ts']}",
            "title": plain("Reject"),
            "submit": plain("Send"),
            "blocks": [{"type": "input", "block_id": "why", "label": plain("Reason"), "element": entry}],
        }
        await client.views_open(trigger_id=body["trigger_id"], view=view)

    @app.view("reject")
    async def rejected(ack: AsyncAck, body: Json, view: Json, client: AsyncWebClient) -> None:
        reason = view["state"]["values"]["why"]["reason"]["value"]
        if len(reason) < 5:
            await ack(response_action="errors", errors={"why": "Say more."})
            return
        await ack()
        channel, ts = view["private_metadata"].split()
        decided = f"Rejected by <@{body['user']['id']}>: {escape(reason, quote=False)}"
        await client.chat_update(channel=channel, ts=ts, text=decided, blocks=card("error", decided=decided))

    @app.event("app_home_opened")
    async def home(event: Json, client: AsyncWebClient) -> None:
        blocks = [{"type": "header", "text": plain("Your approvals")}]
        await client.views_publish(user_id=event["user"], view={"type": "home", "blocks": blocks})

    return app


@asynccontextmanager
async def product() -> AsyncIterator[str]:
    """Serve the bot and the console as the product does: one application, one port."""
    started: asyncio.Future[AsyncApp] = asyncio.get_running_loop().create_future()

    async def events(request: web.Request) -> web.Response:
        bolt = await started
        return await to_aiohttp_response(await bolt.async_dispatch(await to_bolt_request(request)))

    bot_app = web.Application()
    bot_app.router.add_post("/slack/events", events)
    async with serve(bot_app) as bot_url:
        console = Console(
            team_id="T0LOCAL",
            bot_user_id="U0BOT",
            users=[ALICE, BORIS],
            channels=[OPS],
            signing_secret=SECRET,
            bot_token=BOT_TOKEN,
            events_url=f"{bot_url}/slack/events",
            store=MemoryStore(),
            clock=SystemClock(),
        )
        await console.start()
        main = web.Application()
        main.add_routes(console.routes())
        main.on_shutdown.append(console.end_streams)
        try:
            async with serve(main) as url:
                started.set_result(small_bot(url))
                yield url
        finally:
            await console.close()


async def test_a_bolt_app_needs_no_change() -> None:
    """An AsyncApp that knows only Slack takes command, click, modal and home from the console."""
    async with product() as url, ClientSession() as http:
        alice = ConsoleClient(url, ALICE.token.get_secret_value(), http)
        async with alice.stream() as events:
            await alice.command(OPS.id, "/rollback")
            assert (await anext(events))["message"]["text"].startswith("Which change?")
            await alice.command(OPS.id, "/rollback CHG0012345")
            message = (await anext(events))["message"]
            await alice.click(OPS.id, message, "reject")
            (view,) = (await anext(events))["stack"]
            with pytest.raises(Exception, match="invalid_input"):
                await alice.submit(view, {"reason": "no"})
            await alice.submit(view, {"reason": "a forward fix is ready"})
            heard = [await anext(events) for _ in range(2)]
            texts = [each["message"]["text"] for each in heard if "message" in each]
            assert texts == [f"Rejected by <@{ALICE.id}>: a forward fix is ready"]
            await alice.open_home()
            assert (await anext(events))["view"]["blocks"][0]["text"]["text"] == "Your approvals"


async def sign_in(page: Page, url: str) -> list[str]:
    """Open the page as Boris by its form; returns the list that collects what the browser complains about."""
    complaints: list[str] = []
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on("console", lambda said: complaints.append(said.text) if "Content Security" in said.text else None)
    page.on("dialog", lambda _dialog: complaints.append("a script ran"))
    await page.goto(url)
    await page.fill("#token", BORIS.token.get_secret_value())
    await page.keyboard.press("Enter")
    await page.wait_for_selector("#composer-text")
    return complaints


@pytest.mark.browser
async def test_a_person_at_the_page() -> None:
    """A person types a command, approves one rollback and rejects another, and sees the live edits in place."""
    async with product() as url, async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path="/usr/bin/chromium", args=["--no-sandbox"])
        page = await (await browser.new_context()).new_page()
        complaints = await sign_in(page, url)
        await page.keyboard.type("/rollback")
        await page.keyboard.press("Enter")
        await page.wait_for_selector("text=Only visible to you")

        await page.keyboard.type("/rollback CHG0012345")
        await page.keyboard.press("Enter")
        await page.click("button:text-is('Approve')")
        await page.click("dialog.confirm button:text-is('Yes')")
        await page.wait_for_selector(".task.complete")
        assert await page.inner_text(".context .mention") == "@j.smith"
        assert await page.locator("button:text-is('Approve')").count() == 0
        await page.click("button.replies")
        await page.wait_for_selector(".thread .message code:text-is('pg_restore')")
        await page.keyboard.press("Escape")
        await page.wait_for_selector(".thread", state="hidden")

        await page.keyboard.type("/")
        await page.keyboard.press("ArrowUp")
        assert await page.input_value("#composer-text") == "/rollback CHG0012345"
        await page.keyboard.press("Enter")
        await page.click("button:text-is('Reject')")
        await page.wait_for_selector("dialog.modal")
        await page.keyboard.type("no")
        await page.click("dialog.modal button:text-is('Send')")
        assert await page.inner_text(".field-error") == "Say more."
        await page.fill("dialog.modal textarea", "<img src=x onerror=alert(1)> *too risky*")
        await page.click("dialog.modal button:text-is('Send')")
        await page.wait_for_selector(".task.error")
        assert "<img src=x onerror=alert(1)> too risky" in await page.inner_text(".message:has(.task.error)")
        assert await page.locator("dialog, .message img, .message script").count() == 0

        await page.click(".rail-item:has-text('Home')")
        await page.wait_for_selector("h3:text-is('Your approvals')")
        await browser.close()
    assert complaints == []
