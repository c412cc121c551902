from __future__ import annotations

import asyncio
from typing import Any

import pytest
from pydantic import ValidationError

from actuators import servers
from actuators.servers_roll import RollRelease
from bot.domain.actuation import Actuator, Context, Presence, Progress, Verdict
from bot.domain.errors import ActuatorError
from bot.domain.plan import Step
from tests.actuators.servers.faces import faces, runs
from tests.support.actuation import FakeClock, fails
from tests.support.estates import LOCAL, SSHD, SUDO
from tests.support.hosts import Estate, artifact, sha256
from tests.support.ssh import SshEstate

ROLL = RollRelease(id="roll", target="payments-app", release="v2.3.1", serial=1, version="v2.3.1")
DONE = "on v2.3.1, running, healthy on v2.3.1"


def actuator() -> Actuator[Any]:
    """Return the registered actuator."""
    return next(entry.actuator for entry in servers.register() if entry.model is RollRelease)


def run_of(estate: Estate, step: Step = ROLL, *, clock: FakeClock | None = None) -> Context:
    """Return the context of a run."""
    return estate.context(step, clock=clock or FakeClock(), digests={"build": sha256(artifact())})


async def running(estate: Estate) -> None:
    """Let the service run on every host."""
    for folder in estate.folders.values():
        process = await asyncio.create_subprocess_exec(str(folder.root / "bin/service"), "start")
        await process.wait()
        (folder.root / "log").unlink()


def availability(estate: Estate) -> list[int]:
    """Return a list that grows by the number of running services at each progress."""
    counted: list[int] = []

    def count(progress: Progress) -> None:
        del progress
        counted.append(sum(runs(folder) for folder in estate.folders.values()))

    estate.reports.on_report = count
    return counted


@pytest.mark.parametrize("estate", [LOCAL, SUDO, SSHD], indirect=True)
async def test_a_group_is_rolled_host_by_host(estate: Estate) -> None:
    """Absent before, present after, harmless when repeated; never more than a batch is down at a time."""
    await running(estate)
    total = len(estate.folders)
    noun = "host" if total == 1 else "hosts"
    async with faces(estate, alive=True):
        seen = await actuator().observe(ROLL, run_of(estate))
        assert seen.presence is Presence.ABSENT
        assert seen.words == f"0 of {total} {noun} {DONE}, {total} on v2.4.0, running"
        up = availability(estate)
        outcome = await actuator().apply(ROLL, run_of(estate))
        assert outcome.words == f"{total} of {total} {noun} {DONE}"
        assert outcome.facts == {"hosts": dict.fromkeys(estate.folders, DONE)}
        assert min(up) == total - 1
        seen = await actuator().observe(ROLL, run_of(estate))
        assert (seen.presence, seen.words) == (Presence.PRESENT, f"{total} of {total} {noun} {DONE}")
        assert (await actuator().apply(ROLL, run_of(estate))).words == f"{total} of {total} {noun} {DONE} already"
    for folder in estate.folders.values():
        assert folder.release() == "v2.3.1"
        assert folder.log() == ["stop", "start"]


async def test_progress_tells_batch_host_and_what_is_done(ssh_hosts: SshEstate) -> None:
    """Whoever watches sees in which batch it is, and what happens to which host."""
    await running(ssh_hosts)
    async with faces(ssh_hosts, alive=True):
        await actuator().apply(ROLL, run_of(ssh_hosts))
    words = [progress.words for progress in ssh_hosts.reports.seen]
    assert words[:6] == [
        "Rolling to v2.3.1",
        "Rolling to v2.3.1, batch 1 of 3: app01 is being stopped",
        "Rolling to v2.3.1, batch 1 of 3: app01 is being switched to v2.3.1",
        "Rolling to v2.3.1, batch 1 of 3: app01 is being started",
        "Rolling to v2.3.1, batch 1 of 3: app01 is asked for its health",
        "Rolling to v2.3.1, batch 1 of 3: app01 has ended",
    ]
    assert words[-1] == "Rolling to v2.3.1, batch 3 of 3: app03 has ended"
    assert [progress.done for progress in ssh_hosts.reports.seen][-1] == 3


async def test_a_host_that_does_not_come_up_ends_it(ssh_hosts: SshEstate) -> None:
    """The next batch is not begun: its hosts run as before, and are told apart from the one that failed."""
    await running(ssh_hosts)
    async with faces(ssh_hosts, alive=True) as found:
        found["app02"].says = {"status": "starting"}
        with pytest.raises(ActuatorError) as caught:
            await actuator().apply(ROLL, run_of(ssh_hosts))
        error = caught.value
        assert error.brief == (
            "Rolling to v2.3.1 failed on 1 of 3 hosts. app02: switched and started, and not healthy within 1m: "
            "HTTP 200, but status is 'starting', not 'healthy'."
        )
        assert error.untouched == (
            "Done on app01. Not done on app02. Not begun on app03, because too many had failed."
        )
        assert ssh_hosts.folders["app03"].release() == "v2.4.0"
        assert ssh_hosts.folders["app03"].log() == []
        assert runs(ssh_hosts.folders["app03"])
        found["app02"].says = {}
        outcome = await actuator().apply(ROLL, run_of(ssh_hosts))
    assert outcome.words == f"2 of 3 hosts {DONE} already, 1 {DONE}"
    assert ssh_hosts.folders["app02"].log() == ["stop", "start"]


