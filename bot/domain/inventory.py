"""The inventory: named targets, and how to reach them.

Plans name targets and nothing else. Addresses stand here, and credentials only as references.
"""

from __future__ import annotations

import hashlib
import ipaddress
import json
from collections.abc import Iterable, Iterator
from pathlib import PurePosixPath
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from bot.domain import balancers
from bot.domain.allowed import AllowedCommand
from bot.domain.arns import ListenerArn, RuleArn, TargetGroupArn
from bot.domain.times import Duration, parse_duration

Name = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9._-]{0,62}$")]
"""The name of a target, a step or a backup: lower case, digits, dots and dashes."""


DEFAULT_ZONE = "default"
"""The zone of a target that names none."""


class Model(BaseModel):
    """A frozen value that knows every one of its fields."""

    model_config = ConfigDict(frozen=True, extra="forbid")


def _unused(value: object) -> bool:
    """Leave a field that was added later out of the canonical inventory where unused: digests stay the same."""
    return not value


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


class Bastion(Model):
    """A host that connections to other hosts lead through. Its host key is always checked.

    Attributes:
        user: The login name there.
        key: The private key, by reference.
        known_hosts: The file with its public key.
    """

    address: str
    port: int = Field(default=22, ge=1, le=65535)
    user: str
    key: SecretRef
    known_hosts: str


def _as_chain(value: object) -> object:
    """Read one bastion as a chain of one."""
    return (value,) if isinstance(value, dict | Bastion) else value


Bastions = Annotated[tuple[Bastion, ...], BeforeValidator(_as_chain)]
"""The bastions on the way to hosts, the first one first; a single one may stand without a list."""


class Ssh(Model):
    """How the hosts of a group are reached over SSH. Host keys are always checked.

    Attributes:
        user: The login name.
        key: The private key, by reference.
        known_hosts: The file with the hosts' public keys.
        sudo: Whether commands are run by ``sudo -n``.
        sudo_if_denied: Whether a person may have a step that was denied permission run once more by ``sudo -n``.
        connect_timeout: How long a connection may take, that to a bastion as well.
        bastion: What the connections lead through: one bastion, or a chain in the order of the way.
    """

    user: str
    key: SecretRef
    known_hosts: str
    sudo: bool = False
    sudo_if_denied: bool = Field(default=False, exclude_if=_unused)
    connect_timeout: Duration = parse_duration("10s")
    bastion: Bastions = Field(default=(), max_length=4, exclude_if=_unused)


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


class HostHealth(Model):
    """How each host of a group is asked for its health: by HTTP from the worker, or by a command on the host.

    Attributes:
        port: Where the service listens, at the host's address.
        path: The page.
        scheme: ``https`` is checked against the certificates that the worker's machine trusts.
        command: Asked on the host instead: it exits 0 when the service is healthy, and prints the same JSON.
        expect: What the answer's JSON must hold, at least; empty: the status or the exit code alone decides.
        version: The name of the JSON's field with the version.
    """

    port: int | None = Field(default=None, ge=1, le=65535)
    path: str = Field(default="/health", pattern=r"^/[^\s#]*$")
    scheme: Literal["http", "https"] = "http"
    command: tuple[str, ...] = ()
    expect: dict[str, object] = {"status": "healthy"}
    version: str = "version"

    @model_validator(mode="after")
    def _one_way(self) -> HostHealth:
        if (self.port is None) is not bool(self.command):
            raise ValueError("name exactly one way to ask for the health: port or command")
        return self


class ServerGroup(TargetBase):
    """Hosts that run one service from release folders behind a link.

    Attributes:
        hosts: The hosts, at least one.
        ssh: How to reach them; without it the commands run on the bot's own machine.
        manager: How the service is started and stopped.
        releases: The folder that holds one folder a release.
        current: The link that decides which release runs; for `servers.unpack`, the folder of the service itself.
        config: The folder that configuration files are restored into.
        validate_config: A command that checks a configuration file; ``{file}`` stands for its path.
        commands: Commands that plans may have run on the hosts, by name (`command.run`).
        health: How each host tells its health.
    """

    kind: Literal["server_group"] = "server_group"
    hosts: tuple[Host, ...] = Field(min_length=1)
    ssh: Ssh | None = None
    manager: Annotated[Systemd | ServiceCommands, Field(discriminator="kind")]
    releases: PurePosixPath
    current: PurePosixPath
    config: PurePosixPath | None = None
    validate_config: tuple[str, ...] = ()
    commands: dict[Name, AllowedCommand] = Field(default_factory=dict, exclude_if=_unused)
    health: HostHealth | None = Field(default=None, exclude_if=_unused)


