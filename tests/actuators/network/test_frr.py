"""network.reload on a genuine FRR router that goes back by itself."""

from __future__ import annotations

import asyncio
import fcntl
import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from actuators.network import NetworkConnectivity, NetworkReload, frr, frr_scripts
from actuators.network.frr import Frr
from actuators.network.guarded import GuardedActuator
from actuators.network.platform import Standing
from bot.domain.actuation import Context, Presence, Verdict
from bot.domain.errors import ActuatorError
from bot.domain.inventory import FrrMachine, NetworkDevice
from tests.actuators.network.conftest import REGISTRY, told
from tests.actuators.network.genuine import FAILED, GOOD, Genuine, frr_router
from tests.support.actuation import RealClock, fails, make_context, make_plan
from tests.support.helping import remedies_of, run_remedy

pytestmark = [pytest.mark.real]
ACTUATOR = GuardedActuator(Frr())
ROOT = Path(__file__).parents[3]
GROUP = {
    "service": "payments",
    "hosts": [{"name": "here"}],
    "manager": {"kind": "systemd", "unit": "none"},
    "releases": "/nowhere",
    "current": "/nowhere/current",
}


@pytest.fixture
def router() -> Iterator[Genuine]:
    """Give a router with the failed configuration."""
    with frr_router() as found:
        yield found


def reload(router: Genuine, content: str | None = None, **fields: Any) -> NetworkReload:
    """Return the step that brings back the good configuration, or another one."""
    good = router.good()
    file, sha256 = router.keep("backup.conf", good if content is None else content)
    given = {"id": "router", "target": "edge", "file": file, "sha256": sha256, "settle": "0s", "every": "200ms"}
    return NetworkReload.model_validate({**given, "confirm_within": "5m", **fields})


def run_of(router: Genuine, step: Any, *, backups: tuple[dict[str, Any], ...] = (), **fields: Any) -> Context:
    """Return the context of a run in the machine's time, with fields of the entry changed."""
    inventory = {"devices": {"edge": {**router.entry, **fields}}, "server_groups": {"worker": GROUP}}
    return make_context(make_plan(step, backups=backups), inventory, clock=RealClock())


async def test_a_configuration_comes_back_confirmed_and_saved(router: Genuine) -> None:
    """Shown, kept, applied, looked at from a fresh login, confirmed, saved; a second run finds it and leaves it."""
    step = reload(router)
    context = run_of(router, step)
    before = router.state()
    checks = await ACTUATOR.check(step, context)
    assert not fails(checks)
    assert "SHA-256 as pinned, and FRR can read it" in told(checks, Verdict.OK)
    (change,) = [check for check in checks if check.subject == "Changes on edge"]
    assert change.words == "1 line comes, 1 goes"
    assert change.detail.splitlines() == [f"-{FAILED}", f"+{GOOD}"]
    seen = await ACTUATOR.observe(step, context)
    assert seen.presence is Presence.ABSENT
    assert seen.words.endswith("in 2 lines; no change waits for its confirmation")
    assert router.state() == before
    outcome = await ACTUATOR.apply(step, context)
    assert f"{router.gateway} answered 5 of 5 pings; route to 10.0.0.0/8" in outcome.words
    assert "10.0.0.0/8 nhid" in router.routes()
    assert "via 10.1.1.254 dev up0" in router.routes()
    assert GOOD in router.running()
    assert GOOD in router.startup.read_text()
    assert router.keepers() == []
    after = router.state()
    assert (await ACTUATOR.observe(step, context)).presence is Presence.PRESENT
    again = await ACTUATOR.apply(step, context)
    assert again.words == "edge has the wanted configuration already"
    assert router.state() == after


