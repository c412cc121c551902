"""What a person reads when the input is bad, and that nothing was touched: the whole bot on a real estate."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from bot.main.clock import SystemClock
from handlers.console.client import ConsoleError
from handlers.slack import ids
from tests.support.asking import begun, click_of, everything_in, offered, refused, stand_down, waiting
from tests.support.production import (
    COLLEAGUE,
    GUEST,
    MANAGER,
    OPERATOR,
    OWNER,
    READER,
    Production,
    deployed,
    passable_folder,
)
from tests.support.serving import CHANNEL, Served, may_be_approved, served, words_of

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.slow]

CLOCK = SystemClock()
Json = dict[str, Any]
SPARE_STORE = "another_bots_store"
HARMLESS = {"requested", "checking_began", "checked", "authority_asked", "refused", "rejected", "expired"}
"""The events of a rollback that has touched nothing."""


def _dump_of(production: Production) -> Path:
    backup = production.estate.facts.backup
    assert backup is not None
    return backup.database.path


def _lost(dump: Path) -> Path:
    return dump.with_name("lost.dump")


def _emptied(dump: Path) -> Path:
    file = dump.with_name("empty.dump")
    file.touch()
    return file


def _garbled(dump: Path) -> Path:
    file = dump.with_name("garbled.dump")
    file.write_bytes(b"no dump at all" * 64)
    return file


def _cut_off(dump: Path) -> Path:
    """Return a dump whose table of contents can be read, and whose data cannot."""
    file = dump.with_name("cut.dump")
    content = dump.read_bytes()
    file.write_bytes(content[: len(content) * 2 // 3])
    return file


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def production() -> AsyncIterator[Production]:
    """v2.4.0 has been deployed, and nobody but the bot could change anything."""
    with passable_folder() as folder:
        async with deployed(folder, CLOCK) as ready:
            await ready.create_database(SPARE_STORE)
            for find in (_emptied, _garbled, _cut_off):
                find(_dump_of(ready))
            yield ready


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def site(production: Production) -> AsyncIterator[Served]:
    """A bot that serves it, and its people."""
    async with served(production, clock=CLOCK) as ready:
        yield ready


@pytest_asyncio.fixture(loop_scope="module", autouse=True)
async def _untouched(production: Production, site: Served) -> AsyncIterator[None]:
    """What the test does leaves production as it was, and no journal tells of an act."""
    before = await production.fingerprint()
    assert before.served == "v2.4.0"
    assert before.link == "v2.4.0"
    known = await site.store.rollbacks()
    yield
    assert await production.fingerprint() == before
    for rollback_id in await site.store.rollbacks():
        if rollback_id not in known:
            assert set(await site.store.journal(rollback_id)) <= HARMLESS


# Changes and plans


async def test_what_is_no_number_of_a_change_is_explained(site: Served) -> None:
    """A word that is no number of a change starts nothing, and the answer says how one looks."""
    answer = await site.people[OPERATOR].types("/rollback CHG12 it burns")
    everything_in(answer, "The number of a change is CHG and 4 to 12 digits", "CHG0012345", "Nothing was started")


async def test_unknown_change_is_answered_with_the_plans_that_exist(production: Production, site: Served) -> None:
    """A mistyped change is answered with what was meant most likely."""
    production.write_plan("CHG0077001", production.plan())
    answer = await site.people[OPERATOR].types("/rollback CHG0077010 it burns")
    everything_in(answer, "There is no rollback plan for CHG0077010.", "Nothing was run", "CHG0077001")
    assert await site.people[OPERATOR].types("/rollback status CHG0077010") == (
        "There is no rollback of CHG0077010. See /rollback list."
    )


async def test_change_without_a_plan_is_escalated_to_the_change_manager(site: Served) -> None:
    """Without a plan nothing runs, the requester is told so, and the change manager gets a direct message."""
    answer = await site.people[OPERATOR].types("/rollback CHG0088001 it burns")
    everything_in(
        answer,
        "There is no rollback plan for CHG0088001.",
        "Nothing was run: without a documented plan there is no rollback.",
        "Escalate to the change manager.",
    )
    told = await site.people[MANAGER].direct(says="CHG0088001")
    everything_in(told, f"<@{OPERATOR}> asked to roll back CHG0088001", "Nothing runs without a documented plan")
    everything_in(told, "Please provide one, or decide on a forward-fix.")
    assert await site.people[OPERATOR].types("/rollback status CHG0088001") == (
        "There is no rollback of CHG0088001. See /rollback list."
    )
    assert any("CHG0088001" in why for why in await site.store.audit("rollback.no_plan"))


def _add_a_wrong_field(plan: Json) -> None:
    plan["phases"][0]["steps"][0]["grase"] = "3s"


def _make_a_cycle(plan: Json) -> None:
    plan["phases"][0]["steps"][0]["needs"] = ["drain"]


def _name_an_unknown_target(plan: Json) -> None:
    plan["phases"][1]["steps"][0]["target"] = "payments-dbb"


def _leave_out_backups(plan: Json) -> None:
    del plan["backups"]


def _leave_out_steps(plan: Json) -> None:
    del plan["phases"]


def _leave_out_durations(plan: Json) -> None:
    del plan["phases"][1]["expected"]


def _leave_out_verification(plan: Json) -> None:
    del plan["verification"]


def _leave_out_communication(plan: Json) -> None:
    del plan["communication"]


FIVE = "one of the five parts that every plan must have is missing"
WRONG_PLANS: dict[str, tuple[Callable[[Json], None], str, tuple[str, ...]]] = {
    # A change, what is wrong with its plan, the line that holds it, what the person reads.
    "CHG0001001": (
        _add_a_wrong_field,
        "grase:",
        ("phases[0].steps[0].grase: unknown field 'grase' — known: ", "timeout"),
    ),
    "CHG0001002": (
        _make_a_cycle,
        "- id: stop",
        ("phases[0].steps: the steps wait for each other: stop -> drain -> stop — remove one of these needs",),
    ),
    "CHG0001003": (
        _name_an_unknown_target,
        "target: payments-dbb",
        ("target 'payments-dbb' is not in the inventory — did you mean 'payments-db'?",),
    ),
    "CHG0001004": (_leave_out_backups, "", (FIVE, "backups")),
    "CHG0001005": (_leave_out_steps, "", (FIVE, "the exact steps")),
    "CHG0001006": (_leave_out_durations, "- name: Restore", (FIVE, "the expected duration of each phase")),
    "CHG0001007": (_leave_out_verification, "", (FIVE, "the verification criteria")),
    "CHG0001008": (_leave_out_communication, "", (FIVE, "escalation contacts")),
}


def line_of(file: Path, words: str) -> int:
    """Return the first line of a file that holds the words; 1 for none, as what is missing stands nowhere."""
    lines = file.read_text(encoding="utf-8").splitlines()
    return next((number for number, line in enumerate(lines, 1) if words and words in line), 1)


@pytest.mark.parametrize("change", WRONG_PLANS)
async def test_wrong_plan_is_refused_with_its_line(production: Production, site: Served, change: str) -> None:
    """A plan with a fault is refused with file, line, path and a suggestion, and no rollback comes to be."""
    spoil, place, expected = WRONG_PLANS[change]
    document = production.plan()
    spoil(document)
    file = production.write_plan(change, document)
    before = await site.store.rollbacks()
    answer = await site.people[OPERATOR].types(f"/rollback {change} it burns")
    everything_in(answer, f"The rollback plan {file} has 1 problem.", f"{file}:{line_of(file, place)}:", *expected)
    everything_in(answer, "Nothing was run.", "Correct the plan, run `rollback plan check FILE`, and ask again.")
    everything_in(await site.people[MANAGER].direct(says=change), "asked to roll back")
    assert await site.store.rollbacks() == before


async def test_all_faults_of_a_plan_are_told_at_once(production: Production, site: Served) -> None:
    """Whoever wrote a plan with several faults reads all of them in one answer."""
    document = production.plan()
    for spoil in (_add_a_wrong_field, _name_an_unknown_target, _leave_out_durations, _leave_out_communication):
        spoil(document)
    file = production.write_plan("CHG0001009", document)
    answer = await site.people[OPERATOR].types("/rollback CHG0001009 it burns")
    everything_in(answer, f"The rollback plan {file} has 4 problems.")
    for _, place, expected in (WRONG_PLANS[f"CHG000100{number}"] for number in (1, 3, 6, 8)):
        everything_in(answer, f"{file}:{line_of(file, place)}:", *expected)


async def test_plan_that_is_no_yaml_is_refused(production: Production, site: Served) -> None:
    """A file that is not even YAML is refused with the line at which reading ended."""
    file = production.write_text("CHG0001010", "api: rollback/v1\nphases: [unclosed\n")
    answer = await site.people[OPERATOR].types("/rollback CHG0001010 it burns")
    everything_in(answer, f"The rollback plan {file} has 1 problem.", f"{file}:", "Nothing was run.")
    assert re.search(re.escape(str(file)) + r":\d+:\d+: ", answer), answer


# Backups and access


WRONG_BACKUPS: dict[str, tuple[Callable[[Path], Path], str]] = {
    "CHG0002001": (_lost, "Backup db-before is missing: there is no "),
    "CHG0002002": (_emptied, "Backup db-before is empty: "),
    "CHG0002003": (_garbled, "garbled.dump is corrupt: pg_restore cannot read it"),
    "CHG0002004": (_cut_off, "cut.dump"),
}


@pytest.mark.parametrize("change", WRONG_BACKUPS)
async def test_backup_that_cannot_be_restored_ends_the_checks(
    production: Production, site: Served, change: str
) -> None:
    """A missing, empty or corrupt backup refuses the rollback before anybody is asked to approve it."""
    find, expected = WRONG_BACKUPS[change]
    document = production.plan()
    document["backups"][0] |= {"location": str(find(_dump_of(production)))}
    del document["backups"][0]["sha256"]
    production.write_plan(change, document)
    card, thread = await refused(site, change)
    for told in (card, thread):
        everything_in(told, "Backup db-before", expected, "Nothing was touched.")
    everything_in(card, "Other usable backups: ", "Name one in the plan, with its row counts as baseline, and ask")


async def test_backup_that_was_exchanged_ends_the_checks(production: Production, site: Served) -> None:
    """A sound dump that is not the one the plan means is refused by its digest."""
    document = production.plan()
    document["backups"][0]["sha256"] = "0" * 64
    production.write_plan("CHG0002005", document)
    card, _ = await refused(site, "CHG0002005")
    everything_in(
        card,
        f"Backup db-before is not the file that the plan means: {_dump_of(production)}",
        "Nothing was touched.",
    )
    everything_in(card, "the plan says 000000000000", "Find out who changed the file or the plan")


async def test_role_that_is_too_weak_ends_the_checks(production: Production, site: Served) -> None:
    """A database that answers, but not to a role that may restore it, is refused with the grants it lacks."""
    document = production.plan()
    document["backups"][0]["target"] = "payments-db-weak"
    for phase in document["phases"]:
        for step in phase["steps"]:
            step["target"] = step["target"].replace("payments-db", "payments-db-weak")
    production.write_plan("CHG0003001", document)
    card, thread = await refused(site, "CHG0003001")
    everything_in(thread, "Server of payments-db-weak: PostgreSQL")
    for told in (card, thread):
        everything_in(told, f'The role is too weak: "{READER}"', "Nothing was touched.", "Run as an administrator:")
    everything_in(thread, f"ALTER ROLE {READER} CREATEDB;", f"TO {READER};")


# Two at once, and authority


async def test_second_rollback_of_the_same_target_has_to_wait(production: Production, site: Served) -> None:
    """While one rollback holds a target, and be it waiting for approval, another is refused and told who does."""
    async with waiting(site, production, "CHG0004001") as (first, _card):
        production.write_plan("CHG0004002", production.plan())
        other = await site.people[COLLEAGUE].types("/rollback CHG0004002 it burns")
        everything_in(other, f"{first} already holds payments-db, payments-servers.", "Nothing was started.")
        everything_in(other, f"Wait until {first} has ended, or see `/rollback status`.")
        same = await site.people[COLLEAGUE].types("/rollback CHG0004001 it burns")
        everything_in(same, "CHG0004001 is being rolled back already", first, "It was left alone.")
        at_once = await asyncio.gather(
            *(site.people[who].types("/rollback CHG0004002 it burns") for who in (OPERATOR, MANAGER, OWNER))
        )
        assert all(f"{first} already holds" in answer for answer in at_once)
    assert begun(await site.people[COLLEAGUE].types("/rollback CHG0004002 it burns")) != first
    newest = (await site.store.rollbacks())[-1]
    await stand_down(
        site.people[COLLEAGUE], await site.people[COLLEAGUE].card(newest, says="waiting for authority")
    )


@pytest.mark.parametrize(
    ("who", "words"),
    [(COLLEAGUE, "K. Lee may not authorise this."), (GUEST, "G. Guest may not authorise this.")],
)
async def test_approval_by_somebody_without_the_role_does_not_count(
    production: Production, site: Served, who: str, words: str
) -> None:
    """Who may not authorise is told who may; the audit keeps the attempt, and the buttons come back."""
    change = f"CHG00050{'01' if who == COLLEAGUE else '02'}"
    async with waiting(site, production, change) as (rollback_id, card):
        answer = await site.people[who].clicks(card, ids.APPROVE)
        everything_in(answer, words, "Needed now: Change Manager or Service Owner")
        everything_in(answer, "The rollback still waits for authority.")
        assert words in (await site.store.audit("rollback.approve"))[-1]
        await offered(site, rollback_id)


async def test_nobody_approves_their_own_request(production: Production, site: Served) -> None:
    """A change manager who asked for the rollback may not authorise it alone."""
    async with waiting(site, production, "CHG0005003", by=MANAGER) as (rollback_id, card):
        answer = await site.people[MANAGER].clicks(card, ids.APPROVE)
        everything_in(answer, "Nobody authorises their own request alone: a second person is needed (P. Rao).")
        everything_in(answer, "The rollback still waits for authority.")
        await offered(site, rollback_id)


async def test_approval_after_the_plan_changed_does_not_count(production: Production, site: Served) -> None:
    """An approval of a plan that was changed since the checks is void, and the difference is shown to everybody."""
    async with waiting(site, production, "CHG0006001") as (rollback_id, card):
        production.write_plan("CHG0006001", {**production.plan(), "window": "20m"})
        answer = await site.people[MANAGER].clicks(card, ids.APPROVE)
        everything_in(answer, "The approval does not count", "plan.window: 10m → 20m", "Nothing was run.")
        everything_in(answer, "Read the change and ask again with `/rollback CHG0006001`.")
        shown = words_of(await site.people[OPERATOR].card(rollback_id, says="refused"))
        everything_in(shown, "plan.window: 10m → 20m")
        assert (await site.store.journal(rollback_id))[-1] == "refused"


async def test_click_that_is_delivered_twice_is_answered_once(production: Production, site: Served) -> None:
    """The chat may deliver a click again: it is acknowledged, obeyed once, answered once and audited once."""
    async with waiting(site, production, "CHG0007001") as (rollback_id, card):
        payload = click_of(site, COLLEAGUE, card, ids.APPROVE)
        before = len(await site.store.audit("rollback.approve"))
        acks = [await site.slack.interaction(payload) for _ in range(3)]
        assert {ack.status.value for ack in acks} == {"ok"}
        await site.people[COLLEAGUE].direct(says="K. Lee may not authorise this.")
        # The requester's own click comes after the others; when it is answered, they have been.
        await site.people[OPERATOR].clicks(await offered(site, rollback_id), ids.APPROVE)
        assert len(await site.store.audit("rollback.approve")) == before + 2
        own = next(c["id"] for c in (await site.people[COLLEAGUE].console.me())["channels"] if c["kind"] == "dm")
        said = [words_of(message) for message in await site.people[COLLEAGUE].console.messages(own)]
        assert sum("K. Lee may not authorise this." in words for words in said) == 1


async def test_approval_after_its_expiry_does_not_count(production: Production) -> None:
    """A request that nobody answered in time expires visibly, and a late click is answered and changes nothing."""
    production.write_policy(approval_valid="1s")
    try:
        store = production.server.url(SPARE_STORE)
        async with served(production, name="expiring", clock=CLOCK, database_url=store) as site:
            production.write_plan("CHG0008001", production.plan())
            manager = site.people[MANAGER]
            rollback_id = begun(await site.people[OPERATOR].types("/rollback CHG0008001 it burns"))
            card = await manager.card(rollback_id, says="waiting for authority")
            payload = click_of(site, MANAGER, card, ids.APPROVE)
            expired = await manager.card(rollback_id, says="expired")
            assert not may_be_approved(expired)
            with pytest.raises(ConsoleError, match="stale"):
                await manager.console.click(CHANNEL, card, ids.APPROVE)
            assert (await site.slack.interaction(payload)).status.value == "ok"
            told = await manager.direct(says=rollback_id)
            everything_in(told, "expired", "Your click changed nothing.")
            assert await site.store.journal(rollback_id) == [
                "requested", "checking_began", "checked", "authority_asked", "expired",
            ]  # fmt: skip
            again = begun(await site.people[OPERATOR].types("/rollback CHG0008001 it still burns"))
            assert again != rollback_id
    finally:
        production.write_policy()
