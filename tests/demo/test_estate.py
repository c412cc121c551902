"""What an estate does, from its creation to a rollback by hand; `estate_story` lives through it once."""

from __future__ import annotations

import hashlib
import subprocess
import tarfile
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from bot.demo.estate import NEW_SCHEMA, OLD_SCHEMA, Backup, Measured, PgServer
from tests.demo.conftest import WallClock
from tests.demo.estate_story import Story, live


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def story(
    tmp_path_factory: pytest.TempPathFactory, server: PgServer, clock: WallClock
) -> AsyncIterator[Story]:
    """Live through it once; the tests below only look, in any order."""
    async with live(tmp_path_factory.mktemp("estate"), server, clock) as lived:
        yield lived


def rate(measured: Measured) -> float:
    """Return the error rate, which must be known."""
    assert measured.error_rate is not None
    return measured.error_rate


def p95(measured: Measured) -> float:
    """Return the p95, which must be known."""
    assert measured.p95_seconds is not None
    return measured.p95_seconds


def test_estate_outlives_its_creator(story: Story) -> None:
    """After a kill -9 of the creating process the service runs on and is found by the folder."""
    assert story.old.status.startswith("payments v2.3.1 is running (pid ")


def test_old_release_answers_as_specified(story: Story) -> None:
    """Health and version pages carry the specification's fields."""
    assert story.old.health == (200, {"status": "healthy", "version": "v2.3.1", "database": "connected"})
    assert story.old.version == (200, {"version": "v2.3.1", "build": "20240110-1234"})
    assert story.old.schema == OLD_SCHEMA


def test_old_release_makes_no_errors(story: Story) -> None:
    """The baseline has hundreds of transactions and practically no failure among them."""
    assert story.old.measured.count >= 150
    assert rate(story.old.measured) <= 0.01
    assert story.estate.facts.baseline == story.old.measured


def test_synthetic_transaction_confirms_and_leaves_no_row(story: Story) -> None:
    """A test transaction takes the whole path and disturbs no row count."""
    status, body = story.old.synthetic
    assert (status, body["status"], body["amount"], body["test"]) == (200, "confirmed", "1.00", True)
    assert story.counts_around_synthetic == ({"users": 2000, "transactions": 50_000},) * 2


def test_bad_requests_are_refused_in_words(story: Story) -> None:
    """What the caller does wrong is a 4xx that says what."""
    assert {what: answer[0] for what, answer in story.bad_requests.items()} == {
        "lasting test": 400,
        "no amount": 400,
        "infinite amount": 400,
        "unknown customer": 422,
        "too much": 422,
        "no object": 400,
        "no such page": 404,
    }
    assert story.bad_requests["unknown customer"][1] == {"error": "user 999999 does not exist"}


def test_metrics_page_agrees_with_the_callers(story: Story) -> None:
    """The service counts and times what its callers see, by status, and not its own probes."""
    for release in (story.old, story.new):
        errors = release.metrics["errors"] / release.metrics["requests"]
        assert errors == pytest.approx(rate(release.measured), abs=0.03)
        assert release.metrics["timed"] == release.metrics["requests"] >= 150


def test_new_release_is_healthy_and_fails_one_in_eight(story: Story) -> None:
    """The deployed release looks well from outside and fails about 12 % of transactions, slowly."""
    assert story.new.health == (200, {"status": "healthy", "version": "v2.4.0", "database": "connected"})
    assert story.new.synthetic[0] == 200
    assert story.new.schema == NEW_SCHEMA
    assert 0.09 <= rate(story.new.measured) <= 0.16
    assert p95(story.new.measured) > 1.3 * p95(story.old.measured)


def test_traffic_survives_the_deployment(story: Story) -> None:
    """While the service was down the traffic went on, and its requests count as unanswered."""
    assert story.deploying.unanswered > 0
    assert story.deploying.count > story.new.measured.count


def test_estate_is_ready_soon(story: Story) -> None:
    """Create, start, three seconds of baseline, backup and deployment take less than 15 s."""
    assert story.seconds_to_deployed < 15