async def test_what_cuts_the_management_path_takes_itself_back(router: Genuine) -> None:
    """The router shuts the very interface of the session; nobody can confirm, and it comes back by itself."""
    good = router.good()
    locking = good.replace("!\nend", "!\ninterface mgmt\n shutdown\nexit\n!\nend")
    step = reload(router, locking, confirm_within="6s")
    context = run_of(router, step)
    (change,) = [check for check in await ACTUATOR.check(step, context) if check.seal]
    assert change.detail.splitlines()[-2:] == [" interface mgmt", "+ shutdown"]
    with pytest.raises(ActuatorError):
        await ACTUATOR.apply(step, context)
    router.until("reverted it was not confirmed in time")
    assert FAILED in router.running()
    assert "shutdown" not in router.running()
    assert "via 10.1.1.9 dev up0" in router.routes()
    seen = await ACTUATOR.observe(step, context)
    assert seen.presence is Presence.ABSENT
    assert seen.words.endswith("the latest change went back: it was not confirmed in time")
    assert FAILED in router.startup.read_text()


async def test_routes_that_are_not_the_baselines_keep_it_unconfirmed(router: Genuine, tmp_path: Path) -> None:
    """Each route that is gone, new or leads elsewhere is named; a retry with the right baseline confirms."""
    recorded = router.routes().replace("via 10.1.1.9", "via 10.1.1.254")
    wrong = f"{recorded}172.16.0.0/12 via 10.1.1.254 dev up0 proto static metric 20\n"
    step = reload(router, baseline="routes")
    with pytest.raises(ActuatorError, match=r"baseline: 172\.16\.0\.0/12 is gone \(it led over 10\.1\.1\.254\)"):
        await ACTUATOR.apply(step, run_of(router, step, backups=(baseline(router, wrong, tmp_path),)))
    right = run_of(router, step, backups=(baseline(router, recorded, tmp_path),))
    seen = await ACTUATOR.observe(step, right)
    assert seen.presence is Presence.UNKNOWN
    assert " s left); unconfirmed, the device takes it back by itself" in seen.words
    assert len(router.keepers()) == 1
    checks = told(await ACTUATOR.check(step, right), Verdict.OK)
    assert "and just the 3 routes of the baseline, within 0s" in checks
    outcome = await ACTUATOR.apply(step, right)
    assert outcome.words.endswith("its 3 routes are those of the baseline)")
    assert router.keepers() == []
    probe = NetworkConnectivity.model_validate(
        {"id": "reached", "target": "edge", "paths": [{"to": router.gateway}]}
    )
    looked = await REGISTRY.actuator(probe).apply(probe, run_of(router, probe))
    assert f"the way to {router.gateway} leads over {router.gateway}" in looked.words


def baseline(router: Genuine, content: str, folder: Path) -> dict[str, Any]:
    """Return a backup with recorded routes, on the worker's machine."""
    del folder
    path, sha256 = router.keep("routes-baseline.txt", content)
    taken = {"taken_at": "2024-01-15 14:30", "kind": "configuration", "target": "worker"}
    return {"id": "routes", "location": path, "sha256": sha256, **taken}


KILLED = """
import asyncio, json, sys
from actuators.network import NetworkReload
from tests.actuators.network.test_frr import ACTUATOR
from tests.support.actuation import RealClock, make_context, make_plan
given = json.load(sys.stdin)
step = NetworkReload.model_validate(given["step"])
asyncio.run(ACTUATOR.apply(step, make_context(make_plan(step), given["inventory"], clock=RealClock())))
"""


async def test_a_bot_that_dies_leaves_a_router_that_goes_back(router: Genuine) -> None:
    """Killed between apply and confirm: unknown while it waits, and a retry confirms it without doing it twice."""
    step = reload(router, settle="15s")
    away = {"devices": {"edge": {**router.entry, "ping": ["10.1.1.77"]}}}
    given = json.dumps({"step": step.model_dump(mode="json"), "inventory": away})
    bot = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", KILLED), stdin=asyncio.subprocess.PIPE, cwd=ROOT, start_new_session=True
    )
    assert bot.stdin is not None
    bot.stdin.write(given.encode())
    bot.stdin.close()
    await asyncio.to_thread(router.until, "waiting")
    os.killpg(bot.pid, signal.SIGKILL)
    await bot.wait()
    context = run_of(router, step)
    assert GOOD in router.running()
    assert FAILED in router.startup.read_text()
    assert (await ACTUATOR.observe(step, context)).presence is Presence.UNKNOWN
    kept = sorted(router.folder.glob("*.change"))
    await ACTUATOR.apply(step, context)
    assert sorted(router.folder.glob("*.change")) == kept
    assert (await ACTUATOR.observe(step, context)).presence is Presence.PRESENT


