"""The demo's estate: one service, its database, its configuration, its traffic, on loopback."""

import shutil
from contextlib import AbstractAsyncContextManager
from datetime import timedelta
from pathlib import Path
from types import TracebackType
from typing import Self

from bot.demo.estate import backup, commands, database, releases
from bot.demo.estate.facts import (
    NEW_VERSION,
    OLD_VERSION,
    Backup,
    EstateError,
    Facts,
    Layout,
    PgServer,
    replace_file,
)
from bot.demo.estate.observations import Measured, measure
from bot.domain.clock import Clock

USERS = 2_000
TRANSACTIONS = 50_000
# What the estate puts below its root, and all that replacing it deletes.
ENTRIES = (
    "artifacts",
    "backups",
    "bin",
    "etc",
    "lib",
    "log",
    "releases",
    "run",
    "secrets",
    "units",
    "current",
    "estate.json",
)


class Estate(AbstractAsyncContextManager["Estate"]):
    """A running (or stopped) estate; leaving the context stops what it started.

    Its processes outlive their starter on purpose, as a production service would: after a `kill -9` of the demo,
    `attach` finds them again by the estate's folder.
    """

    def __init__(self, facts: Facts, *, clock: Clock) -> None:
        self.facts = facts
        self.layout = Layout(root=facts.root)
        self._clock = clock

    @classmethod
    async def create(
        cls,
        root: Path,
        server: PgServer,
        *,
        clock: Clock,
        replace: bool = False,
        users: int = USERS,
        transactions: int = TRANSACTIONS,
    ) -> Self:
        """Build an estate: database with rows, both releases, `current` on the old one. Starts nothing.

        Args:
            root: an absolute folder; missing, empty, or (with `replace`) that of an earlier estate.
            server: where the database is made; its superuser is used here only and not kept.
            clock: time.
            replace: stop and drop an earlier estate in this folder and on this server first.
            users: customers to seed.
            transactions: transactions to seed.

        Raises:
            EstateError: the folder or the server holds something else; it was left untouched.
        """
        facts = Facts(
            root=root,
            base_url=f"http://127.0.0.1:{(port := releases.free_port())}",
            service_port=port,
            db_host=server.host,
            db_port=server.port,
            db_name="payments",
            app_role="payments_app",
            operator_role="rollback_operator",
            bin_dir=server.bin_dir,
            users=users,
        )
        await _clear(root, clock=clock, replace=replace)
        facts.save()  # first, so that a create that is killed can be replaced
        await database.build(server, facts, transactions=transactions, replace=replace)
        estate = cls(facts, clock=clock)
        estate._install()
        return estate

    @classmethod
    def attach(cls, root: Path, *, clock: Clock) -> Self:
        """Find an estate again by its folder, whoever created it and however that ended.

        Raises:
            EstateError: there is none.
        """
        return cls(Facts.load(root), clock=clock)

    @property
    def ctl_argv(self) -> tuple[str, ...]:
        """The service manager's command, to which start, stop, restart or status is added."""
        return (str(self.layout.ctl),)

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.stop_all()

    async def ctl(self, command: str) -> str:
        """Run `paymentsctl` and return its words.

        Raises:
            EstateError: it failed, or `status` found the service stopped.
        """
        return (await commands.run([*self.ctl_argv, command])).strip()

    async def start_old(self) -> None:
        """Start the service in the release that `current` points at: v2.3.1 in a new estate."""
        await self.ctl("start")

    async def start_traffic(self, *, rate: float = 60.0, seconds: float = 900.0) -> None:
        """Start the traffic, if none runs: so many requests a second, for so many seconds at most."""
        releases.install_traffic(self.facts, rate=rate, seconds=seconds)
        await self._traffic("start")

    async def stop_traffic(self) -> None:
        """Stop the traffic, if any runs."""
        await self._traffic("stop")

    async def measure_last(self, seconds: float) -> Measured:
        """Measure the traffic of the last so many seconds."""
        now = self._clock.now()
        return measure(self.layout.traffic, now - timedelta(seconds=seconds), now)

    async def measure_next(self, seconds: float) -> Measured:
        """Wait so many seconds and measure the traffic of that time."""
        since = self._clock.now()
        await self._clock.sleep(seconds + 0.25)  # the last requests' answers are still to come
        return measure(self.layout.traffic, since, since + timedelta(seconds=seconds))

    async def measure_baseline(self, seconds: float) -> Measured:
        """Measure the old release for so many seconds and keep the result in the facts.

        Raises:
            EstateError: no traffic flows, so there is nothing to compare with later.
        """
        await self.start_traffic()
        baseline = await self.measure_next(seconds)
        if baseline.p95_seconds is None:
            raise EstateError(
                f"No request was answered in {seconds:g} s, so there is no baseline.",
                untouched="Nothing was changed.",
                resolution=f"Look into {self.layout.log} and start the service.",
            )
        self._keep(baseline=baseline)
        return baseline

    async def take_backup(self) -> Backup:
        """Take the pre-deployment backup and keep its description in the facts.

        Raises:
            EstateError: it could not be taken.
        """
        taken = await backup.take(self.facts, now=self._clock.now())
        self._keep(backup=taken)
        return taken

    async def deploy(self) -> None:
        """Deploy v2.4.0 as its change record says: stop, migrate, configure, switch the link, start.

        Raises:
            EstateError: a step failed; its words say which.
        """
        release = self.layout.releases / NEW_VERSION
        candidate = self.layout.config.with_name("payments.conf.v2.4.0")
        text = releases.render_config(self.facts, NEW_VERSION)
        replace_file(candidate, text)
        await commands.run(
            [release / "bin" / "payments", "--validate-config", candidate],
            untouched="Nothing was deployed.",
        )
        await self.ctl("stop")
        await database.migrate(self.facts, release)
        candidate.replace(self.layout.config)
        releases.switch_link(self.layout.link, release)
        await self.ctl("start")
        self._keep(deployed_at=self._clock.now())

    async def schema_version(self) -> str:
        """Return the newest migration in the payments database."""
        return await database.schema_version(self.facts)

    async def row_counts(self) -> dict[str, int]:
        """Return the rows of `users` and `transactions` now."""
        return await database.row_counts(self.facts)

    async def stop_all(self) -> None:
        """Stop traffic and service, if they run; safe to repeat, and after `attach` too.

        Raises:
            EstateError: a process could not be ended.
        """
        if self.layout.traffic_unit.exists():
            await self._traffic("stop")
        if self.layout.ctl.exists():
            await self.ctl("stop")

    async def demolish(self, server: PgServer) -> None:
        """Stop everything, and drop the estate's databases and roles. Its files stay, as evidence."""
        await self.stop_all()
        await database.demolish(server, self.facts)

    async def _traffic(self, command: str) -> None:
        await commands.run([*releases.manager_argv(self.layout), self.layout.traffic_unit, command])

    def _install(self) -> None:
        for version in (OLD_VERSION, NEW_VERSION):
            releases.install_release(self.layout, version)
        releases.switch_link(self.layout.link, self.layout.releases / OLD_VERSION)
        replace_file(self.layout.config, releases.render_config(self.facts, OLD_VERSION))
        releases.install_manager(self.layout)
        self.layout.emergency.mkdir(parents=True, exist_ok=True)

    def _keep(self, **changed: object) -> None:
        self.facts = self.facts.model_copy(update=changed)
        self.facts.save()


async def _clear(root: Path, *, clock: Clock, replace: bool) -> None:
    """Make the folder usable, or refuse it."""
    if not root.is_absolute():
        raise EstateError(f"The estate's folder {root} must be an absolute path.", untouched="Nothing was built.")
    if not _holds_anything(root):
        return
    if not Layout(root=root).facts.exists():
        raise EstateError(
            f"{root} is not empty and holds no estate.",
            untouched="It was left as it is.",
            resolution="Name a new or an empty folder.",
        )
    if not replace:
        raise EstateError(
            f"{root} holds an earlier estate.",
            untouched="It was left as it is.",
            resolution="Attach to it, or create with replace=True.",
        )
    await Estate.attach(root, clock=clock).stop_all()
    _remove_entries(root)


def _holds_anything(root: Path) -> bool:
    return root.exists() and any(root.iterdir())


def _remove_entries(root: Path) -> None:
    for entry in (root / name for name in ENTRIES):
        if entry.is_dir() and not entry.is_symlink():
            shutil.rmtree(entry)
        else:
            entry.unlink(missing_ok=True)