SystemUser = Annotated[str, Field(pattern=r"^[a-z_][a-z0-9_-]{0,31}$")]
"""The login name of a user of an operating system."""

ServerPath = Annotated[str, Field(pattern=r"^/[A-Za-z0-9_./@+-]*$")]
"""An absolute path that may stand in a setting of PostgreSQL as it is: no blanks, quotes or per cent signs."""


class Pitr(Model):
    """What a point-in-time recovery needs, on the machine that has a cluster's base backups and archived WAL.

    Attributes:
        host: That machine: the database server's own, or another one with the same PostgreSQL and C library.
        ssh: How it is reached; without it, it is the machine of the worker.
        user: The system's user that the recovered server runs as, by ``sudo -n -u``; without it, whoever logs in.
            Never root.
        base_backups: The folder with the base backups.
        archive: The folder with the archived WAL, each segment under its own name.
        restore_command: In place of `archive`: how PostgreSQL fetches a segment ``%f`` to ``%p``.
        scratch: A folder of that user, with room for a copy of the cluster and a dump of the database.
        bin_dir: Where PostgreSQL's programs are there; without it, PATH.
    """

    host: Host = Host(name="localhost")
    ssh: Ssh | None = None
    user: SystemUser | None = None
    base_backups: ServerPath
    archive: ServerPath | None = None
    restore_command: str | None = Field(default=None, min_length=1, max_length=1000, pattern=r"^[^\n\r]*$")
    # The recovered server's socket lies below it, and the path of a socket ends at 107 bytes.
    scratch: Annotated[ServerPath, Field(max_length=60)]
    bin_dir: ServerPath | None = None

    @model_validator(mode="after")
    def _one_source(self) -> Pitr:
        if (self.archive is None) == (self.restore_command is None):
            raise ValueError("name exactly one source of archived WAL: archive or restore_command")
        return self


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
        pitr: Where a point-in-time recovery finds base backups and archived WAL.
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
    pitr: Pitr | None = Field(default=None, exclude_if=_unused)


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
    """A Kubernetes cluster and namespace.

    Attributes:
        kubeconfig: Address and credentials, by reference; without it those of the pod that the bot runs in.
        context: The kubeconfig's context; its current one if none is named.
        namespace: Where the service's objects are.
        argocd: The namespace of Argo CD, if it is not ``argocd``.
    """

    kind: Literal["cluster"] = "cluster"
    kubeconfig: SecretRef | None = None
    context: str | None = None
    namespace: str = "default"
    argocd: str | None = Field(default=None, exclude_if=lambda value: value is None)


ProxyName = Annotated[str, Field(pattern=r"^[A-Za-z0-9_.:-]{1,128}$")]
"""The name of a backend or a server as HAProxy takes it; nothing that could end a command of its runtime API."""


class LoadBalancer(TargetBase):
    """A load balancer: HAProxy by its runtime API, or a listener of an AWS Application Load Balancer.

    Attributes:
        socket: HAProxy's runtime socket of level admin: a path, or ``host:port``; several for several balancers.
        hosts: The balancers' machines where they are reached through SSH; `socket` is a path there.
        ssh: How the machines are reached.
        backends: The servers by backend that steps may name; without it, any.
        state_file: HAProxy's ``server-state-file``. The servers' state is saved there, so that a reload keeps it.
        config: HAProxy's configuration file; read only, to tell whether a reload loads the state.
        listener_arn: The listener.
        region: Its region; without it, the one in the ARN.
        profile: The profile of the AWS configuration to take the credentials from.
        endpoint_url: Another address of the AWS API, e.g. a VPC endpoint's.
        target_groups: ARNs of target groups by the names that steps use.
        rules: ARNs of the listener's rules by the names that steps use.
        downstream: What may still show the old side to the clients after a switch.
    """

    kind: Literal["load_balancer"] = "load_balancer"
    flavour: Literal["haproxy", "alb"]
    socket: str | tuple[str, ...] | None = None
    listener_arn: ListenerArn | None = None
    region: str | None = None
    hosts: tuple[Host, ...] | None = Field(default=None, exclude_if=_unused)
    ssh: Ssh | None = Field(default=None, exclude_if=_unused)
    backends: dict[ProxyName, tuple[ProxyName, ...]] | None = Field(default=None, exclude_if=_unused)
    state_file: PurePosixPath | None = Field(default=None, exclude_if=_unused)
    config: PurePosixPath | None = Field(default=None, exclude_if=_unused)
    profile: str | None = Field(default=None, exclude_if=_unused)
    endpoint_url: str | None = Field(default=None, pattern=r"^https?://[^@\s]+$", exclude_if=_unused)
    target_groups: dict[Name, TargetGroupArn] | None = Field(default=None, exclude_if=_unused)
    rules: dict[Name, RuleArn] | None = Field(default=None, exclude_if=_unused)
    downstream: Name | None = Field(default=None, exclude_if=_unused)

    def sockets(self) -> tuple[str, ...]:
        """Return the runtime sockets of HAProxy."""
        return (self.socket,) if isinstance(self.socket, str) else self.socket or ()

    @model_validator(mode="after")
    def _reachable(self) -> LoadBalancer:
        if self.flavour == "alb":
            balancers.check_alb(self)
        else:
            balancers.check_haproxy(self)
        return self


