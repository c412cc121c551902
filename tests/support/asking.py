"""Asking for rollbacks at the console, and what becomes of them: steps that whole-system tests have in common."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from pydantic import SecretStr

from bot.main.clock import SystemClock
from handlers.console import payloads
from handlers.console.model import ConsoleChannel, ConsoleUser, Identity
from handlers.slack import ids
from tests.support.production import MANAGER, OPERATOR, Production
from tests.support.serving import CHANNEL, Person, Served, button, eventually, may_be_approved, words_of

Json = dict[str, Any]


def everything_in(text: str, *expected: str) -> None:
    """Assert that a text holds each of these, and show the text if not."""
    missing = [words for words in expected if words not in text]
    assert not missing, f"{missing} not in:\n{text}"


def begun(answer: str) -> str:
    """Return the id of the rollback that an answer tells of."""
    found = re.match(r"(rb-\d+): the checks of CHG\d+ begin", answer)
    assert found, answer
    return found[1]


async def stand_down(person: Person, card: Json) -> None:
    """Reject a rollback that waits, as its requester or a manager may."""
    await person.console.click(CHANNEL, card, ids.REJECT)

    async def opened() -> Json | None:
        views = (await person.console.state(CHANNEL))["views"]
        return views[0] if views else None

    view = await eventually(opened, what="the modal that asks why")
    await person.console.submit(view, {ids.REASON: "the test has seen enough"})
    await person.card(re.findall(r"rb-\d+", words_of(card))[0], says="stood down")


async def offered(site: Served, rollback_id: str) -> Json:
    """Return the card of a rollback as soon as it offers to approve; after a click that is a moment later."""

    async def look() -> Json | None:
        card = await site.people[MANAGER].card(rollback_id, says="waiting for authority")
        return card if may_be_approved(card) else None

    return await eventually(look, what=f"the buttons of {rollback_id}")


@asynccontextmanager
async def waiting(
    site: Served, production: Production, change: str, *, by: str = OPERATOR
) -> AsyncIterator[tuple[str, Json]]:
    """Give the id and the card of a rollback that waits for authority; it is stood down at the end."""
    production.write_plan(change, production.plan())
    person = site.people[by]
    rollback_id = begun(await person.types(f"/rollback {change} the error rate is far too high"))
    card = await person.card(rollback_id, says="waiting for authority")
    try:
        yield rollback_id, card
    finally:
        if (await site.store.journal(rollback_id))[-1] == "authority_asked":
            await stand_down(person, await offered(site, rollback_id))


async def refused(site: Served, change: str) -> tuple[str, str]:
    """Ask for a rollback whose checks fail; return all words of its card and of the thread."""
    person = site.people[OPERATOR]
    rollback_id = begun(await person.types(f"/rollback {change} the error rate is far too high"))
    card = await person.card(rollback_id, says="refused")
    assert (await site.store.journal(rollback_id))[-1] == "refused"
    assert not may_be_approved(card)
    return words_of(card), await person.thread(card)


def click_of(site: Served, person: str, card: Json, action: str) -> Json:
    """Return the payload of a click as the chat delivers it; it can be delivered again."""
    found = button(card, action)
    assert found is not None
    block = next(block["block_id"] for block in card["blocks"] if found in block.get("elements", []))
    known = site.bot.site.policy.person(person)
    assert known is not None
    return payloads.click_in_message(
        Identity("T0CONSOLE", "U0ROLLBACK", "", ""),
        user=ConsoleUser(known.id, known.name, "", SecretStr("")),
        channel=ConsoleChannel(CHANNEL, "ops"),
        message=card,
        action={**found, "block_id": block, "action_ts": f"{SystemClock().now().timestamp():.6f}"},
        state={},
        trigger_id="",
        response_url="",
    )