async def test_somebody_elses_change_since_the_approval_stops_it(router: Genuine) -> None:
    """The new difference is shown and nothing is done; a remedy does just that, unless it changes once more."""
    step = reload(router)
    checks = await ACTUATOR.check(step, run_of(router, step))
    (seal,) = [check.seal for check in checks if check.seal]
    context = approving(run_of(router, step), step, seal)
    router.configure("ip route 192.168.7.0/24 10.1.1.9")
    with pytest.raises(ActuatorError, match="Somebody changed edge since the approval") as caught:
        await ACTUATOR.apply(step, context)
    assert "-ip route 192.168.7.0/24 10.1.1.9" in caught.value.output
    assert FAILED in router.running()
    assert list(router.folder.iterdir()) == []
    *_, now = await remedies_of(REGISTRY, step, context, caught.value.brief)
    assert now.id == "as-it-is-now"
    assert "1 line comes, 2 go" in now.words
    await run_remedy(REGISTRY, now, context)
    assert "192.168.7.0" not in router.running()
    assert (await ACTUATOR.observe(step, context)).presence is Presence.PRESENT


def approving(context: Context, step: NetworkReload, seal: str) -> Context:
    """Return the run after somebody approved a seal."""
    return Context(**{**vars(context), "approved": {step.id: seal}})


async def test_a_file_that_frr_cannot_read_changes_nothing(router: Genuine) -> None:
    """To FRR it would be an empty one, and all would go: it is refused in the check and before the replacement."""
    step = reload(router, "bogus line\n")
    context = run_of(router, step)
    assert "Unknown command: bogus line" in fails(await ACTUATOR.check(step, context))
    with pytest.raises(ActuatorError, match="cannot be compared"):
        await ACTUATOR.apply(step, context)
    assert FAILED in router.running()


async def test_what_frr_does_not_take_is_taken_back_at_once(router: Genuine) -> None:
    """A configuration for a daemon that does not run fails half way, and does not wait for the timer."""
    good = router.good()
    half = good.replace("!\nend", "!\nrouter bgp 65001\n neighbor 10.1.1.9 password hushhush\nexit\n!\nend")
    step = reload(router, half, confirm_within="1h")
    context = run_of(router, step)
    (change,) = [check for check in await ACTUATOR.check(step, context) if check.seal]
    assert "+ neighbor 10.1.1.9 password ***" in change.detail
    with pytest.raises(
        ActuatorError, match=r"is not in force: FRR did not take all of it: neighbor 10\.1\.1\.9 password \*\*\*"
    ) as caught:
        await ACTUATOR.apply(step, context)
    assert caught.value.untouched == "The router went back: the configuration from before is in force."
    assert FAILED in router.running()
    assert router.keepers() == []


async def test_a_folder_that_cannot_be_entered_tells_nothing(router: Genuine) -> None:
    """Whether a change waits is not known then: no look reads as if none did."""
    machine = {**router.entry["frr"], "folder": str(router.startup)}
    step = reload(router)
    seen = await ACTUATOR.observe(step, run_of(router, step, frr=machine))
    assert (seen.presence, "what waits cannot be told" in seen.words) == (Presence.UNKNOWN, True)


@pytest.mark.parametrize("state", ["applying", "reverting late", "waiting"])
def test_only_what_waits_is_confirmed(tmp_path: Path, state: str) -> None:
    """A change that is not in force yet, or goes back, is not confirmed, and neither is it later after all."""
    change = tmp_path / "rb.change"
    change.mkdir()
    (tmp_path / "lock").write_text("rb\n")
    (change / "state").write_text(f"{state}\n")
    patient = frr_scripts.CONFIRM.replace("-lt 50", "-lt 2")
    with (tmp_path / "lock").open() as kept:
        fcntl.flock(kept, fcntl.LOCK_EX)
        argv = ["sh", "-c", patient, "sh", str(tmp_path)]
        done = subprocess.run(argv, capture_output=True, text=True, timeout=20, check=False)
    assert (done.returncode, state in done.stdout) == (1, True)
    assert not (change / "confirm").exists()


