"""The steps on network devices."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import timedelta
from typing import Annotated, ClassVar, Literal

from pydantic import Field, model_validator

from actuators.remedies import Diagnosis
from bot.domain.inventory import Model, Name, PingHost, RoutePrefix
from bot.domain.plan import Step
from bot.domain.times import Duration, format_duration, parse_duration

ConfigFile = Annotated[
    str,
    Field(
        pattern=r"^(?:flash|bootflash|harddisk|disk|slot|usbflash|usb)\d*:[A-Za-z0-9_/][A-Za-z0-9_./-]{0,119}$",
        examples=["flash:backup-20240115-1430.cfg"],
    ),
]
"""A file on the device's own storage; what lies elsewhere could change between the check and the replacement."""

CommitTime = Annotated[
    str,
    Field(
        pattern=r"^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d [A-Z0-9+-]{1,8}$",
        examples=["2024-01-15 14:30:02 UTC"],
        max_length=40,
    ),
]
"""A commit by its time, exactly as ``show system commit`` prints it: unlike its number it never moves."""

ConfigPath = Annotated[str, Field(pattern=r"^/[A-Za-z0-9_./-]{1,199}$", examples=["/backups/frr.conf"])]
"""A file on the machine of an FRR router."""

Digest = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
"""A SHA-256 in hex."""

LONGEST = timedelta(hours=1)
"""The longest time that a device may be left waiting for a confirmation."""


def _unused(value: object) -> bool:
    """Leave a field that was added later out of the canonical plan where it is not used: digests stay the same."""
    return value is None


class Guarded(Step):
    """A change that the device takes back by itself unless it is confirmed.

    Attributes:
        confirm_within: The device's timer, in whole minutes: 1 m to 1 h.
        settle: How long after the change the connectivity may take to come up; then it is left to the timer.
        every: Time between two looks.
        max_loss: Share of pings that may be lost, 0..1.
        baseline: The plan's backup with the routes that the device must have, all of them and no other.
        difference: The seal that the change must have, in place of the one that was approved.
    """

    unit: ClassVar[timedelta] = timedelta(minutes=1)
    """What the device's timer counts in."""
    shortest: ClassVar[timedelta] = timedelta(minutes=1)
    """The shortest time that it takes."""
    margin: ClassVar[timedelta] = timedelta(seconds=30)
    """Time between the last look at the connectivity and the device's own way back."""

    expected: Duration = parse_duration("2m")
    confirm_within: Duration = parse_duration("5m")
    settle: Duration = parse_duration("1m")
    every: Duration = parse_duration("5s")
    max_loss: float = Field(default=0.2, ge=0, lt=1)
    baseline: Name | None = Field(default=None, exclude_if=_unused)
    difference: Digest | None = Field(default=None, exclude_if=_unused)

    @model_validator(mode="after")
    def _in_time(self) -> Guarded:
        if self.confirm_within % self.unit or not self.shortest <= self.confirm_within <= LONGEST:
            unit, least = format_duration(self.unit), format_duration(self.shortest)
            raise ValueError(f"confirm_within is the device's timer: a multiple of {unit}, {least} to 1h")
        if self.settle + self.margin > self.confirm_within:
            least = format_duration(self.margin)
            raise ValueError(
                f"settle must end at least {least} before confirm_within, else nothing can be confirmed"
            )
        if not self.every:
            raise ValueError("every must be longer than nothing")
        return self

    def minutes(self) -> int:
        """Return the device's timer in minutes."""
        return self.confirm_within // timedelta(minutes=1)

    def pin(self) -> str:
        """Return what tells the wanted configuration from any other."""
        raise NotImplementedError

    def backup_ids(self) -> tuple[str, ...]:
        """Return the backups of the plan that the step needs."""
        return (self.baseline,) if self.baseline else ()

    def deadline(self) -> timedelta:
        """Return how long one attempt may take: never less than the device waits."""
        return max(super().deadline(), self.confirm_within + timedelta(minutes=1))


class NetworkReplace(Guarded):
    """Replace the running configuration of a Cisco IOS or IOS XE device by a file on it, and save it.

    Attributes:
        file: The file on the device.
        size: Its size in bytes.
        md5: Its MD5 in hex; classic IOS can tell no other digest.
        sha512: Its SHA-512 in hex, for IOS XE.
        ignore: Beginnings of lines that the device writes anew by itself, e.g. ``ntp clock-period``.
    """

    kind: Literal["network.replace"] = "network.replace"
    file: ConfigFile
    size: int | None = Field(default=None, ge=1)
    md5: str | None = Field(default=None, pattern=r"^[0-9a-f]{32}$")
    sha512: str | None = Field(default=None, pattern=r"^[0-9a-f]{128}$")
    ignore: tuple[Annotated[str, Field(min_length=3, max_length=80)], ...] = ()

    @model_validator(mode="after")
    def _pinned(self) -> NetworkReplace:
        if self.md5 is None and self.sha512 is None:
            raise ValueError("pin the file by md5 (`verify /md5 FILE` on the device) or sha512")
        return self

    def pin(self) -> str:
        """Return what tells the wanted configuration from any other."""
        return self.sha512 or self.md5 or ""

    def words(self) -> str:
        """Return the step in words, for people."""
        return self.title or f"Replace the configuration of {self.target} by {self.file}"


