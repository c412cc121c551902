"""What one needs to know of the estate: where things lie, who may do what, what was measured."""

from datetime import datetime
from pathlib import Path
from typing import Self

from pydantic import AwareDatetime, BaseModel, ConfigDict

from bot.demo.estate.observations import Measured
from bot.domain.errors import RollbackError

OLD_VERSION = "v2.3.1"
NEW_VERSION = "v2.4.0"
OLD_SCHEMA = "20240110120000"
NEW_SCHEMA = "20240115120000"


class EstateError(RollbackError):
    """The estate could not be built or changed."""


class Frozen(BaseModel):
    """A value."""

    model_config = ConfigDict(frozen=True)


class PgServer(Frozen):
    """A PostgreSQL server to build on.

    Attributes:
        host: name or address.
        port: TCP port.
        user: a superuser's name; used while the estate is created, and kept nowhere.
        password: the superuser's password.
        bin_dir: the folder of pg_dump and pg_restore, of the server's version or later.
    """

    host: str
    port: int
    user: str
    password: str
    bin_dir: Path

    def __repr__(self) -> str:
        return f"PgServer({self.user}@{self.host}:{self.port})"


class Layout(Frozen):
    """Where things lie below the estate's root."""

    root: Path

    @property
    def facts(self) -> Path:
        """The file by which the estate is found again."""
        return self.root / "estate.json"

    @property
    def ctl(self) -> Path:
        """The service manager's command."""
        return self.root / "bin" / "paymentsctl"

    @property
    def lib(self) -> Path:
        """The estate's own programs."""
        return self.root / "lib"

    @property
    def releases(self) -> Path:
        """The folder of release folders."""
        return self.root / "releases"

    @property
    def link(self) -> Path:
        """The link that decides which release runs."""
        return self.root / "current"

    @property
    def config(self) -> Path:
        """The service's configuration file."""
        return self.root / "etc" / "payments.conf"

    @property
    def service_unit(self) -> Path:
        """The unit file of the payments service."""
        return self.root / "units" / "payments.json"

    @property
    def traffic_unit(self) -> Path:
        """The unit file of the traffic."""
        return self.root / "units" / "traffic.json"

    @property
    def app_password(self) -> Path:
        """The password file of the service's database role."""
        return self.root / "secrets" / "payments_app.password"

    @property
    def operator_password(self) -> Path:
        """The password file of the database role that rolls back."""
        return self.root / "secrets" / "rollback_operator.password"

    @property
    def artifacts(self) -> Path:
        """The folder of packed releases."""
        return self.root / "artifacts" / "releases"

    @property
    def pre_deploy(self) -> Path:
        """The folder of pre-deployment database backups."""
        return self.root / "backups" / "pre-deploy"

    @property
    def emergency(self) -> Path:
        """The folder for a rollback's safety backups."""
        return self.root / "backups" / "emergency"

    @property
    def config_backups(self) -> Path:
        """The folder of configuration backups, one folder a stamp."""
        return self.root / "backups" / "configs" / "payments"

    @property
    def traffic(self) -> Path:
        """What the traffic saw, JSON lines."""
        return self.root / "log" / "traffic.jsonl"

    @property
    def log(self) -> Path:
        """The service's log."""
        return self.root / "log" / "payments.log"

    @property
    def run(self) -> Path:
        """The folder of pidfiles."""
        return self.root / "run"


class BackedUpFile(Frozen):
    """One file of a backup: absolute path, SHA-256 in hex, size in bytes."""

    path: Path
    sha256: str
    size: int


class Backup(Frozen):
    """A pre-deployment backup; also the form of its manifest.

    Attributes:
        taken_at: when, UTC.
        version: the release that ran.
        schema_version: newest migration in the dump.
        row_counts: rows by table, counted in the dump's own snapshot.
        database: the dump (pg_dump -Fc).
        artifact: the packed release (tar.gz with the release folder as its one top folder).
        config: the copy of the configuration file.
        manifest: where this description lies as JSON.
    """

    taken_at: AwareDatetime
    version: str
    schema_version: str
    row_counts: dict[str, int]
    database: BackedUpFile
    artifact: BackedUpFile
    config: BackedUpFile
    manifest: Path


class Facts(Frozen):
    """The estate's state, kept in `estate.json`; holds no secret."""

    root: Path
    base_url: str
    service_port: int
    db_host: str
    db_port: int
    db_name: str
    app_role: str
    operator_role: str
    bin_dir: Path
    users: int
    baseline: Measured | None = None
    backup: Backup | None = None
    deployed_at: datetime | None = None

    @classmethod
    def load(cls, root: Path) -> Self:
        """Read the facts of an estate that was created at `root`.

        Raises:
            EstateError: there is no estate, or its file is damaged.
        """
        path = Layout(root=root).facts
        try:
            return cls.model_validate_json(path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise EstateError(
                f"There is no usable estate at {root}: {path} cannot be read ({type(error).__name__}).",
                untouched="Nothing was changed.",
                resolution="Name the folder the estate was created in, or create one.",
            ) from error

    def save(self) -> None:
        """Write the facts atomically: a killed demo leaves the old file or the new one."""
        replace_file(Layout(root=self.root).facts, self.model_dump_json(indent=2) + "\n", mode=0o600)


def replace_file(path: Path, text: str, *, mode: int = 0o644) -> None:
    """Write a file beside its place and move it there, so that no reader sees half of it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f".{path.name}.new")
    beside.unlink(missing_ok=True)
    beside.touch(mode=mode)
    beside.write_text(text, encoding="utf-8")
    beside.chmod(mode)
    beside.replace(path)
