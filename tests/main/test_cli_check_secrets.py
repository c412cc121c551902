"""What a pipeline's log shows of settings that cannot be used."""

from __future__ import annotations

import pytest
from typer.testing import CliRunner

from bot.main import cli


def test_unusable_settings_are_told_without_their_values(monkeypatch: pytest.MonkeyPatch) -> None:
    """The answer is neither yes nor no, says what is wrong, and shows no secret of the settings."""
    monkeypatch.setenv("SLACK_BOT_TOKEN", "xoxb-secret-of-slack")
    monkeypatch.setenv("ROLLBACK_HOOKS_TOKEN", "secret-of-hooks")
    for name in ("SLACK_APP_TOKEN", "SLACK_SIGNING_SECRET"):
        monkeypatch.delenv(name, raising=False)
    result = CliRunner().invoke(cli.app, ["hold", "check", "payments"])
    assert result.exit_code == 11
    assert "SLACK_SIGNING_SECRET" in result.output
    assert "secret-of" not in result.output
    assert "input_value" not in result.output
