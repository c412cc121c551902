"""Reads and validates `payments.conf`, strictly: an option that a release does not know is an error.

Strictness is what makes the configuration part of the release: the old program refuses the new one's file.
"""

import configparser
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

Shape = Mapping[str, Mapping[str, type[int] | type[float] | type[str]]]

COMMON: Shape = {
    "server": {"host": str, "port": int},
    "database": {
        "host": str,
        "port": int,
        "name": str,
        "user": str,
        "password_file": str,
        "pool_size": int,
        "connect_timeout": int,
    },
}


class SettingsError(Exception):
    """The configuration file cannot be used; the text lists every problem, one a line."""


@dataclass(frozen=True)
class Settings:
    """A valid configuration: option values by section, each of the type its release declares."""

    path: Path
    values: Mapping[str, Mapping[str, int | float | str]]

    def text(self, section: str, option: str) -> str:
        """Return an option as text."""
        return str(self.values[section][option])

    def number(self, section: str, option: str) -> int:
        """Return a whole-number option."""
        return int(self.values[section][option])

    def password(self) -> str:
        """Read the database password from its file; the configuration itself carries no secret."""
        return Path(self.text("database", "password_file")).read_text(encoding="utf-8").strip()

    @property
    def count(self) -> int:
        """Return how many options the file sets."""
        return sum(len(options) for options in self.values.values())


def load(path: Path, *, shape: Shape) -> Settings:
    """Read a configuration file.

    Args:
        path: the INI file.
        shape: the sections, options and types that the release demands; all are required, no other is allowed.

    Raises:
        SettingsError: the file is missing, is no INI file, or breaks the shape; every problem is named.
    """
    parser = configparser.ConfigParser(interpolation=None)
    try:
        with path.open(encoding="utf-8") as file:
            parser.read_file(file)
    except (OSError, UnicodeDecodeError, configparser.Error) as error:
        raise SettingsError(f"cannot read the file: {error}") from error
    problems = [f"[{name}] is not known to this release" for name in parser.sections() if name not in shape]
    values: dict[str, dict[str, int | float | str]] = {}
    for section, options in shape.items():
        given = dict(parser[section]) if parser.has_section(section) else {}
        problems += [f"[{section}] {key} is not known to this release" for key in given if key not in options]
        values[section] = {}
        for option, kind in options.items():
            try:
                values[section][option] = _parse(given.get(option, ""), kind=kind)
            except ValueError as error:
                problems.append(f"[{section}] {option} {error}")
    if not problems:
        problems = _check_values(values)
    if problems:
        raise SettingsError("\n".join(problems))
    return Settings(path=path, values=values)


def _parse(text: str, *, kind: type[int] | type[float] | type[str]) -> int | float | str:
    if not text.strip():
        raise ValueError("is missing")
    try:
        value = kind(text)
    except ValueError:
        raise ValueError(f"is {text!r}, a number is needed") from None
    if isinstance(value, int | float) and not value > 0:
        raise ValueError(f"is {text!r}, it must be above 0")
    return value


def _check_values(values: Mapping[str, Mapping[str, int | float | str]]) -> list[str]:
    highest_port = 65535
    problems = [
        f"[{section}] port is {values[section]['port']}, the highest is {highest_port}"
        for section in ("server", "database")
        if int(values[section]["port"]) > highest_port
    ]
    if not Path(str(values["database"]["password_file"])).is_file():
        problems.append(f"[database] password_file {values['database']['password_file']} does not exist")
    return problems
