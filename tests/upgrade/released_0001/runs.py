"""Leaves rollbacks in every standing point, by the code that was released with the schema 0001.

It is run by `tests.upgrade.make` within the tree of that release, never within today's: the names it imports are
that tree's own. Each rollback is driven by the released engine on a real PostgreSQL, in an estate of its own; where
a worker is to be killed, it dies at that very call. Afterwards the rows are written down as they are, with what
stood outside of the store: the plans and targets as they were written, and which effects were there.
"""

# mypy: ignore-errors
# The release's own names are meant, which today's code need not have.

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

import rows

from bot.domain.actuation import Observation, Outcome, Presence
from bot.domain.errors import ActuatorError, RefusedError
from bot.domain.events import Choice
from bot.domain.inventory import Inventory
from bot.domain.run import Run
from bot.engine.service import Actor
from storage.carrier import ProcrastinateCarrier, make_app
from storage.database import Database
from storage.migrations import upgrade
from tests.support import plans
from tests.support.engine import Lab
from tests.support.fakes import Act, CrashError
from tests.support.pgserver import PgServer, running_server
from tests.support.wires import Passing

STORE = "store"
WORKER = "released-host:boot:4711:1"
_HOUR = 3600.0


def numbered(document: str, number: int) -> str:
    """Return a document whose change and locked targets are the rollback's own."""
    for name in ("payments-db", "payments-servers"):
        document = document.replace(f'"{name}"', f'"{name}-{number:02}"')
    return document.replace(plans.CHANGE, f"CHG00123{number:02}")


@dataclass
class Stage:
    """One rollback and the released program that drives it."""

    lab: Lab
    url: str
    change: str
    number: int

    async def request(self) -> Run:
        """Let the on-call engineer ask for the rollback."""
        actor = Actor(plans.ON_CALL, f"delivery-{self.number}")
        return await self.lab.service().request(self.change, actor, reason="Card payments fail")

    async def ask(self) -> Run:
        """Let a worker check it and ask for authority, and the announcer say so."""
        run = await self.advance(await self.request())
        await self.announce(run)
        return run

    async def approve(self) -> Run:
        """Let the change manager authorise it."""
        return await self.lab.approve(await self.ask())

    async def advance(self, run: Run) -> Run:
        """Let a worker advance it as far as it goes."""
        return await self.lab.after(run, self.lab.worker(WORKER))

    async def announce(self, run: Run) -> None:
        """Let the announcer say what is to be said; with time standing still it edits the card at most once."""
        await self.lab.announcer().sync(run.id)

    async def kill(self, run: Run, point: str) -> Run:
        """Let a worker advance it and be killed at that call to the store or to an actuator."""

        def come_by(call: str) -> None:
            if call == point:
                worker.wire.process.die()

        async def passing(passing: Passing) -> None:
            come_by(passing.label)

        worker = self.lab.worker(WORKER, passing=come_by)
        worker.wire.trouble = passing
        died = False
        try:
            await worker.advance(run)
        except* CrashError:
            died = True
        assert died, f"no worker came by {point}"
        return await self.lab.runs.load(run.id)

    async def kill_at_record(self, run: Run, call: str) -> Run:
        """Let a worker advance it and be killed at that call to the register."""
        worker = self.lab.worker(WORKER)

        async def come_by(made: str) -> None:
            if made == call:
                worker.wire.process.die()

        self.lab.register.trouble = come_by
        try:
            await worker.advance(run)
        except* CrashError:
            self.lab.register.trouble = None
        assert self.lab.register.trouble is None, f"no worker came by {call}"
        return await self.lab.runs.load(run.id)

    async def queue(self, run: Run) -> None:
        """Queue the job that the service queues, by the released carrier."""
        app = make_app(self.url, clock=self.lab.clock)
        async with app.open_async():
            await ProcrastinateCarrier(app).defer(run.id, run.inventory.zone())


async def full_disk(_act: Act) -> Outcome:
    """Fail for good, with what a tool would print."""
    raise ActuatorError(
        "The disk of the database server is full.",
        untouched="The live database was not touched.",
        resolution="Free 4 GB on db01, then retry.",
        output='pg_restore: error: could not extend file "base/16384/1259": No space left on device\n\tat 71 %',
    )


async def unreachable() -> Observation:
    """Look at a target that does not answer."""
    return Observation(Presence.UNKNOWN, "db01 does not answer")


async def requested(stage: Stage) -> None:
    """Requested; its job is queued and no worker has come."""
    run = await stage.request()
    await stage.announce(run)
    await stage.queue(run)


async def checking(stage: Stage) -> None:
    """Its worker was killed when it had begun to look."""
    await stage.kill(await stage.request(), "append checked")


async def waiting(stage: Stage) -> None:
    """Waits for authority; the requester tried to authorise his own rollback and was refused."""
    run = await stage.ask()
    try:
        await stage.lab.service().approve(run.id, Actor(plans.ON_CALL), version=run.state_seq)
    except RefusedError:
        return
    raise AssertionError("nobody authorises his own rollback")


async def authorised(stage: Stage) -> None:
    """Authorised; its job is queued and no worker has come."""
    await stage.queue(await stage.approve())


async def started(stage: Stage) -> None:
    """Its worker was killed after STARTED of the restore was written, and before the effect."""
    run = await stage.kill(await stage.approve(), "append step_started restore: done")
    await stage.announce(run)


