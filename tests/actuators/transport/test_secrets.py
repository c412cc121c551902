from __future__ import annotations

from pathlib import Path

import pytest

from actuators import secrets
from bot.domain.errors import ActuatorError
from bot.domain.inventory import SecretRef


def test_a_secret_is_read_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """An environment variable yields its value as it is."""
    monkeypatch.setenv("ESTATE_PASSWORD", "hunter2 ")
    assert secrets.resolve(SecretRef(env="ESTATE_PASSWORD")) == "hunter2 "


def test_a_secret_is_read_from_a_file_without_the_line_end(tmp_path: Path) -> None:
    """A file closed to others yields its text without the line end that editors add."""
    file = tmp_path / "password"
    file.write_text("hunter2\n")
    file.chmod(0o600)
    assert secrets.resolve(SecretRef(file=str(file))) == "hunter2"


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o644])
def test_a_file_open_to_others_is_refused(tmp_path: Path, mode: int) -> None:
    """A secret that group or others can read or write is refused, with the command that closes it."""
    file = tmp_path / "password"
    file.write_text("hunter2")
    file.chmod(mode)
    with pytest.raises(ActuatorError) as caught:
        secrets.resolve(SecretRef(file=str(file)))
    assert f"{mode:04o}" in caught.value.brief
    assert caught.value.resolution == f"Close it: chmod 600 {file}"
    assert "hunter2" not in str(caught.value)


def test_whatever_is_no_secret_is_refused_by_its_reference(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Missing, empty, binary, too large and no file: each error names the reference and what is wrong with it."""
    monkeypatch.setenv("EMPTY", "")
    monkeypatch.delenv("MISSING", raising=False)
    for name, data in {"binary": b"\xff\xfe", "large": b"x" * 70_000, "blank": b"\n"}.items():
        (tmp_path / name).write_bytes(data)
        (tmp_path / name).chmod(0o600)
    cases = {
        "environment variable MISSING is not set": SecretRef(env="MISSING"),
        "environment variable EMPTY is empty": SecretRef(env="EMPTY"),
        f"file {tmp_path}/none cannot be read: No such file": SecretRef(file=f"{tmp_path}/none"),
        f"file {tmp_path}/binary is no UTF-8 text": SecretRef(file=f"{tmp_path}/binary"),
        f"file {tmp_path}/large is larger than": SecretRef(file=f"{tmp_path}/large"),
        f"file {tmp_path}/blank is empty": SecretRef(file=f"{tmp_path}/blank"),
        f"file {tmp_path} ": SecretRef(file=str(tmp_path)),
    }
    for words, ref in cases.items():
        with pytest.raises(ActuatorError) as caught:
            secrets.resolve(ref)
        assert words in caught.value.brief
        assert caught.value.resolution