class NetworkRollback(Guarded):
    """Bring back an earlier commit, or the rescue configuration, of a Junos device.

    Attributes:
        committed: The commit by its time, as ``show system commit`` prints it.
        rescue: The SHA-256 of the rescue configuration in hex, where that is to come back.
    """

    kind: Literal["network.rollback"] = "network.rollback"
    committed: CommitTime | None = None
    rescue: str | None = Field(default=None, pattern=r"^[0-9a-f]{64}$")

    @model_validator(mode="after")
    def _one(self) -> NetworkRollback:
        if (self.committed is None) == (self.rescue is None):
            raise ValueError("name exactly one: committed (the commit's time) or rescue (its SHA-256)")
        return self

    def pin(self) -> str:
        """Return what tells the wanted configuration from any other."""
        return self.committed or self.rescue or ""

    def wanted(self) -> str:
        """Return the configuration in words."""
        return f"the commit of {self.committed}" if self.committed else "the rescue configuration"

    def words(self) -> str:
        """Return the step in words, for people."""
        return self.title or f"Roll {self.target} back to {self.wanted()}"


class NetworkReload(Guarded):
    """Replace the running configuration of an FRR router by a file on its machine, and save it.

    FRR has no timer of its own. A process on the router, which needs neither the bot nor the connection, keeps the
    time and goes back.

    Attributes:
        confirm_within: The time, in whole seconds: 5 s to 1 h.
        file: The file on the router's machine: a whole configuration, as ``write memory`` writes it.
        sha256: Its SHA-256 in hex.
        ignore: Beginnings of lines that do not count, e.g. ``hostname``.
    """

    unit: ClassVar[timedelta] = timedelta(seconds=1)
    shortest: ClassVar[timedelta] = timedelta(seconds=5)
    margin: ClassVar[timedelta] = timedelta(seconds=2)

    kind: Literal["network.reload"] = "network.reload"
    file: ConfigPath
    sha256: Digest
    ignore: tuple[Annotated[str, Field(min_length=3, max_length=80)], ...] = ()

    def pin(self) -> str:
        """Return what tells the wanted configuration from any other."""
        return self.sha256

    def words(self) -> str:
        """Return the step in words, for people."""
        return self.title or f"Replace the configuration of {self.target} by {self.file}"


class Route(Model):
    """A route of the baseline.

    Attributes:
        prefix: The network.
        via: A next hop or an interface that it must lead over.
    """

    prefix: RoutePrefix
    via: str | None = Field(default=None, pattern=r"^[A-Za-z0-9_./:-]{1,60}$")

    def words(self) -> str:
        """Return the route in words."""
        return f"{self.prefix} via {self.via}" if self.via else self.prefix


class Path(Model):
    """The way that packets must take.

    Attributes:
        to: The host at its end.
        through: Addresses of routers on it.
    """

    to: PingHost
    through: tuple[Annotated[str, Field(pattern=r"^[0-9a-f.:]{2,45}$")], ...] = ()


class NetworkConnectivity(Step):
    """What a device must reach answers, and the routes of the baseline are in its table.

    Attributes:
        ping: Hosts to ping from the device; none: those of the inventory.
        routes: The baseline; none: the routes of the inventory.
        paths: Ways that ``traceroute`` must find, to the host and through the routers named.
        baseline: The plan's backup with the routes that the device must have, all of them and no other.
        count: Pings for each host.
        max_loss: Share of pings that may be lost, 0..1.
        within: How long it may take until all is well.
        every: Time between two looks.
    """

    reads_only: ClassVar[bool] = True

    kind: Literal["network.connectivity"] = "network.connectivity"
    ping: tuple[PingHost, ...] = ()
    routes: tuple[Route, ...] = ()
    paths: tuple[Path, ...] = ()
    baseline: Name | None = Field(default=None, exclude_if=_unused)
    count: int = Field(default=5, ge=1, le=100)
    max_loss: float = Field(default=0.2, ge=0, lt=1)
    within: Duration = parse_duration("1m")
    every: Duration = parse_duration("5s")

    @model_validator(mode="after")
    def _paced(self) -> NetworkConnectivity:
        if not self.every:
            raise ValueError("every must be longer than nothing")
        return self

    def deadline(self) -> timedelta:
        """Return how long one attempt may take: never less than `within`."""
        return max(super().deadline(), self.within + timedelta(minutes=1))

    def backup_ids(self) -> tuple[str, ...]:
        """Return the backups of the plan that the step needs."""
        return (self.baseline,) if self.baseline else ()

    def words(self) -> str:
        """Return the step in words, for people."""
        return self.title or f"Connectivity of {self.target}"


class NetworkLog(Diagnosis):
    """Show what the device says of itself: its log, its earlier configurations, and what differs.

    Attributes:
        file: The file to compare with, on Cisco and FRR.
        committed: The commit to compare with, on Junos.
    """

    kind: Literal["network.log"] = "network.log"
    file: ConfigFile | ConfigPath | None = None
    committed: CommitTime | None = None

    def words(self) -> str:
        """Return the step in words, for people."""
        return self.title or f"Log and configurations of {self.target}"


class NetworkOutOfBand(Diagnosis):
    """Show how the device's console is reached, and whether SSH still answers."""

    kind: Literal["network.out_of_band"] = "network.out_of_band"

    def words(self) -> str:
        """Return the step in words, for people."""
        return self.title or f"Way to the console of {self.target}"


def routes_of(prefixes: Iterable[str]) -> tuple[Route, ...]:
    """Return prefixes as routes that may lead over anything."""
    return tuple(Route(prefix=prefix) for prefix in prefixes)