async def acted(stage: Stage) -> None:
    """Its worker was killed after the effect of the restore, and before its outcome was written."""
    await stage.kill(await stage.approve(), "applied restore")


async def failed(stage: Stage) -> None:
    """Held: the restore failed and a person must decide."""
    stage.lab.estate.script("restore", full_disk)
    await stage.announce(await stage.advance(await stage.approve()))


async def unknown(stage: Stage) -> None:
    """Held: nobody can tell whether the restore, which did act, has its effect."""
    stage.lab.estate.looks["restore"] = unreachable
    await stage.advance(await stage.approve())


async def retrying(stage: Stage) -> None:
    """Held, a person decided to retry, and no worker has come."""
    stage.lab.estate.script("restore", full_disk)
    run = await stage.advance(await stage.approve())
    await stage.lab.decide(run, "restore", Choice.RETRY)


async def aborting(stage: Stage) -> None:
    """Held, a person decided to abort, and no worker has come."""
    stage.lab.estate.script("restore", full_disk)
    run = await stage.advance(await stage.approve())
    await stage.announce(run)
    await stage.lab.decide(run, "restore", Choice.ABORT)


async def verifying(stage: Stage) -> None:
    """Its worker was killed among the probes."""
    await stage.kill(await stage.approve(), "append step_succeeded synthetic")


async def complete(stage: Stage) -> None:
    """Complete; its worker was killed before the problem record was written."""
    run = await stage.kill_at_record(await stage.approve(), "put problem")
    await stage.announce(run)


async def aborted(stage: Stage) -> None:
    """Aborted; its worker was killed before the records were written."""
    stage.lab.estate.script("restore", full_disk)
    run = await stage.advance(await stage.approve())
    run = await stage.lab.decide(run, "restore", Choice.ABORT)
    await stage.kill(run, "append review_scheduled")


async def closed(stage: Stage) -> None:
    """Closed: it ended well, by its first attempts."""
    run = await stage.advance(await stage.approve())
    await stage.announce(run)


async def closed_by_decision(stage: Stage) -> None:
    """Closed: one step was marked done and one skipped by a person."""
    stage.lab.estate.script("safety", full_disk)
    stage.lab.estate.looks["restore"] = unreachable
    run = await stage.advance(await stage.approve())
    await stage.lab.decide(run, "restore", Choice.MARK_DONE)
    run = await stage.lab.decide(run, "safety", Choice.SKIP)
    await stage.announce(await stage.advance(run))


async def closed_aborted(stage: Stage) -> None:
    """Closed after it was aborted."""
    stage.lab.estate.script("restore", full_disk)
    run = await stage.advance(await stage.approve())
    await stage.advance(await stage.lab.decide(run, "restore", Choice.ABORT))


async def stood_down(stage: Stage) -> None:
    """A person with authority said no."""
    run = await stage.ask()
    actor = Actor(plans.MANAGER)
    await stage.lab.service().reject(run.id, actor, version=run.state_seq, reason="fixed forward")


async def expired(stage: Stage) -> None:
    """Nobody authorised it in time."""
    run = await stage.ask()
    stage.lab.clock.jump(_HOUR)
    await stage.advance(run)


async def refused(stage: Stage) -> None:
    """The plan was changed between the request and the checks."""
    run = await stage.request()
    changed = run.plan.model_dump_json().replace("Payment service", "Another service")
    stage.lab.shelf.plans[stage.change] = plans.MODEL.model_validate_json(changed)
    await stage.advance(run)


POINTS: tuple[Callable[[Stage], Awaitable[None]], ...] = (
    *(requested, checking, waiting, authorised, started, acted, failed, unknown, retrying, aborting, verifying),
    *(complete, aborted, closed, closed_by_decision, closed_aborted, stood_down, expired, refused),
)


def url_of(server: PgServer) -> str:
    """Return the address of the store."""
    return f"postgresql://{server.user}:{server.password}@127.0.0.1:{server.port}/{STORE}"


async def perform(url: str) -> dict[str, object]:
    """Bring one rollback to each standing point; return what stood outside of the store."""
    await upgrade(url)
    plan, inventory = json.dumps(plans.document()), json.dumps(plans._read(plans._INVENTORY))
    found: dict[str, object] = {}
    database = Database(url)
    try:
        for number, point in enumerate(POINTS, start=1):
            lab = Lab(database)
            lab.inventory = Inventory.model_validate_json(numbered(inventory, number))
            change = f"CHG00123{number:02}"
            lab.shelf.plans = {change: plans.MODEL.model_validate_json(numbered(plan, number))}
            await point(Stage(lab, url, change, number))
            run = (await lab.runs.latest_of(change)).id
            there, effects = sorted(lab.estate.there), dict(sorted(lab.estate.effects.items()))
            found[point.__name__] = {"rollback": run, "number": number, "there": there, "effects": effects}
    finally:
        await database.close()
    return {"plan": json.loads(plan), "inventory": json.loads(inventory), "points": found}


def main() -> None:
    """Write ``store.sql`` and ``world.json`` into the folder that is given."""
    out = Path(sys.argv[1])
    with running_server() as server:
        server.execute(f"CREATE DATABASE {STORE}")
        world = asyncio.run(perform(url_of(server)))
        written = rows.dump(server, STORE)
    head = (
        "-- The rows of a store as the released program left them; made by tests/upgrade/make.py, never by hand.\n"
    )
    (out / "store.sql").write_text(f"{head}\n{written}", encoding="utf-8")
    (out / "world.json").write_text(json.dumps(world, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
