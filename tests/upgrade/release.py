"""What a release left behind, and how a store is brought to where that release had it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import psycopg
from alembic import command
from alembic.config import Config
from sqlalchemy import create_engine
from sqlalchemy.pool import NullPool

from storage import migrations
from tests.support import plans

_FOLDER = Path(__file__).parent


@dataclass(frozen=True)
class Point:
    """A rollback in one standing point, with what stood outside of the store.

    Attributes:
        name: The standing point, as ``runs.py`` of the release names it.
        rollback: Its id.
        number: Numbers its change and its targets.
        there: Steps whose effect is there.
        effects: How often each was brought about.
    """

    name: str
    rollback: str
    number: int
    there: tuple[str, ...]
    effects: dict[str, int]

    @property
    def change(self) -> str:
        """The change that it reverts."""
        return f"CHG00123{self.number:02}"


@dataclass(frozen=True)
class Release:
    """A release, as far as an upgrade has to do with it.

    Attributes:
        revision: The newest migration that it knew.
    """

    revision: str

    @property
    def folder(self) -> Path:
        """Where its remains lie."""
        return _FOLDER / f"released_{self.revision}"

    @cached_property
    def _world(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads((self.folder / "world.json").read_text(encoding="utf-8"))
        return found

    @cached_property
    def points(self) -> dict[str, Point]:
        """The rollbacks by the name of their standing point."""
        return {
            name: Point(name, found["rollback"], found["number"], tuple(found["there"]), found["effects"])
            for name, found in self._world["points"].items()
        }

    @cached_property
    def statements(self) -> dict[str, str]:
        """The SQL that it speaks, by module and name."""
        found: dict[str, str] = json.loads((self.folder / "statements.json").read_text(encoding="utf-8"))
        return found

    @cached_property
    def documents(self) -> dict[str, dict[str, str]]:
        """What it made of the plans in ``documents``, by change."""
        found: dict[str, dict[str, str]] = json.loads((self.folder / "documents.json").read_text(encoding="utf-8"))
        return found

    def plan_document(self, number: int) -> str:
        """Return the plan of that number as it was written, in JSON."""
        return _numbered(json.dumps(self._world["plan"]), number)

    def inventory_document(self, number: int) -> str:
        """Return the inventory of that number as it was written, in JSON."""
        return _numbered(json.dumps(self._world["inventory"]), number)

    def create(self, url: str) -> None:
        """Bring an empty database to where the release had it: its schema, the carrier's tables and its rows."""
        migrate(url, self.revision)
        with psycopg.connect(url) as connection:
            # As pg_restore does: the guards let nobody write down how a rollback stands.
            connection.execute("SET session_replication_role = replica")
            load(connection, (self.folder / "store.sql").read_text(encoding="utf-8"))


def _numbered(document: str, number: int) -> str:
    for name in ("payments-db", "payments-servers"):
        document = document.replace(f'"{name}"', f'"{name}-{number:02}"')
    return document.replace(plans.CHANGE, f"CHG00123{number:02}")


def migrate(url: str, revision: str) -> None:
    """Bring an empty database to a revision of the schema, as a program that knows no later one does."""
    address = url.replace("postgresql://", "postgresql+psycopg://")
    engine = create_engine(address, poolclass=NullPool)
    with engine.connect() as connection:
        config = Config(attributes={"connection": connection})
        config.set_main_option("script_location", str(Path(migrations.__file__).parent).replace("%", "%%"))
        config.set_main_option("path_separator", "os")
        command.upgrade(config, revision)
        migrations._upgrade_carrier(connection, "the test's store")
    engine.dispose()


def load(connection: psycopg.Connection[Any], script: str) -> None:
    """Run a script of statements, one a line, and of rows after ``COPY ... FROM stdin;``."""
    lines = iter(script.splitlines())
    for line in lines:
        if line.startswith("COPY "):
            with connection.cursor().copy(line.removesuffix(";").encode()) as rows:
                rows.write("".join(f"{row}\n" for row in _until_end(lines)))
        elif line and not line.startswith("--"):
            connection.execute(line.encode())


def _until_end(lines: Iterator[str]) -> Iterator[str]:
    for line in lines:
        if line == "\\.":
            return
        yield line


RELEASED = Release("0001")
"""The release that today's program follows."""
