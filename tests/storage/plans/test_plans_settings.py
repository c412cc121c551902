"""Inventory and policy files."""

from __future__ import annotations

from pathlib import Path

import pytest

from bot.domain.authority import Role
from storage.plans import read_inventory, read_policy
from storage.settings_files import FileInvalidError, InventoryInvalidError, PolicyInvalidError

NAME_HINT = "use lower case letters, digits, dots and dashes, at most 63"


def problems(path: Path, text: str) -> tuple[str, ...]:
    """Return what is wrong with an inventory of that text."""
    path.write_text(text)
    with pytest.raises(InventoryInvalidError) as caught:
        read_inventory(path)
    return tuple(problem.removeprefix(f"{path}:") for problem in caught.value.problems)


def test_every_error_of_an_inventory_at_once(tmp_path: Path) -> None:
    """A wrong inventory gives a line for each error, below the right target."""
    text = """\
server_groups:
  Bad Name:
    service: payments
    hosts: []
    manager: {kind: systemd, unti: payments}
    releases: /srv
    current: /srv/current
databases:
  db: {service: payments, host: h, dbname: x, user: y, backups: /b, port: 99999}
metrics:
  m: {service: payments, url: "http://127.0.0.1"}
endpoint: {}
"""
    assert problems(tmp_path / "inventory.yaml", text) == (
        f"2:3 server_groups['Bad Name']: 'Bad Name' is not a name — {NAME_HINT}",
        "4:12 server_groups['Bad Name'].hosts: needs at least 1 entry",
        "5:5 server_groups['Bad Name'].manager.unit: the field 'unit' is missing — add `unit:`",
        "5:30 server_groups['Bad Name'].manager.unti: unknown field 'unti' — did you mean 'unit'?",
        "9:75 databases.db.port: must be at most 65535, not the number 99999",
        "11:3 metrics.m.kind: the field 'kind' is missing — known: metrics_page, prometheus",
        "12:1 endpoint: unknown field 'endpoint' — did you mean 'endpoints'?",
    )


@pytest.mark.parametrize(
    "line",
    [
        "password: hunter2",
        "password: {env: A, file: hunter2}",
        "password: [hunter2]",
        "password: {environment: hunter2}",
        "host: [hunter2]",
        'bin_dir: {a: "hunter2"}',
    ],
)
def test_a_secret_in_the_wrong_place_is_not_repeated(line: str, tmp_path: Path) -> None:
    """Who writes a password where a reference belongs is told so without seeing it in the log."""
    text = (
        f"databases:\n  db:\n    service: s\n    dbname: x\n    user: y\n    backups: /b\n    host: h\n    {line}\n"
    )
    found = problems(tmp_path / "inventory.yaml", text)
    assert found
    assert "hunter2" not in " ".join(found)


def test_a_login_in_an_address_is_not_repeated(tmp_path: Path) -> None:
    """An address with a password in it is refused without repeating it."""
    text = 'endpoints:\n  e: {service: s, url: "http://bob:hunter2@host"}\n'
    assert problems(tmp_path / "inventory.yaml", text) == (
        "2:24 endpoints.e.url: this value is not an address without a login in it — write it like http://10.0.0.7:8080",
    )


def test_a_name_twice_is_told(tmp_path: Path) -> None:
    """A name that two sections use is refused, because plans name targets without a section."""
    text = "endpoints:\n  e: {service: s, url: 'http://h'}\nclusters:\n  e: {service: s}\n"
    assert problems(tmp_path / "inventory.yaml", text) == ("1:1: target names must be unique across sections: e",)


def test_a_policy_is_read(tmp_path: Path) -> None:
    """Roles, hours and thresholds come from the file."""
    path = tmp_path / "policy.yaml"
    path.write_text(
        "people:\n"
        "  - {id: U024BE7LH, name: J. Smith, roles: [change_manager]}\n"
        "hours: {timezone: Europe/London, start: 08:30, end: 18:00}\n"
        "approval_valid: 45m\n"
        "thresholds: {error_rate: 0.2}\n"
    )
    policy = read_policy(path)
    assert policy.people[0].roles == (Role.CHANGE_MANAGER,)
    assert policy.hours.start.isoformat() == "08:30:00"
    assert policy.thresholds.error_rate == 0.2


def test_a_wrong_policy_is_told(tmp_path: Path) -> None:
    """An unknown role, a name in place of an id and a wrong zone are three lines."""
    path = tmp_path / "policy.yaml"
    people = "people:\n  - {id: alice, name: A, roles: [change_manger]}\n"
    path.write_text(people + "hours: {timezone: London}\napprovers: service_owner\n")
    with pytest.raises(PolicyInvalidError, match=r"policy.yaml has 4 problems\.") as caught:
        read_policy(path)
    assert tuple(problem.removeprefix(f"{path}:") for problem in caught.value.problems) == (
        "2:10 people[0].id: 'alice' is not a Slack user id — write the id, like U024BE7LH, never the name",
        "2:34 people[0].roles[0]: unknown value 'change_manger' — did you mean 'change_manager'?",
        "3:19 hours.timezone: 'London' is not an IANA time zone — write for example Europe/London",
        "4:12 approvers: must be a list, not 'service_owner' — write each entry on a line of its own, after a dash",
    )


def test_a_file_that_is_not_there_is_told(tmp_path: Path) -> None:
    """A missing file, a folder and an empty file are errors in words."""
    with pytest.raises(InventoryInvalidError, match="cannot be read: No such file or directory"):
        read_inventory(tmp_path / "nothing.yaml")
    with pytest.raises(FileInvalidError, match="cannot be read: it is no regular file"):
        read_policy(tmp_path)
    (tmp_path / "empty.yaml").touch()
    with pytest.raises(PolicyInvalidError) as caught:
        read_policy(tmp_path / "empty.yaml")
    assert caught.value.problems == (
        f"{tmp_path}/empty.yaml:1:1: the document is empty — write `name: value` lines",
    )