class Purge(Model):
    """The request that empties a CDN's cache.

    Attributes:
        body: Sent as JSON.
        token: The credential, by reference.
        header: The header that carries it.
        scheme: Stands before it; empty: it stands alone.
    """

    url: str = Field(pattern=r"^https?://[^@\s]+$")
    method: Literal["POST", "PUT", "DELETE"] = "POST"
    body: dict[str, object] = Field(default_factory=dict)
    token: SecretRef | None = None
    header: str = Field(default="Authorization", pattern=r"^[A-Za-z0-9-]+$")
    scheme: str = "Bearer"

    @model_validator(mode="after")
    def _unseen(self) -> Purge:
        if self.token is not None and not balancers.private_way(self.url):
            raise ValueError("a token is sent by https only, or on the machine itself")
        return self


class Downstream(TargetBase):
    """What lies between a load balancer and the clients and remembers answers: DNS and a CDN.

    Attributes:
        names: The names that clients look up.
        resolver: The DNS server to ask, ``address`` or ``address:port``; without it, those of the worker's machine.
        purge: How the CDN's cache is emptied.
    """

    kind: Literal["downstream"] = "downstream"
    names: tuple[Annotated[str, Field(pattern=r"^[A-Za-z0-9_.-]{1,253}$")], ...] = ()
    resolver: str | None = None
    purge: Purge | None = None


class Cache(TargetBase):
    """A Redis server that a service keeps data in, to be looked at when errors persist. Nothing is written to it.

    Attributes:
        database: The number of the database.
        user: The ACL user; without it, the default one.
        password: The password, by reference.
        tls: Whether the connection is encrypted; the server's certificate is checked then.
        keys: The pattern of the service's keys, as SCAN takes it, e.g. ``payments:*``.
    """

    kind: Literal["cache"] = "cache"
    host: str
    port: int = Field(default=6379, ge=1, le=65535)
    database: int = Field(default=0, ge=0, le=1023)
    user: str | None = None
    password: SecretRef | None = None
    tls: bool = False
    keys: str = Field(min_length=1, max_length=200)


EnvName = Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]{0,127}$")]
"""The name of an environment variable."""

InRepository = Annotated[str, Field(pattern=r"^[A-Za-z0-9_./@+-]{1,240}$")]
"""A path within a repository."""


