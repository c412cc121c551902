"""`rollback doctor`: what is configured, what is missing, and what would be used."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import AsyncIterator
from dataclasses import dataclass
from enum import StrEnum

import psycopg
from slack_sdk.errors import SlackApiError
from slack_sdk.web.async_client import AsyncWebClient

import actuators.metrics
from actuators import secrets
from bot.domain.authority import Role
from bot.domain.errors import RollbackError
from bot.domain.inventory import Cluster, Database, Inventory, PrometheusQueries, SecretRef, ServerGroup
from bot.domain.ports import Clock
from bot.main.compose import Site, build_registry, read_site
from bot.main.settings import Settings
from storage import plans
from storage.database import connection_string, shown
from storage.embedded.binaries import find_binaries


class State(StrEnum):
    """How a part is found."""

    GOOD = "ok"
    DEFAULT = "default"
    MISSING = "missing"
    BROKEN = "broken"


@dataclass(frozen=True)
class Finding:
    """One part of the configuration.

    Attributes:
        part: What was looked at.
        state: How it is.
        words: What would be used, or what is wrong.
        resolution: What to do; empty if nothing.
    """

    part: str
    state: State
    words: str
    resolution: str = ""


async def examine(settings: Settings, clock: Clock) -> AsyncIterator[Finding]:
    """Yield what is found, part by part. Nothing is started and nothing is changed."""
    yield await _store(settings)
    async for finding in _chat(settings):
        yield finding
    try:
        site = read_site(settings)
    except RollbackError as error:
        yield Finding("inventory and policy", State.BROKEN, error.brief, error.resolution)
        return
    yield _inventory(settings, site)
    for finding in _credentials(site.inventory):
        yield finding
    for finding in _people(settings, site):
        yield finding
    async for finding in _plans(settings, site, clock):
        yield finding


async def _store(settings: Settings) -> Finding:
    if settings.database_url is None:
        try:
            binaries = find_binaries()
        except RollbackError as error:
            return Finding("store", State.BROKEN, error.brief, error.resolution)
        words = f"embedded PostgreSQL ({binaries}), data in {settings.data_dir / 'postgres'}"
        return Finding("store", State.DEFAULT, words, "Set ROLLBACK_DATABASE_URL for a PostgreSQL of your own.")
    url = settings.database_url.get_secret_value()
    try:
        async with asyncio.timeout(10):
            async with await psycopg.AsyncConnection.connect(connection_string(url)) as connection:
                version = connection.info.server_version
    except (TimeoutError, psycopg.Error, RollbackError) as error:
        first = next(iter(str(error).strip().splitlines()), type(error).__name__)
        return Finding(
            "store", State.BROKEN, f"{shown(url)}: {first}", "Correct ROLLBACK_DATABASE_URL or start it."
        )
    return Finding("store", State.GOOD, f"PostgreSQL {version // 10000} at {shown(url)}")


async def _chat(settings: Settings) -> AsyncIterator[Finding]:
    if settings.slack_bot_token is None:
        words = "Slack is not configured; the console takes its place"
        yield Finding("chat", State.DEFAULT, words, "Set SLACK_BOT_TOKEN and SLACK_APP_TOKEN; see manifest.yml.")
        yield Finding("console", State.GOOD, f"http://{settings.console_host}:{settings.console_port}")
    else:
        way = "Socket Mode" if settings.slack_app_token else f"HTTP on {settings.http_host}:{settings.http_port}"
        yield await _slack(settings.slack_bot_token.get_secret_value(), way, settings.ops_channel)


async def _slack(token: str, way: str, channel: str) -> Finding:
    try:
        async with asyncio.timeout(10):
            answer = await AsyncWebClient(token=token).auth_test()
    except SlackApiError as error:
        return Finding(
            "chat", State.BROKEN, f"Slack refuses the bot token: {error.response['error']}", "Reinstall the app."
        )
    except (TimeoutError, OSError) as error:
        return Finding(
            "chat", State.BROKEN, f"Slack cannot be reached ({type(error).__name__})", "See the network."
        )
    return Finding(
        "chat", State.GOOD, f"{answer['team']} as {answer['user']} over {way}, operations channel {channel}"
    )


def _inventory(settings: Settings, site: Site) -> Finding:
    count = sum(1 for _ in site.inventory.items())
    if not settings.inventory.exists():
        return Finding(
            "inventory", State.MISSING, f"{settings.inventory} does not exist", "Write it, see docs/inventory.md."
        )
    return Finding("inventory", State.GOOD, f"{count} targets in {settings.inventory}")


def _references(inventory: Inventory) -> list[tuple[str, SecretRef]]:
    found: list[tuple[str, SecretRef]] = []
    for name, target in inventory.items():
        if isinstance(target, ServerGroup) and target.ssh:
            found.append((name, target.ssh.key))
        if isinstance(target, Database) and target.password:
            found.append((name, target.password))
        if isinstance(target, PrometheusQueries) and target.token:
            found.append((name, target.token))
        if isinstance(target, Cluster) and target.kubeconfig:
            found.append((name, target.kubeconfig))
    return found


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
    for role in (Role.CHANGE_MANAGER, Role.ON_CALL_ENGINEER):
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