async def test_a_keeper_that_was_killed_leaves_what_a_restart_takes_back(router: Genuine) -> None:
    """Nothing waits any more, and nothing is saved: it is not there yet, and a retry looks, and saves it."""
    step = reload(router, settle="0s")
    with pytest.raises(ActuatorError, match="was changed and not confirmed"):
        await ACTUATOR.apply(step, run_of(router, step, ping=["10.1.1.77"]))
    (keeper,) = router.keepers()
    os.kill(keeper, signal.SIGKILL)
    await until_free(router)
    context = run_of(router, step)
    async with Frr().opened("edge", NetworkDevice.model_validate(router.entry)) as session:
        with pytest.raises(ActuatorError, match="the change is not confirmed: none waits"):
            await Frr().confirm(session, step, context)
    seen = await ACTUATOR.observe(step, context)
    assert seen.words == "The wanted configuration is in force on edge, and not saved: a restart would lose it"
    assert FAILED in router.startup.read_text()
    await ACTUATOR.apply(step, context)
    assert GOOD in router.startup.read_text()


@pytest.mark.parametrize(
    ("first", "words"),
    [
        ("vtysh -N {name} -c 'configure terminal' -c 'ip route 10.7.0.0/16 10.1.1.9'", "since it was looked at"),
        ("echo 'ip route 10.7.0.0/16 10.1.1.9' >>{file}", "nothing was changed: .* is another one than the plan's"),
        ("exit 0", "FRR is still at work"),
    ],
)
async def test_the_keeper_looks_once_more_under_its_lock(
    router: Genuine, monkeypatch: pytest.MonkeyPatch, first: str, words: str
) -> None:
    """What somebody does between look and lock stops it, and a keeper that is not heard is no success."""
    step, real = reload(router), frr_scripts.begin
    race = first.format(name=router.name, file=step.file)
    monkeypatch.setattr(frr_scripts, "begin", lambda machine: f"{race}\n{real(machine)}")
    monkeypatch.setattr(frr, "_SLICE", 2.0)
    monkeypatch.setattr(frr, "_PATIENCE", 3.0)
    context = run_of(router, step)
    async with Frr().opened("edge", NetworkDevice.model_validate(router.entry)) as session:
        before = await Frr().look(session, step)
        with pytest.raises(ActuatorError, match="since it was looked at"):
            await Frr().begin(session, step, context, Standing(("+something else",), ""))
        with pytest.raises(ActuatorError, match=words):
            await Frr().begin(session, step, context, before)
    assert FAILED in router.running()
    assert router.keepers() == []


async def test_a_way_back_that_fails_is_told(router: Genuine, monkeypatch: pytest.MonkeyPatch) -> None:
    """A router whose routing daemon dies while a change waits cannot go back; the next look says so."""
    monkeypatch.setattr(frr_scripts, "_TRIES", 1)
    step = reload(router)
    with pytest.raises(ActuatorError, match="was changed and not confirmed"):
        await ACTUATOR.apply(step, run_of(router, step, ping=["10.1.1.77"]))
    router.kill("staticd")
    (change,) = router.folder.glob("*.change")
    (change / "back").touch()
    await asyncio.to_thread(router.until, "stuck FRR did not take all of it")
    seen = await ACTUATOR.observe(step, run_of(router, step))
    assert "; the latest change could not go back (FRR did not take all of it): see the log" in seen.words


async def test_what_cannot_be_saved_is_told(router: Genuine) -> None:
    """Confirmed and in force is not saved: FRR's `[OK]` decides, and a retry only saves."""
    step = reload(router)
    router.writable(yes=False)
    with pytest.raises(ActuatorError, match="it is not saved"):
        await ACTUATOR.apply(step, run_of(router, step))
    router.writable(yes=True)
    await ACTUATOR.apply(step, run_of(router, step))
    assert GOOD in router.startup.read_text()