class TerraformStack(TargetBase):
    """A root module of Terraform or OpenTofu, with the state that belongs to it.

    Attributes:
        repository: A git repository on the worker's machine that has the earlier commits; only read.
        path: The root module's folder in it.
        refs: Patterns of branches and tags (``main``, ``v*``); a step's commit must be in one of them. Empty: any
            commit of the repository.
        binary: The program: a name on PATH, or a path.
        folder: The bot's own folder on the worker's machine: the code of a run while it runs, and the states that
            are kept. Nobody else may read it.
        backend: Settings of the backend, as ``init -backend-config`` takes them; nothing secret.
        workspace: The workspace.
        var_files: Files with values of variables, relative to `path`, as they were at the step's commit.
        env: Environment variables with credentials, by reference.
        plugin_cache: A folder with providers that were downloaded before.
    """

    kind: Literal["terraform_stack"] = "terraform_stack"
    repository: str = Field(pattern=r"^/")
    path: InRepository = "."
    refs: tuple[Annotated[str, Field(pattern=r"^[A-Za-z0-9_./*?@+-]{1,200}$")], ...] = ()
    binary: str = Field(default="terraform", pattern=r"^[A-Za-z0-9_./+-]+$")
    folder: str = Field(pattern=r"^/")
    backend: dict[Annotated[str, Field(pattern=r"^[a-z_][a-z0-9_.]*$")], str] = Field(default_factory=dict)
    workspace: str = Field(default="default", pattern=r"^[A-Za-z0-9_.-]{1,90}$")
    var_files: tuple[InRepository, ...] = ()
    env: dict[EnvName, SecretRef] = Field(default_factory=dict)
    plugin_cache: str | None = Field(default=None, pattern=r"^/")

    @model_validator(mode="after")
    def _inside(self) -> TerraformStack:
        for text in (self.path, *self.var_files):
            if PurePosixPath(text).is_absolute() or ".." in PurePosixPath(text).parts:
                raise ValueError(f"{text} must lie within the repository: a relative path without ..")
        return self


def _as_prefix(text: str) -> str:
    ipaddress.ip_network(text)
    return text


PingHost = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.:-]{0,252}$")]
"""A host as a device's ``ping`` takes it; nothing that could end the command or add to it."""

RoutePrefix = Annotated[str, Field(pattern=r"^[0-9a-f.:]+/\d{1,3}$"), AfterValidator(_as_prefix)]
"""A network as ``address/length``, without host bits."""


class OutOfBand(Model):
    """The way to a device that does not lead over the network it makes.

    Attributes:
        kind: What stands at its end.
        words: How to get there, for a person; no secret.
    """

    kind: Literal["console_server", "ipmi"]
    words: str = Field(min_length=1, max_length=600)


class FrrMachine(Model):
    """The machine that FRR runs on.

    Attributes:
        pathspace: The name that FRR's daemons run under, where there are several on the machine (their ``-N``).
        run_as: The user that FRR's programs are run as by ``sudo -n``; without it, the login's own.
        folder: Where a change that waits for its confirmation is kept. Nobody else may read it.
    """

    pathspace: str | None = Field(default=None, pattern=r"^[A-Za-z0-9_][A-Za-z0-9_-]{0,30}$")
    run_as: str | None = Field(default=None, pattern=r"^[a-z_][a-z0-9_-]{0,30}$")
    folder: str = Field(default="/var/lib/rollback-bot", pattern=r"^/[A-Za-z0-9_./-]{1,200}$")


class NetworkDevice(TargetBase):
    """A router or switch, reached over SSH. Its host key is always checked.

    Attributes:
        platform: What it speaks.
        user: The login name.
        key: The private key, by reference.
        password: The password, by reference, for devices that take no key.
        known_hosts: The file with the device's public key.
        connect_timeout: How long a connection may take.
        out_of_band: The way to its console.
        ping: Hosts that must answer pings from the device before a change is confirmed.
        routes: Networks that must be in its routing table before a change is confirmed.
        frr: What is particular to the machine of an FRR router.
    """

    kind: Literal["network_device"] = "network_device"
    platform: Literal["ios", "iosxe", "junos", "frr"]
    address: str
    port: int = Field(default=22, ge=1, le=65535)
    user: str
    key: SecretRef | None = None
    password: SecretRef | None = None
    known_hosts: str
    connect_timeout: Duration = parse_duration("10s")
    out_of_band: OutOfBand | None = None
    ping: tuple[PingHost, ...] = ()
    routes: tuple[RoutePrefix, ...] = ()
    frr: FrrMachine | None = Field(default=None, exclude_if=_unused)

    @model_validator(mode="after")
    def _one_credential(self) -> NetworkDevice:
        if (self.key is None) == (self.password is None):
            raise ValueError("name exactly one credential of the device: key or password")
        if self.platform == "frr" and self.key is None:
            raise ValueError("a machine with FRR is reached by a key")
        if self.platform != "frr" and self.frr is not None:
            raise ValueError("frr is for devices of the platform frr")
        return self


AwsRegion = Annotated[str, Field(pattern=r"^[a-z]{2}(-[a-z]+)+-\d{1,2}$", examples=["eu-west-1"])]
"""A region of AWS."""

InstanceId = Annotated[str, Field(pattern=r"^[a-z][a-z0-9]*(-[a-z0-9]+)*$", max_length=63, examples=["payments"])]
"""The identifier of an RDS instance, in lower case as AWS keeps it."""