async def test_some_failures_may_be_allowed(ssh_hosts: SshEstate) -> None:
    """With max_failures the later batches are begun all the same; the step still fails, and names the host."""
    await running(ssh_hosts)
    step = ROLL.model_copy(update={"max_failures": 1})
    async with faces(ssh_hosts, alive=True) as found:
        found["app01"].status = 500
        with pytest.raises(ActuatorError) as caught:
            await actuator().apply(step, run_of(ssh_hosts, step))
    assert caught.value.untouched == "Done on app02, app03. Not done on app01."


async def test_it_waits_for_health_before_the_next_batch(ssh_hosts: SshEstate) -> None:
    """A host that takes its time to become healthy holds the next batch back."""
    await running(ssh_hosts)
    async with faces(ssh_hosts, alive=True) as found:
        found["app01"].says = {"status": "starting"}

        def sleep(seconds: float) -> None:
            assert ssh_hosts.folders["app02"].log() == []
            if seconds >= 5:
                found["app01"].says.clear()

        clock = FakeClock(on_sleep=sleep)
        assert (await actuator().apply(ROLL, run_of(ssh_hosts, clock=clock))).words == f"3 of 3 hosts {DONE}"
    assert clock.monotonic() == 5


async def test_a_release_can_be_unpacked_instead_of_linked(ssh_hosts: SshEstate) -> None:
    """Without a release the artifact replaces the service's folder, host by host."""
    ssh_hosts.group["current"] = f"{ssh_hosts.only.base}/app"
    for folder in ssh_hosts.folders.values():
        (folder.root / "app").mkdir()
        folder.write("app/app", "v2.4.0")
    await running(ssh_hosts)
    step = RollRelease(id="roll", target="payments-app", backup="build", strip=1, serial="50%", version="v2.3.1")
    async with faces(ssh_hosts, alive=True):
        outcome = await actuator().apply(step, run_of(ssh_hosts, step))
        assert outcome.words == "3 of 3 hosts unpacked from v2.3.1.tar.gz, running, healthy on v2.3.1"
        assert (await actuator().observe(step, run_of(ssh_hosts, step))).presence is Presence.PRESENT
    assert ssh_hosts.only.has("app.before-rb-0004-20240115/app")


async def test_checks_tell_the_batches_and_change_nothing(ssh_hosts: SshEstate) -> None:
    """All is verified beforehand; batches that take the whole service down are pointed out."""
    await running(ssh_hosts)
    before = ssh_hosts.only.files()
    async with faces(ssh_hosts, alive=True):
        checks = await actuator().check(ROLL, run_of(ssh_hosts))
        assert {check.verdict for check in checks} == {Verdict.OK}
        assert (checks[-1].subject, checks[-1].words) == ("Batches of payments-app", "3 of 1, 1, 1 hosts")
        whole = ROLL.model_copy(update={"serial": ("100%",)})
        (*_, reach) = await actuator().check(whole, run_of(ssh_hosts, whole))
        assert (reach.verdict, reach.words) == (
            Verdict.WARN,
            "1 of 3 hosts: all hosts are down at the same time.",
        )
    assert ssh_hosts.only.files() == before


async def test_a_group_that_cannot_be_asked_for_health_is_not_rolled(ssh_hosts: SshEstate) -> None:
    """Without `health` in the inventory nothing would hold the next batch back: it is refused."""
    assert "how the hosts of this group tell their health" in fails(await actuator().check(ROLL, run_of(ssh_hosts)))
    assert (await actuator().observe(ROLL, run_of(ssh_hosts))).presence is Presence.UNKNOWN
    with pytest.raises(ActuatorError, match="tell their health"):
        await actuator().apply(ROLL, run_of(ssh_hosts))
    assert ssh_hosts.only.log() == []


async def test_hosts_that_are_down_fail_the_check(ssh_hosts: SshEstate) -> None:
    """No host is stopped for a roll that could not be finished."""
    async with faces(ssh_hosts):
        for server in ssh_hosts.servers.values():
            await server.stop()
        (found,) = await actuator().check(ROLL, run_of(ssh_hosts))
    assert found.verdict is Verdict.FAIL


def test_something_must_come_back() -> None:
    """A roll names a release or an artifact."""
    with pytest.raises(ValidationError, match="name what comes back"):
        RollRelease(id="roll", target="payments-app")
    assert RollRelease(id="roll", target="x", release="v1").words() == "Roll x to v1, batch by batch"
