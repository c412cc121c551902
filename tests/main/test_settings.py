from __future__ import annotations

from datetime import timedelta

import pytest
from pydantic import SecretStr, ValidationError

from bot.main.settings import Role, Settings

STORE = SecretStr("postgresql://bot@db.internal/rollback")


@pytest.fixture(autouse=True)
def nothing_set(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing of the machine's own settings reaches these tests."""
    for name in ("ROLLBACK_ROLE", "ROLLBACK_ZONE", "ROLLBACK_DATABASE_URL", "SLACK_BOT_TOKEN"):
        monkeypatch.delenv(name, raising=False)


def test_one_process_does_everything_by_default() -> None:
    """Without settings a process is bot and worker of the default zone, and has no probes."""
    settings = Settings()
    assert (settings.role, settings.zone, settings.health_port) == (Role.ALL, "default", None)
    assert settings.role.talks
    assert settings.role.acts


def test_bot_talks_and_worker_acts() -> None:
    """A bot speaks with people and acts on nothing; a worker acts and speaks with nobody."""
    assert (Role.BOT.talks, Role.BOT.acts) == (True, False)
    assert (Role.WORKER.talks, Role.WORKER.acts) == (False, True)


@pytest.mark.parametrize("role", [Role.BOT, Role.WORKER])
def test_roles_of_their_own_need_a_store_of_their_own(role: Role) -> None:
    """A bot or worker alone needs the address of a store, because the embedded one is for a single process."""
    with pytest.raises(ValidationError, match=f"ROLLBACK_ROLE is {role.value}, but ROLLBACK_DATABASE_URL is not"):
        Settings(role=role)
    assert Settings(role=role, database_url=STORE).role is role


def test_worker_needs_no_tokens() -> None:
    """A worker ignores half-configured Slack tokens, which stop everybody who would use them."""
    token = SecretStr("xoxb-1")
    assert not Settings(role=Role.WORKER, database_url=STORE, slack_bot_token=token).speaks_slack
    with pytest.raises(ValidationError, match="neither SLACK_APP_TOKEN"):
        Settings(role=Role.BOT, database_url=STORE, slack_bot_token=token)


def test_options_win_over_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is given on the command line wins over the variables; an empty variable counts as none."""
    monkeypatch.setenv("ROLLBACK_ROLE", "bot")
    monkeypatch.setenv("ROLLBACK_ZONE", "")
    settings = Settings(role=Role.WORKER, database_url=STORE)
    assert (settings.role, settings.zone) == (Role.WORKER, "default")


@pytest.mark.parametrize(
    ("given", "used"),
    [
        ("https://slack.com/api/", "https://slack.com/api/"),
        ("https://slack-gov.com/api", "https://slack-gov.com/api/"),
        ("http://127.0.0.1:8090/slack-api", "http://127.0.0.1:8090/slack-api/"),
        ("http://localhost:8090/slack-api/", "http://localhost:8090/slack-api/"),
    ],
)
def test_address_of_slack_ends_with_a_slash(given: str, used: str) -> None:
    """The address of the Web API is used as the client wants it."""
    assert Settings(slack_api_url=given).slack_api_url == used


@pytest.mark.parametrize(
    "given", ["http://slack.example.net/api/", "slack.com/api", "https:///api", "https://a/?b=c"]
)
def test_bot_token_never_travels_unencrypted(given: str) -> None:
    """An address that is none, or that would show the bot token to the network, is refused."""
    with pytest.raises(ValidationError, match=r"unencrypted|must look like"):
        Settings(slack_api_url=given)


def test_defaults_keep_the_promises() -> None:
    """A lapsed lease is taken over within 15 s, renewals may fail twice, and a stop fits into 30 s."""
    settings = Settings()
    sweep, polling = timedelta(seconds=1), timedelta(seconds=2)
    assert settings.lease + sweep + polling <= timedelta(seconds=15)
    assert 3 * settings.renew <= settings.lease
    assert settings.grace <= timedelta(seconds=15)
