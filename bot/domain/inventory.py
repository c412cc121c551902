"""The inventory: named targets, and how to reach them.

Plans name targets and nothing else. Addresses stand here, and credentials only as references.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator
from pathlib import PurePosixPath
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from bot.domain.times import Duration, parse_duration

Name = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9._-]{0,62}$")]
"""The name of a target, a step or a backup: lower case, digits, dots and dashes."""


DEFAULT_ZONE = "default"
"""The zone of a target that names none, and of a rollback whose targets lie in several."""


class Model(BaseModel):
    """A frozen value that knows every one of its fields."""

    model_config = ConfigDict(frozen=True, extra="forbid")


ReservedFor = Literal["change_manager", "service_owner", "on_call_engineer", "incident_commander"]
"""A role (`bot.domain.authority.Role`) that a target may be reserved for."""


class SecretRef(Model):
    """Where a secret is, never the secret: an environment variable or a file, exactly one."""

    env: str | None = None
    file: str | None = None

    @model_validator(mode="after")
    def _one(self) -> SecretRef:
        if (self.env is None) == (self.file is None):
            raise ValueError("name exactly one place of the secret: env or file")
        return self


class TargetBase(Model):
    """What every target says of itself.

    Attributes:
        service: The service that the target belongs to.
        zone: The network zone whose workers can reach it.
        touch: Roles that may approve a rollback that touches the target; empty: whoever the policy allows.
    """

    service: str
    zone: str = DEFAULT_ZONE
    touch: tuple[ReservedFor, ...] = ()


class Host(Model):
    """One host of a server group."""

    name: Name
    address: str = "127.0.0.1"
    port: int = Field(default=22, ge=1, le=65535)


class Ssh(Model):
    """How the hosts of a group are reached over SSH. Host keys are always checked.

    Attributes:
        user: The login name.
        key: The private key, by reference.
        known_hosts: The file with the hosts' public keys.
        sudo: Whether commands are run by ``sudo -n``.
        connect_timeout: How long a connection may take.
    """

    user: str
    key: SecretRef
    known_hosts: str
    sudo: bool = False
    connect_timeout: Duration = parse_duration("10s")


class Systemd(Model):
    """The service is a systemd unit."""

    kind: Literal["systemd"] = "systemd"
    unit: str = Field(pattern=r"^[A-Za-z0-9:_.@-]+$")


class ServiceCommands(Model):
    """The service has commands of its own, given as argument lists.

    Attributes:
        start: Starts the service and returns when it runs.
        stop: Stops it and returns when it no longer runs.
        status: Exits 0 when it runs and 3 when it is stopped, as LSB init scripts do.
    """

    kind: Literal["commands"] = "commands"
    start: tuple[str, ...] = Field(min_length=1)
    stop: tuple[str, ...] = Field(min_length=1)
    status: tuple[str, ...] = Field(min_length=1)


class ServerGroup(TargetBase):
    """Hosts that run one service from release folders behind a link.

    Attributes:
        hosts: The hosts, at least one.
        ssh: How to reach them; without it the commands run on the bot's own machine.
        manager: How the service is started and stopped.
        releases: The folder that holds one folder a release.
        current: The link that decides which release runs.
        config: The folder that configuration files are restored into.
        validate_config: A command that checks a configuration file; ``{file}`` stands for its path.
    """

    kind: Literal["server_group"] = "server_group"
    hosts: tuple[Host, ...] = Field(min_length=1)
    ssh: Ssh | None = None
    manager: Annotated[Systemd | ServiceCommands, Field(discriminator="kind")]
    releases: PurePosixPath
    current: PurePosixPath
    config: PurePosixPath | None = None
    validate_config: tuple[str, ...] = ()


class Database(TargetBase):
    """A PostgreSQL database.

    Attributes:
        dbname: The database of the service.
        maintenance: The database that the bot connects to while it renames the other one.
        password: The password of `user`, by reference.
        backups: The folder for safety backups, on the machine of the worker.
        bin_dir: Where pg_dump and pg_restore of the server's version are; without it, PATH.
        jobs: Parallel jobs of a restore.
        migrations: The statement that yields the schema version.
        count_tables: Tables whose rows are counted against the baseline.
    """

    kind: Literal["database"] = "database"
    host: str
    port: int = Field(default=5432, ge=1, le=65535)
    dbname: str = Field(pattern=r"^[A-Za-z_][A-Za-z0-9_$-]{0,40}$")
    user: str
    password: SecretRef | None = None
    maintenance: str = "postgres"
    sslmode: Literal["disable", "prefer", "require", "verify-ca", "verify-full"] = "prefer"
    backups: str
    bin_dir: str | None = None
    jobs: int = Field(default=2, ge=1, le=64)
    migrations: str = "SELECT version FROM schema_migrations ORDER BY version DESC LIMIT 1"
    count_tables: tuple[str, ...] = ()


class Synthetic(Model):
    """A transaction that proves that the business function works."""

    path: str = Field(pattern=r"^/")
    method: Literal["POST", "GET", "PUT"] = "POST"
    body: dict[str, object] | None = None
    expect_status: int = 200
    expect: dict[str, object] = Field(default_factory=dict)


class Endpoint(TargetBase):
    """The HTTP face of a service."""

    kind: Literal["endpoint"] = "endpoint"
    url: str = Field(pattern=r"^https?://[^@\s]+$")
    health: str = "/health"
    version: str = "/version"
    synthetic: Synthetic | None = None


class MetricsPage(TargetBase):
    """A service's own page of metrics in the Prometheus text format; the bot keeps a short window of it.

    Attributes:
        requests: Counter of requests.
        failed_label: The label that holds the HTTP status; 5xx counts as failed.
        duration: Histogram of request times in seconds.
    """

    kind: Literal["metrics_page"] = "metrics_page"
    url: str = Field(pattern=r"^https?://[^@\s]+$")
    requests: str = "http_requests_total"
    failed_label: str = "status"
    duration: str = "http_request_duration_seconds"


class PrometheusQueries(TargetBase):
    """Queries against a Prometheus HTTP API. Each yields one sample; an empty result is unknown, not zero.

    Attributes:
        error_rate: Share of failed transactions, 0..1.
        p95: 95th percentile of the response time, in seconds.
        availability: Share of time the service answered, 0..1.
    """

    kind: Literal["prometheus"] = "prometheus"
    url: str = Field(pattern=r"^https?://[^@\s]+$")
    error_rate: str
    p95: str
    availability: str | None = None
    token: SecretRef | None = None


class Cluster(TargetBase):
    """A Kubernetes cluster and namespace."""

    kind: Literal["cluster"] = "cluster"
    kubeconfig: SecretRef | None = None
    context: str | None = None
    namespace: str = "default"


class LoadBalancer(TargetBase):
    """A load balancer: HAProxy by its runtime socket, or an AWS listener by its ARN."""

    kind: Literal["load_balancer"] = "load_balancer"
    flavour: Literal["haproxy", "alb"]
    socket: str | None = None
    listener_arn: str | None = None
    region: str | None = None


Target = ServerGroup | Database | Endpoint | MetricsPage | PrometheusQueries | Cluster | LoadBalancer
MetricsTarget = MetricsPage | PrometheusQueries


class Inventory(Model):
    """Every target by name. A name stands once, whatever the section."""

    server_groups: dict[Name, ServerGroup] = Field(default_factory=dict)
    databases: dict[Name, Database] = Field(default_factory=dict)
    endpoints: dict[Name, Endpoint] = Field(default_factory=dict)
    metrics: dict[Name, Annotated[MetricsPage | PrometheusQueries, Field(discriminator="kind")]] = Field(
        default_factory=dict
    )
    clusters: dict[Name, Cluster] = Field(default_factory=dict)
    load_balancers: dict[Name, LoadBalancer] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _unique(self) -> Inventory:
        names = [name for name, _ in self.items()]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(f"target names must be unique across sections: {', '.join(twice)}")
        return self

    def items(self) -> Iterator[tuple[str, Target]]:
        """Yield every target with its name."""
        yield from self.server_groups.items()
        yield from self.databases.items()
        yield from self.endpoints.items()
        yield from self.metrics.items()
        yield from self.clusters.items()
        yield from self.load_balancers.items()

    def find(self, name: str) -> Target | None:
        """Return the target of that name, or None."""
        return next((target for known, target in self.items() if known == name), None)

    def zone(self) -> str:
        """Return the zone whose workers carry a rollback of these targets: theirs if they agree."""
        zones = {target.zone for _, target in self.items()}
        return zones.pop() if len(zones) == 1 else DEFAULT_ZONE

    def only(self, names: Iterable[str]) -> Inventory:
        """Return the inventory of just these targets; names that are not there are left out."""
        wanted = set(names)
        return Inventory(
            server_groups={name: target for name, target in self.server_groups.items() if name in wanted},
            databases={name: target for name, target in self.databases.items() if name in wanted},
            endpoints={name: target for name, target in self.endpoints.items() if name in wanted},
            metrics={name: target for name, target in self.metrics.items() if name in wanted},
            clusters={name: target for name, target in self.clusters.items() if name in wanted},
            load_balancers={name: target for name, target in self.load_balancers.items() if name in wanted},
        )

    def digest(self) -> str:
        """Return the SHA-256 of the canonical inventory, in hex. An approval binds to that of its targets."""
        canonical = json.dumps(self.model_dump(mode="json"), sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(canonical.encode()).hexdigest()
