"""`rollback doctor`: what is configured, what is missing, and what would be used."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import AsyncIterator, Iterator

from pydantic import BaseModel
from slack_sdk.errors import SlackApiError
from slack_sdk.web.async_client import AsyncWebClient

import actuators.metrics
from actuators import secrets
from bot.domain.authority import Role as PersonRole
from bot.domain.errors import RollbackError
from bot.domain.inventory import Inventory, SecretRef
from bot.domain.ports import Clock
from bot.main import doctor_store
from bot.main.compose import Site, build_registry, read_site
from bot.main.findings import Finding, State
from bot.main.settings import Role, Settings
from storage import plans

__all__ = ["Finding", "State", "examine"]


async def examine(settings: Settings, clock: Clock) -> AsyncIterator[Finding]:
    """Yield what is found, part by part. Nothing is started and nothing is changed."""
    yield _process(settings)
    site = _site(settings)
    async for finding in doctor_store.store(settings, site.inventory if isinstance(site, Site) else Inventory()):
        yield finding
    async for finding in _chat(settings):
        yield finding
    if isinstance(site, Finding):
        yield site
        return
    yield _inventory(settings, site)
    for finding in _credentials(_reached(settings, site.inventory)):
        yield finding
    for finding in _people(settings, site):
        yield finding
    async for finding in _plans(settings, site, clock):
        yield finding


def _process(settings: Settings) -> Finding:
    does = {
        Role.ALL: "bot and worker in one process, zone",
        Role.BOT: "bot; it acts on nothing. Zone",
        Role.WORKER: "worker; it speaks with nobody. Zone",
    }
    probes = "no probes"
    if settings.health_port is not None:
        probes = f"probes on {settings.health_host}:{settings.health_port}"
    state = State.DEFAULT if settings.role is Role.ALL else State.GOOD
    return Finding("role", state, f"{does[settings.role]} {settings.zone}, {probes}")


def _site(settings: Settings) -> Site | Finding:
    try:
        return read_site(settings)
    except RollbackError as error:
        return Finding("inventory and policy", State.BROKEN, error.brief, error.resolution)


def _reached(settings: Settings, inventory: Inventory) -> Inventory:
    """Return the targets that this process acts on: the credentials of others need not be here."""
    if not settings.role.acts:
        return Inventory()
    return inventory.only(name for name, target in inventory.items() if target.zone == settings.zone)


async def _chat(settings: Settings) -> AsyncIterator[Finding]:
    if not settings.role.talks:
        return
    if settings.slack_bot_token is None:
        words = "Slack is not configured; the console takes its place"
        yield Finding("chat", State.DEFAULT, words, "Set SLACK_BOT_TOKEN and SLACK_APP_TOKEN; see manifest.yml.")
        yield Finding("console", State.GOOD, f"http://{settings.console_host}:{settings.console_port}")
    else:
        way = "Socket Mode" if settings.slack_app_token else f"HTTP on {settings.http_host}:{settings.http_port}"
        yield await _slack(settings, settings.slack_bot_token.get_secret_value(), way)


async def _slack(settings: Settings, token: str, way: str) -> Finding:
    try:
        async with asyncio.timeout(10):
            answer = await AsyncWebClient(token=token, base_url=settings.slack_api_url).auth_test()
    except SlackApiError as error:
        return Finding(
            "chat", State.BROKEN, f"Slack refuses the bot token: {error.response['error']}", "Reinstall the app."
        )
    except (TimeoutError, OSError) as error:
        return Finding(
            "chat", State.BROKEN, f"Slack cannot be reached ({type(error).__name__})", "See the network."
        )
    words = f"{answer['team']} as {answer['user']} over {way}, operations channel {settings.ops_channel}"
    return Finding("chat", State.GOOD, words)


def _inventory(settings: Settings, site: Site) -> Finding:
    count = sum(1 for _ in site.inventory.items())
    if not settings.inventory.exists():
        return Finding(
            "inventory", State.MISSING, f"{settings.inventory} does not exist", "Write it, see docs/inventory.md."
        )
    return Finding("inventory", State.GOOD, f"{count} targets in {settings.inventory}")


def _references(inventory: Inventory) -> list[tuple[str, SecretRef]]:
    return [(name, reference) for name, target in inventory.items() for reference in _within(target)]


def _within(value: object) -> Iterator[SecretRef]:
    """Yield every reference to a secret in a target, however deep it stands."""
    match value:
        case SecretRef():
            yield value
        case BaseModel():
            for field in type(value).model_fields:
                yield from _within(getattr(value, field))
        case dict():
            for each in value.values():
                yield from _within(each)
        case list() | tuple():
            for each in value:
                yield from _within(each)


def _credentials(inventory: Inventory) -> list[Finding]:
    findings = []
    for name, reference in _references(inventory):
        try:
            secrets.resolve(reference)
        except RollbackError as error:
            findings.append(Finding(f"credential of {name}", State.BROKEN, error.brief, error.resolution))
        else:
            findings.append(Finding(f"credential of {name}", State.GOOD, "can be read"))
    for name, database in inventory.databases.items():
        folder = database.bin_dir
        for tool in ("pg_dump", "pg_restore"):
            if shutil.which(tool, path=folder) is None:
                where = folder or "PATH"
                words = f"{tool} is not in {where}"
                findings.append(Finding(f"tools of {name}", State.MISSING, words, "Set bin_dir of the database."))
    return findings


def _people(settings: Settings, site: Site) -> list[Finding]:
    if site.local:
        words = f"{settings.policy} does not exist; the console has two people of its own"
        return [Finding("policy", State.DEFAULT, words, "Write it, see docs/policy.md.")]
    if not site.policy.people:
        words = f"{settings.policy} does not exist or names nobody: nobody may do anything"
        return [Finding("policy", State.MISSING, words, "Write it, see docs/policy.md.")]
    findings = [Finding("policy", State.GOOD, f"{len(site.policy.people)} people in {settings.policy}")]
    for role in (PersonRole.CHANGE_MANAGER, PersonRole.ON_CALL_ENGINEER):
        if not any(role in person.roles for person in site.policy.people):
            words = f"nobody is {role.words()}"
            findings.append(Finding("policy", State.MISSING, words, f"Give somebody the role {role.value}."))
    return findings


async def _plans(settings: Settings, site: Site, clock: Clock) -> AsyncIterator[Finding]:
    if not settings.plans.is_dir():
        yield Finding(
            "plans", State.MISSING, f"the folder {settings.plans} does not exist", "Make it, or set ROLLBACK_PLANS."
        )
        return
    registry = build_registry(actuators.metrics.MetricsSource(site.inventory.metrics, clock=clock))
    folder = plans.PlanFolder(settings.plans, catalogue=registry.catalogue(), inventory=site.inventory)
    summaries = await folder.list()
    broken = [summary.change for summary in summaries if not summary.valid]
    if broken:
        words = f"{len(broken)} of {len(summaries)} plans cannot be used: {', '.join(broken[:5])}"
        yield Finding("plans", State.BROKEN, words, "Run `rollback plan check` on them.")
    else:
        yield Finding("plans", State.GOOD, f"{len(summaries)} plans in {settings.plans}")