def test_backup_is_complete_and_described(story: Story) -> None:
    """The manifest names every file with digest and size, and the dump can be read."""
    backup = story.backup
    assert Backup.model_validate_json(backup.manifest.read_text()) == backup == story.estate.facts.backup
    for file in (backup.database, backup.artifact, backup.config):
        assert hashlib.sha256(file.path.read_bytes()).hexdigest() == file.sha256
        assert file.path.stat().st_size == file.size > 0
    listing = subprocess.run(
        [story.estate.facts.bin_dir / "pg_restore", "--list", backup.database.path],
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    assert all(f"TABLE DATA public {table}" in listing for table in ("users", "transactions", "schema_migrations"))
    with tarfile.open(backup.artifact.path) as archive:
        assert "v2.3.1/bin/payments" in archive.getnames()
    assert "max_amount = 10000.00" in backup.config.path.read_text()


def test_old_release_refuses_the_new_schema(story: Story) -> None:
    """Putting the program back without the database fails, and says why in the log's words."""
    assert f"schema is {NEW_SCHEMA}, payments v2.3.1 needs {OLD_SCHEMA}: not started" in story.old_on_new_schema


def test_backup_restores_to_what_it_says_with_the_operator_role(story: Story) -> None:
    """The operator role can restore beside and swap; the rows are those the manifest counted under traffic."""
    assert story.counts_restored == story.backup.row_counts
    assert story.counts_restored["transactions"] > 50_000
    assert story.restored.schema == story.backup.schema_version == OLD_SCHEMA


def test_rolled_back_service_is_as_before(story: Story) -> None:
    """After database, program and configuration are back, the old release runs without errors."""
    assert story.restored.health == story.old.health
    assert story.restored.synthetic[0] == 200
    assert rate(story.restored.measured) <= 0.01


def test_service_without_its_database_says_so(story: Story) -> None:
    """A lost database is 503 for health and transactions, and a restart finds it again."""
    assert story.without_database == {
        "health": (503, {"status": "unhealthy", "version": "v2.3.1", "database": "disconnected"}),
        "transaction": (503, {"error": "the database is not available"}),
    }
    assert story.health_after_outage[0] == 200


def validate(story: Story, version: str, path: Path) -> tuple[int, str]:
    """Let a release judge a configuration file."""
    program = story.estate.layout.releases / version / "bin" / "payments"
    done = subprocess.run([program, "--validate-config", path], check=False, capture_output=True, text=True)
    return done.returncode, done.stdout + done.stderr


def test_valid_configuration_passes(story: Story) -> None:
    """The backed-up file is valid for the release that it belongs to."""
    path = story.backup.config.path
    assert validate(story, "v2.3.1", path) == (0, f"payments v2.3.1: {path} is valid (11 options)\n")


@pytest.mark.parametrize(
    ("found", "written", "words"),
    [
        ("[limits]", "[currency]\nsettlement = EUR\n[limits]", "[currency] is not known to this release"),
        ("daily_limit = 50000.00", "daily_limit = -1", "[limits] daily_limit is '-1', it must be above 0"),
        ("daily_limit = 50000.00", "daily_limit = much", "[limits] daily_limit is 'much', a number is needed"),
        (
            "[server]\nhost",
            "[server]\nhots",
            "[server] hots is not known to this release\n  [server] host is missing",
        ),
        ("name = payments\n", "", "[database] name is missing"),
        ("[database]", "database", "cannot read the file"),
        (".password", ".passwort", "payments_app.passwort does not exist"),
        ("[server]\nhost = 127.0.0.1\nport = ", "[server]\nhost = 127.0.0.1\nport = 9", "the highest is 65535"),
    ],
)
def test_invalid_configuration_is_refused_with_its_fault(
    story: Story, tmp_path: Path, found: str, written: str, words: str
) -> None:
    """Exit code 1 and the section, option and fault."""
    path = tmp_path / "payments.conf"
    good = story.backup.config.path.read_text()
    assert found in good
    path.write_text(good.replace(found, written))
    code, said = validate(story, "v2.3.1", path)
    assert code == 1
    assert f"{path} is not valid:" in said
    assert words in said


def test_configurations_belong_to_their_releases(story: Story) -> None:
    """Neither release takes the other's file, so the configuration has to be rolled back too."""
    code, said = validate(story, "v2.4.0", story.backup.config.path)
    assert (code, "[limits] max_amount is not known to this release" in said) == (1, True)
    missing = validate(story, "v2.3.1", story.estate.layout.root / "nothing.conf")
    assert (missing[0], "cannot read the file" in missing[1]) == (1, True)
