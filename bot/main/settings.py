"""The bot's settings: environment variables, all of them optional.

Secrets come from the environment or from files named there, are never printed, and never written anywhere.
"""

from __future__ import annotations

import ipaddress
import os
import sys
from enum import StrEnum
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

from pydantic import AliasChoices, Field, SecretStr, field_validator, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from bot.domain.inventory import DEFAULT_ZONE
from bot.domain.times import Duration, parse_duration


class Role(StrEnum):
    """Which part of the work a process does."""

    ALL = "all"
    BOT = "bot"
    WORKER = "worker"

    @property
    def talks(self) -> bool:
        """Whether the process takes what people ask and tells them what happens."""
        return self is not Role.WORKER

    @property
    def acts(self) -> bool:
        """Whether the process advances rollbacks."""
        return self is not Role.BOT


def default_data_dir() -> Path:
    """Return where the bot keeps its own data if nobody says otherwise."""
    if os.geteuid() == 0:
        return Path("/var/lib/rollback-bot")
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Application Support" / "rollback-bot"
    base = os.environ.get("XDG_DATA_HOME")
    return (Path(base) if base else Path.home() / ".local" / "share") / "rollback-bot"


class Settings(BaseSettings):
    """Every setting is read from ``ROLLBACK_<NAME>``; Slack's own names of its tokens work as well.

    Attributes:
        role: What this process does: ``bot`` speaks with people, ``worker`` acts on targets, ``all`` does both.
        hooks_host: Where pipelines ask whether a service may be deployed.
        hooks_port: Its port; without it nobody can ask over HTTP.
        hooks_token: The secret that the pipelines send as a bearer token.
        zone: The network zone whose targets this process can reach.
        instance: Name of this process's place, e.g. its pod: the same after a restart, never used by two processes
            at once. With it a restarted container knows its predecessor for dead and goes on without waiting.
        data_dir: Where the embedded PostgreSQL and the console's sign-in tokens are kept.
        database_url: The store; without it an embedded PostgreSQL in `data_dir`.
        plans: The folder of rollback plans, one YAML file a change.
        inventory: The file of targets.
        policy: The file of people, roles, business hours and thresholds.
        slack_bot_token: ``xoxb-...``; with it the bot speaks to Slack.
        slack_app_token: ``xapp-...``; with it over Socket Mode.
        slack_signing_secret: With it over signed HTTP, if there is no app token.
        slack_api_url: Where Slack's Web API is; organisations on GovSlack have one of their own.
        ops_channel: Id of the operations channel.
        team_id: Only requests of this Slack team are obeyed; empty: of any team the token is for.
        http_host: Where Slack's signed HTTP requests are taken.
        http_port: Its port.
        console_host: Where the console, which takes Slack's place, listens. It is for this machine: put a proxy
            with TLS before it otherwise.
        console_port: Its port; 0: a free one.
        health_host: Where the probes `/live` and `/ready` are answered.
        health_port: Their port; without it they are off.
        workers: Rollbacks that this process advances at once.
        lease: How long a worker may be silent before another takes over.
        renew: How often a worker renews its lease.
        grace: How long running rollbacks may go on after a stop was asked for, before they are parked: their
            actuators stopped and their leases given back. Most steps but restores end within 15 s, and with what
            comes before and after it stays below the 30 s after which Kubernetes kills unless told otherwise.
        log_level: How much is logged.
    """

    # An empty variable counts as none: that is how compose files and charts pass on what nobody has set.
    model_config = SettingsConfigDict(
        env_prefix="ROLLBACK_", env_ignore_empty=True, extra="ignore", populate_by_name=True
    )

    role: Role = Role.ALL
    zone: str = Field(default=DEFAULT_ZONE, min_length=1, max_length=24)
    instance: str = Field(default="", pattern=r"^[A-Za-z0-9._/-]*$")
    data_dir: Path = Field(default_factory=default_data_dir)
    database_url: SecretStr | None = None
    plans: Path = Path("plans")
    inventory: Path = Path("inventory.yaml")
    policy: Path = Path("policy.yaml")
    slack_bot_token: SecretStr | None = Field(
        default=None, validation_alias=AliasChoices("ROLLBACK_SLACK_BOT_TOKEN", "SLACK_BOT_TOKEN")
    )
    slack_app_token: SecretStr | None = Field(
        default=None, validation_alias=AliasChoices("ROLLBACK_SLACK_APP_TOKEN", "SLACK_APP_TOKEN")
    )
    slack_signing_secret: SecretStr | None = Field(
        default=None, validation_alias=AliasChoices("ROLLBACK_SLACK_SIGNING_SECRET", "SLACK_SIGNING_SECRET")
    )
    slack_api_url: str = "https://slack.com/api/"
    ops_channel: str = Field(default="C0000OPS", pattern=r"^[CG][A-Z0-9]{2,}$")
    team_id: str = ""
    http_host: str = "127.0.0.1"
    http_port: int = Field(default=3000, ge=0, le=65535)
    console_host: str = "127.0.0.1"
    console_port: int = Field(default=8090, ge=0, le=65535)
    health_host: str = "127.0.0.1"
    health_port: int | None = Field(default=None, ge=1, le=65535)
    hooks_host: str = "127.0.0.1"
    hooks_port: int | None = Field(default=None, ge=1, le=65535)
    hooks_token: SecretStr | None = None
    workers: int = Field(default=8, ge=1, le=200)
    lease: Duration = parse_duration("12s")
    renew: Duration = parse_duration("1s")
    grace: Duration = parse_duration("15s")
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"

    @field_validator("slack_api_url")
    @classmethod
    def _safe_for_tokens(cls, url: str) -> str:
        parts = urlsplit(url)
        if parts.scheme not in {"http", "https"} or not parts.hostname or parts.query or parts.fragment:
            raise ValueError("the address of Slack's Web API must look like https://slack.com/api/")
        if parts.scheme == "http" and not _on_this_machine(parts.hostname):
            raise ValueError("the bot token would travel unencrypted; only addresses of this machine may be http")
        return url if url.endswith("/") else f"{url}/"

    @model_validator(mode="after")
    def _consistent(self) -> Settings:
        if self.speaks_slack and not (self.slack_app_token or self.slack_signing_secret):
            raise ValueError(
                "SLACK_BOT_TOKEN is given, but neither SLACK_APP_TOKEN (Socket Mode) nor "
                "SLACK_SIGNING_SECRET (HTTP): nothing would reach the bot"
            )
        if self.speaks_slack and "ops_channel" not in self.model_fields_set:
            raise ValueError(
                "SLACK_BOT_TOKEN is given, but not ROLLBACK_OPS_CHANNEL, the id of the operations channel"
            )
        if self.role is not Role.ALL and self.database_url is None:
            raise ValueError(
                f"ROLLBACK_ROLE is {self.role.value}, but ROLLBACK_DATABASE_URL is not given: bots and workers "
                "meet in a PostgreSQL of their own, and the embedded one is for a single process"
            )
        if self.hooks_port is not None and not (self.hooks_token and self.hooks_token.get_secret_value()):
            raise ValueError("ROLLBACK_HOOKS_PORT is given, but not ROLLBACK_HOOKS_TOKEN: anybody could ask")
        if 3 * self.renew > self.lease:
            raise ValueError(
                "ROLLBACK_LEASE must be at least three times ROLLBACK_RENEW, so that renewals may fail"
            )
        return self

    @property
    def speaks_slack(self) -> bool:
        """Whether Slack is configured, and this process is one that speaks with people."""
        return self.role.talks and self.slack_bot_token is not None


def _on_this_machine(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