async def until_free(router: Genuine) -> None:
    """Wait until the lock is free: a child of the keeper may hold it a moment longer."""
    await asyncio.to_thread(subprocess.run, ["flock", "-s", str(router.folder / "lock"), "true"], check=True)


async def test_what_is_saved_and_what_does_not_count(router: Genuine) -> None:
    """What a restart could not load is not saved; `ignore` names lines that the router has by itself."""
    router.startup.unlink()
    router.configure(f"no {FAILED}", GOOD)
    named = re.sub(r"hostname .*", "hostname another", router.good())
    step = reload(router, named)
    assert (
        "differs from the wanted configuration in 2 lines"
        in (await ACTUATOR.observe(step, run_of(router, step))).words
    )
    step = step.model_copy(update={"ignore": ("hostname",)})
    assert "a restart would lose it" in (await ACTUATOR.observe(step, run_of(router, step))).words
    await ACTUATOR.apply(step, run_of(router, step))
    assert GOOD in router.startup.read_text()


@pytest.mark.parametrize(
    ("break_it", "words"),
    [
        ("file", r"cannot be read: sha256sum: .*No such file"),
        ("content", r"is not the file of the plan: it has the SHA-256"),
        ("folder", r"there is no folder .*; without it nothing could go back"),
        ("open", r"can be read by everybody; without it nothing could go back"),
        ("rights", r"sudo: "),
        ("baseline", r"The plan has no backup routes"),
    ],
)
async def test_what_would_go_wrong_is_found_beforehand(router: Genuine, break_it: str, words: str) -> None:
    """The file and its pin, the place for the way back, the rights, and the baseline stop it in the check."""
    step = reload(router, baseline="routes" if break_it == "baseline" else None)
    fields: dict[str, Any] = {}
    if break_it == "file":
        step = step.model_copy(update={"file": f"{step.file}.gone"})
    elif break_it == "content":
        router.keep("backup.conf", "!\n")
    elif break_it == "folder":
        fields = {"frr": {**router.entry["frr"], "folder": "/nowhere/at-all"}}
    elif break_it == "open":
        router.folder.chmod(0o777)
    elif break_it == "rights":
        fields = {"frr": {**router.entry["frr"], "run_as": "nobody-knows-it"}}
    found = fails(await ACTUATOR.check(step, run_of(router, step, **fields)))
    assert re.search(words, found), found


async def test_a_change_of_somebody_else_is_left_alone(router: Genuine) -> None:
    """While another keeper holds the folder nothing is replaced, whoever started it."""
    other = reload(router, router.good().replace("254", "77"), settle="15s")
    away = run_of(router, other, ping=["10.1.1.77"])
    doing = asyncio.create_task(ACTUATOR.apply(other, away))  # noqa: TID251 - cancelled and awaited below
    await asyncio.to_thread(router.until, "waiting")
    doing.cancel()
    await asyncio.gather(doing, return_exceptions=True)
    step = reload(router)
    with pytest.raises(ActuatorError, match="another change waits for its confirmation"):
        await ACTUATOR.apply(step, run_of(router, step))
    assert "10.1.1.77" in router.running()


async def test_the_log_tells_the_routers_side(router: Genuine) -> None:
    """Version, log, the change that was kept with FRR's words, routes and the difference, in one output."""
    step = reload(router)
    log, *_ = await remedies_of(REGISTRY, step, run_of(router, step))
    outcome = await run_remedy(REGISTRY, log, run_of(router, step))
    assert "FRRouting" in outcome.output
    assert f"no {FAILED}" in outcome.output
    assert "10.0.0.0/8 nhid" in outcome.output


def test_the_scripts_are_posix_shell() -> None:
    """A shell reads every one of them without a complaint."""
    machine = FrrMachine()
    for script in (frr_scripts.begin(machine), frr_scripts.STATE, frr_scripts.WAIT, frr_scripts.CONFIRM):
        subprocess.run(["sh", "-n", "-c", script], check=True)
