"""The bot's settings: environment variables, all of them optional.

Secrets come from the environment or from files named there, are never printed, and never written anywhere.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Literal

from pydantic import AliasChoices, Field, SecretStr, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from bot.domain.times import Duration, parse_duration


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
        data_dir: Where the embedded PostgreSQL and the console's sign-in tokens are kept.
        database_url: The store; without it an embedded PostgreSQL in `data_dir`.
        plans: The folder of rollback plans, one YAML file a change.
        inventory: The file of targets.
        policy: The file of people, roles, business hours and thresholds.
        slack_bot_token: ``xoxb-...``; with it the bot speaks to Slack.
        slack_app_token: ``xapp-...``; with it over Socket Mode.
        slack_signing_secret: With it over signed HTTP, if there is no app token.
        ops_channel: Id of the operations channel.
        team_id: Only requests of this Slack team are obeyed; empty: of any team the token is for.
        http_host: Where Slack's signed HTTP requests are taken.
        http_port: Its port.
        console_host: Where the console, which takes Slack's place, listens. It is for this machine: put a proxy
            with TLS before it otherwise.
        console_port: Its port; 0: a free one.
        zone: The network zone that this process works for.
        workers: Rollbacks that this process advances at once.
        lease: How long a worker may be silent before another takes over.
        renew: How often a worker renews its lease.
        log_level: How much is logged.
    """

    model_config = SettingsConfigDict(env_prefix="ROLLBACK_", extra="ignore", populate_by_name=True)

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
    ops_channel: str = Field(default="C0000OPS", pattern=r"^[CG][A-Z0-9]{2,}$")
    team_id: str = ""
    http_host: str = "127.0.0.1"
    http_port: int = Field(default=3000, ge=0, le=65535)
    console_host: str = "127.0.0.1"
    console_port: int = Field(default=8090, ge=0, le=65535)
    zone: str = "default"
    workers: int = Field(default=8, ge=1, le=200)
    lease: Duration = parse_duration("12s")
    renew: Duration = parse_duration("1s")
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"

    @model_validator(mode="after")
    def _consistent(self) -> Settings:
        if self.slack_bot_token and not (self.slack_app_token or self.slack_signing_secret):
            raise ValueError(
                "SLACK_BOT_TOKEN is given, but neither SLACK_APP_TOKEN (Socket Mode) nor "
                "SLACK_SIGNING_SECRET (HTTP): nothing would reach the bot"
            )
        if self.slack_bot_token and "ops_channel" not in self.model_fields_set:
            raise ValueError(
                "SLACK_BOT_TOKEN is given, but not ROLLBACK_OPS_CHANNEL, the id of the operations channel"
            )
        if 3 * self.renew > self.lease:
            raise ValueError(
                "ROLLBACK_LEASE must be at least three times ROLLBACK_RENEW, so that renewals may fail"
            )
        return self

    @property
    def speaks_slack(self) -> bool:
        """Whether Slack is configured."""
        return self.slack_bot_token is not None