class ManagedDatabase(TargetBase):
    """A database instance of Amazon RDS. Its endpoint's name is made of its identifier, and stays with it.

    Attributes:
        region: Its region.
        instance: The identifier of the instance that the service uses.
        account: The number of the account; if given, an instance of another account is refused.
        profile: The profile of the AWS configuration to take the credentials from.
        endpoint_url: Another address of the RDS API, e.g. a VPC endpoint's.
    """

    kind: Literal["rds"] = "rds"
    region: AwsRegion
    instance: InstanceId
    account: str | None = Field(default=None, pattern=r"^\d{12}$", exclude_if=_unused)
    profile: str | None = Field(default=None, exclude_if=_unused)
    endpoint_url: str | None = Field(default=None, pattern=r"^https?://[^@\s]+$", exclude_if=_unused)


Target = (
    ServerGroup
    | Database
    | Endpoint
    | MetricsPage
    | PrometheusQueries
    | Cluster
    | LoadBalancer
    | Downstream
    | Cache
    | TerraformStack
    | NetworkDevice
    | ManagedDatabase
)
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
    caches: dict[Name, Cache] = Field(default_factory=dict, exclude_if=_unused)
    downstreams: dict[Name, Downstream] = Field(default_factory=dict, exclude_if=_unused)
    stacks: dict[Name, TerraformStack] = Field(default_factory=dict, exclude_if=_unused)
    devices: dict[Name, NetworkDevice] = Field(default_factory=dict, exclude_if=_unused)
    managed_databases: dict[Name, ManagedDatabase] = Field(default_factory=dict, exclude_if=_unused)

    @model_validator(mode="after")
    def _unique(self) -> Inventory:
        names = [name for name, _ in self.items()]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(f"target names must be unique across sections: {', '.join(twice)}")
        return self

    @model_validator(mode="after")
    def _downstreams_known(self) -> Inventory:
        for name, balancer in self.load_balancers.items():
            if balancer.downstream is not None and balancer.downstream not in self.downstreams:
                raise ValueError(f"{name} names the downstream {balancer.downstream}, which `downstreams` lacks")
        return self

    def items(self) -> Iterator[tuple[str, Target]]:
        """Yield every target with its name."""
        yield from self.server_groups.items()
        yield from self.databases.items()
        yield from self.endpoints.items()
        yield from self.metrics.items()
        yield from self.clusters.items()
        yield from self.load_balancers.items()
        yield from self.caches.items()
        yield from self.downstreams.items()
        yield from self.stacks.items()
        yield from self.devices.items()
        yield from self.managed_databases.items()

    def find(self, name: str) -> Target | None:
        """Return the target of that name, or None."""
        return next((target for known, target in self.items() if known == name), None)

    def zone(self) -> str:
        """Return the zone whose workers begin with a rollback of these targets; it moves on from there."""
        zones = {target.zone for _, target in self.items()}
        return DEFAULT_ZONE if not zones or DEFAULT_ZONE in zones else min(zones)

    def only(self, names: Iterable[str]) -> Inventory:
        """Return the inventory of just these targets and what they lead on to; unknown names are left out."""
        wanted = set(names)
        behind = (self.load_balancers[name].downstream for name in wanted & self.load_balancers.keys())
        wanted |= {name for name in behind if name is not None}
        return Inventory(
            server_groups={name: target for name, target in self.server_groups.items() if name in wanted},
            databases={name: target for name, target in self.databases.items() if name in wanted},
            endpoints={name: target for name, target in self.endpoints.items() if name in wanted},
            metrics={name: target for name, target in self.metrics.items() if name in wanted},
            clusters={name: target for name, target in self.clusters.items() if name in wanted},
            load_balancers={name: target for name, target in self.load_balancers.items() if name in wanted},
            caches={name: target for name, target in self.caches.items() if name in wanted},
            downstreams={name: target for name, target in self.downstreams.items() if name in wanted},
            stacks={name: target for name, target in self.stacks.items() if name in wanted},
            devices={name: target for name, target in self.devices.items() if name in wanted},
            managed_databases={name: target for name, target in self.managed_databases.items() if name in wanted},
        )

    def digest(self) -> str:
        """Return the SHA-256 of the canonical inventory, in hex. An approval binds to that of its targets."""
        canonical = json.dumps(self.model_dump(mode="json"), sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(canonical.encode()).hexdigest()
