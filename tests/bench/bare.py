"""The demo's rollback by hand: the bare commands of its plan, in its order and side by side as it has them."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from bot.demo import scenario
from bot.demo.estate import OLD_VERSION, Estate
from bot.domain.ports import Clock

_RESTORED = "payments_restored"
_KEPT = "payments_failed"
_TERMINATE = (
    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
    "WHERE datname = current_database() AND pid <> pg_backend_pid()"
)
_COUNTS = (
    "SELECT (SELECT max(version) FROM schema_migrations), (SELECT count(*) FROM users), count(*) FROM transactions"
)


@dataclass
class ByHand:
    """Somebody who knows the commands by heart and types them without a pause.

    Attributes:
        estate: Deployed and failing.
        clock: The time.
        took: Seconds of each part, by the name of the plan's step.
    """

    estate: Estate
    clock: Clock
    took: dict[str, float] = field(default_factory=dict)

    async def roll_back(self) -> float:
        """Roll back, and return the seconds of the whole.

        Raises:
            RuntimeError: A command failed.
        """
        began = self.clock.monotonic()
        ctl = self.estate.ctl_argv
        await self._step("stop", [*ctl, "stop"])
        await self._step("drain", self._psql(self.estate.facts.db_name, _TERMINATE))
        async with asyncio.TaskGroup() as group:
            group.create_task(self._database())
            group.create_task(self._link())
            group.create_task(self._config())
        await self._step("start", [*ctl, "start"])
        await self._step("health", ["curl", "--fail", "--silent", f"{self.estate.facts.base_url}/health"])
        await self.clock.sleep(scenario.SETTLE.total_seconds())
        self.took["metrics"] = scenario.SETTLE.total_seconds()
        return self.clock.monotonic() - began

    async def _database(self) -> None:
        name = self.estate.facts.db_name
        dump = self.estate.layout.emergency / "by-hand.dump"
        async with asyncio.TaskGroup() as group:
            group.create_task(
                self._step("safety", [self._tool("pg_dump"), "--format=custom", f"--file={dump}", name])
            )
            group.create_task(self._restore())
        swap = (
            f'ALTER DATABASE "{name}" RENAME TO "{_KEPT}"',
            f'ALTER DATABASE "{_RESTORED}" RENAME TO "{name}"',
        )
        await self._step("swap", self._psql("postgres", *swap))
        await self._step("compare", self._psql(name, _COUNTS))

    async def _restore(self) -> None:
        facts = self.estate.facts
        if facts.backup is None:
            raise RuntimeError("the estate was not backed up")
        create = f'CREATE DATABASE "{_RESTORED}" OWNER "{facts.app_role}" TEMPLATE template0'
        restore = [self._tool("pg_restore"), "--exit-on-error", "--jobs=2", f"--role={facts.app_role}"]
        began = self.clock.monotonic()
        await self._run(self._psql("postgres", create))
        await self._run([*restore, f"--dbname={_RESTORED}", str(facts.backup.database.path)])
        await self._run(self._psql(_RESTORED, "ANALYZE"))
        self.took["restore"] = self.clock.monotonic() - began

    async def _link(self) -> None:
        link = self.estate.layout.link
        beside = link.with_name("by-hand")
        onto = "-h" if sys.platform == "darwin" else "-T"
        began = self.clock.monotonic()
        await self._run(["ln", "-s", f"releases/{OLD_VERSION}", str(beside)])
        await self._run(["mv", onto, str(beside), str(link)])
        self.took["link"] = self.clock.monotonic() - began

    async def _config(self) -> None:
        facts, layout = self.estate.facts, self.estate.layout
        if facts.backup is None:
            raise RuntimeError("the estate was not backed up")
        program = layout.releases / OLD_VERSION / "bin" / "payments"
        began = self.clock.monotonic()
        await self._run(["cp", str(facts.backup.config.path), str(layout.config)])
        await self._run([str(program), "--validate-config", str(layout.config)])
        self.took["config"] = self.clock.monotonic() - began

    async def _step(self, name: str, argv: Sequence[str]) -> None:
        began = self.clock.monotonic()
        await self._run(argv)
        self.took[name] = self.clock.monotonic() - began

    async def _run(self, argv: Sequence[str]) -> None:
        process = await asyncio.create_subprocess_exec(
            *argv,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            env=self._environment(),
        )
        said, _ = await process.communicate()
        if process.returncode:
            raise RuntimeError(f"{Path(argv[0]).name} failed: {said.decode(errors='replace').strip()}")

    def _environment(self) -> dict[str, str]:
        facts = self.estate.facts
        return {
            **os.environ,
            "PGHOST": facts.db_host,
            "PGPORT": str(facts.db_port),
            "PGUSER": facts.operator_role,
            "PGPASSWORD": self.estate.layout.operator_password.read_text(encoding="utf-8"),
        }

    def _psql(self, dbname: str, *statements: str) -> list[str]:
        commands = [f"--command={statement}" for statement in statements]
        options = [
            "--no-psqlrc",
            "--set=ON_ERROR_STOP=1",
            "--quiet",
            *(["--single-transaction"] if commands[1:] else []),
        ]
        return [self._tool("psql"), *options, f"--dbname={dbname}", *commands]

    def _tool(self, name: str) -> str:
        return str(self.estate.facts.bin_dir / name)
