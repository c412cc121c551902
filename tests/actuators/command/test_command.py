"""An allow-listed command on real hosts: what is run, how often, and what is known when something goes wrong."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from actuators.command import CommandActuator, RunCommand, register
from actuators.command_look import LookActuator, LookAtCommand
from bot.domain.actuation import Check, Context, Fault, Observation, Outcome, Presence, Verdict
from bot.domain.errors import ActuatorError
from tests.actuators.command.conftest import allow, observing
from tests.support.actuation import fails
from tests.support.hosts import Estate, Signal, local_estate
from tests.support.ssh import SshEstate

RUN = CommandActuator()


def step(**more: Any) -> RunCommand:
    """Return the step that flips to green."""
    base = {"id": "flip", "target": "payments-app", "command": "flip", "parameters": {"side": "green"}}
    return RunCommand.model_validate({**base, **more})


def here(folder: Path, **more: Any) -> Estate:
    """Return a host that is this machine."""
    estate = local_estate(folder / "host")
    allow(estate, **more)
    return estate


async def apply(estate: Estate, wanted: RunCommand | None = None) -> Outcome:
    """Run the step."""
    wanted = wanted or step()
    return await RUN.apply(wanted, estate.context(wanted))


async def observe(estate: Estate, wanted: RunCommand | None = None) -> Observation:
    """Look at the step."""
    wanted = wanted or step()
    return await RUN.observe(wanted, estate.context(wanted))


async def check(estate: Estate, wanted: RunCommand | None = None) -> tuple[Check, ...]:
    """Check the step."""
    wanted = wanted or step()
    return await RUN.check(wanted, estate.context(wanted))


async def look(estate: Estate) -> Outcome:
    """Run the diagnosis that is offered."""
    wanted = step()
    context = estate.context(wanted)
    (remedy,) = await RUN.remedies(wanted, Fault("it failed"), context)
    assert isinstance(remedy.step, LookAtCommand)
    return await LookActuator().apply(remedy.step, context)


async def test_runs_once_on_every_host(estate: Estate) -> None:
    """Locally, over SSH and behind a real sshd it runs once a host, is told with its output, and notes its end."""
    allow(estate)
    assert {each.verdict for each in await check(estate)} == {Verdict.OK}
    assert (await observe(estate)).presence is Presence.ABSENT
    outcome = await apply(estate)
    names = list(estate.folders)
    assert outcome.facts == {"hosts": dict.fromkeys(names, "done")}
    assert "flipping to green, password=***" in outcome.output
    assert "hunter2" not in outcome.output
    assert (await observe(estate)).presence is Presence.PRESENT
    again = await apply(estate)
    assert again.facts == {"hosts": dict.fromkeys(names, "done already")}
    assert again.output == ""
    for folder in estate.folders.values():
        assert folder.log("flips") == ["<green>"]
        assert not [name for name in folder.files() if name.endswith(".tmp")]
    progress = estate.reports.seen[-1]
    assert (progress.done, progress.total, progress.unit) == (len(names), len(names), "hosts")


async def test_the_approver_reads_exactly_what_will_be_run(tmp_path: Path) -> None:
    """The check shows the argument list, and warns where the step ends before the command may."""
    estate = here(tmp_path, timeout="10m")
    shown = (await check(estate))[0]
    assert shown.verdict is Verdict.WARN
    assert shown.detail == f"{estate.only.base}/bin/flip green"
    assert "stopped after 2 minutes, and the command may take 10 minutes" in shown.words
    assert (await check(estate, step(timeout="15m")))[0].verdict is Verdict.OK


@pytest.mark.parametrize(
    ("more", "says"),
    [
        ({"command": "flop"}, "allows no command flop on payments-app. Allowed: flip."),
        ({"parameters": {}}, "the parameter side is missing"),
        ({"parameters": {"side": "green; rm -rf /"}}, "does not match green|blue in full"),
        ({"parameters": {"side": "green\n"}}, "does not match green|blue in full"),
        ({"parameters": {"side": "green", "force": "yes"}}, "there is no parameter force"),
        ({"target": "nobody"}, "nobody is not in the inventory"),
    ],
)
async def test_what_is_not_allowed_is_refused(tmp_path: Path, more: dict[str, Any], says: str) -> None:
    """What the inventory does not allow is refused before the approval and again before anything is run."""
    estate, wanted = here(tmp_path), step(**more)
    assert says in fails(await check(estate, wanted))
    seen = await observe(estate, wanted)
    assert seen.presence is Presence.UNKNOWN
    with pytest.raises(ActuatorError, match=r"No host was contacted|Nothing was contacted"):
        await apply(estate, wanted)
    assert not estate.only.has("flips")


async def test_no_shell_looks_at_a_parameter(one_ssh_host: SshEstate) -> None:
    """A value is one argument to the letter, over SSH as well, whatever characters its pattern lets through."""
    allow(one_ssh_host, parameters={"side": ".+"})
    value = "$(touch pwned) `id`; a 'b' \"c\" * {side} && x"
    await apply(one_ssh_host, step(parameters={"side": value}))
    assert one_ssh_host.only.log("flips") == [f"<{value}>"]
    assert one_ssh_host.only.read("side") == value
    assert not one_ssh_host.only.has("pwned")


async def test_a_failure_goes_to_a_person(tmp_path: Path) -> None:
    """An exit code that is not declared leaves the outcome unknown; the diagnosis shows what was said."""
    estate = here(tmp_path)
    assert "it noted no beginning" in (await look(estate)).output
    estate.only.write("broken", "")
    with pytest.raises(ActuatorError) as failed:
        await apply(estate)
    assert "app01: flip ended with exit code 7" in failed.value.brief
    assert not failed.value.transient
    assert "no such side" in failed.value.output
    seen = await observe(estate)
    assert seen.presence is Presence.UNKNOWN
    assert "ended with exit code 7, and what it did cannot be told" in seen.words
    assert seen.facts == {"hosts": {"app01": "not known"}}
    shown = await look(estate)
    assert "it began and ended with exit code 7" in shown.output
    assert "no such side" in shown.output
    (estate.only.root / "broken").unlink()
    await apply(estate)
    assert (await observe(estate)).presence is Presence.PRESENT
    assert "done" in (await look(estate)).words


async def test_output_that_is_no_text(estate: Estate) -> None:
    """Whatever bytes a program prints, its run is noted, and only what can be shown is shown."""
    allow(estate)
    for folder in estate.folders.values():
        folder.write("bin/flip", "#!/bin/sh\nprintf 'a\\000b\\033[31m\\377\\303\\251 %%s end\\n'\n", mode=0o755)
    outcome = await apply(estate)
    assert "ab[31m\ufffdé %s end" in outcome.output
    assert (await observe(estate)).presence is Presence.PRESENT
    assert "é %s end" in (await look(estate)).output


async def test_declared_exit_codes_count_as_done(tmp_path: Path) -> None:
    """A program may say that it did its work by another code than 0."""
    estate = here(tmp_path, exit_codes=[0, 3])
    estate.only.write("odd", "")
    await apply(estate)
    assert (await observe(estate)).presence is Presence.PRESENT


async def test_a_death_in_the_middle_goes_to_a_person(one_ssh_host: SshEstate) -> None:
    """A command that noted its beginning and no end is unknown, wherever the worker or the connection was lost."""
    allow(one_ssh_host)
    began = Signal(one_ssh_host.only.root / "began")
    (host,) = one_ssh_host.servers.values()
    try:
        running = asyncio.ensure_future(apply(one_ssh_host))  # noqa: TID251 - awaited below
        assert await began.line() == "began"
        host.cut()
        with pytest.raises(ActuatorError) as lost:
            await running
    finally:
        began.close()
    assert not lost.value.transient
    (one_ssh_host.only.root / "began").unlink()
    seen = await observe(one_ssh_host)
    assert seen.presence is Presence.UNKNOWN
    assert "the command began and noted no end" in seen.words
    assert "it began and noted no end" in (await look(one_ssh_host)).output
    await apply(one_ssh_host)
    assert (await observe(one_ssh_host)).presence is Presence.PRESENT


async def test_too_slow(tmp_path: Path) -> None:
    """A command that does not end in its time is stopped, and not repeated without looking."""
    estate = here(tmp_path, timeout="300ms")
    estate.only.write("slow", "")
    with pytest.raises(ActuatorError, match=r"longer than 0\.3 seconds") as slow:
        await apply(estate)
    assert not slow.value.transient
    assert (await observe(estate)).presence is Presence.UNKNOWN


async def test_the_effect_is_observed(tmp_path: Path) -> None:
    """Where a command can look, it decides: present is left alone, absent is brought about, all else is unknown."""
    estate = here(tmp_path, markers=None)
    estate.group["commands"]["flip"]["observe"] = observing(estate)
    assert "1 of 1 host lack the effect" in (await check(estate))[3].words
    assert (await observe(estate)).presence is Presence.ABSENT
    assert (await look(estate)).facts == {"hosts": {"app01": "not done"}}
    await apply(estate)
    assert (await observe(estate)).presence is Presence.PRESENT
    await apply(estate)
    assert estate.only.log("flips") == ["<green>"]
    assert "side: green" in (await look(estate)).output
    assert not list((estate.only.root / "markers").iterdir())
    estate.only.write("mute", "")
    seen = await observe(estate)
    assert seen.presence is Presence.UNKNOWN
    assert "ended with exit code 9, which says nothing" in seen.words
    assert "which says nothing" in fails(await check(estate))
    assert (await look(estate)).facts == {"hosts": {"app01": "not known"}}


async def test_the_output_decides_as_well(tmp_path: Path) -> None:
    """An expression that the output must hold tells an effect from an exit code of 0 alone."""
    estate = here(tmp_path, markers=None)
    estate.group["commands"]["flip"]["observe"] = observing(estate, output="side: blue")
    estate.only.write("side", "green")
    assert (await observe(estate)).presence is Presence.ABSENT


async def test_what_may_still_run_is_unknown(tmp_path: Path) -> None:
    """Where the effect is not there and the command noted no end, it may still be at work: nobody repeats it."""
    estate = here(tmp_path)
    estate.group["commands"]["flip"]["observe"] = observing(estate)
    estate.only.write("slow", "")
    estate.group["commands"]["flip"]["timeout"] = "300ms"
    with pytest.raises(ActuatorError, match="longer than"):
        await apply(estate)
    seen = await observe(estate)
    assert seen.presence is Presence.UNKNOWN
    assert "it may still run" in seen.words


async def test_by_sudo_exactly_as_allowed(one_ssh_host: SshEstate) -> None:
    """By sudo the command is run to the letter, so that sudoers may allow just that; markers need no sudo."""
    allow(one_ssh_host, sudo=True)
    assert {each.verdict for each in await check(one_ssh_host)} == {Verdict.OK}
    await apply(one_ssh_host)
    assert one_ssh_host.only.log("sudo.log") == [f"{one_ssh_host.only.base}/bin/flip green"]
    blue = step(parameters={"side": "blue"}, id="blue")
    assert "sudo refuses" in fails(await check(one_ssh_host, blue))
    with pytest.raises(ActuatorError, match="sudo refuses"):
        await apply(one_ssh_host, blue)
    assert (await observe(one_ssh_host, blue)).presence is Presence.ABSENT, "nothing was run, and that is known"


async def test_sudo_that_only_looks(one_ssh_host: SshEstate) -> None:
    """A refused observing command by sudo is no answer."""
    allow(one_ssh_host, markers=None)
    one_ssh_host.group["commands"]["flip"]["observe"] = observing(one_ssh_host, sudo=True)
    seen = await observe(one_ssh_host)
    assert seen.presence is Presence.UNKNOWN
    assert "a password is required" in seen.words
    with pytest.raises(ActuatorError, match="sudo refuses"):
        await apply(one_ssh_host)
    assert not one_ssh_host.only.has("flips")


async def test_sudo_refused_without_markers(one_ssh_host: SshEstate) -> None:
    """Without sudo's leave nothing is run, whichever way the effect is told."""
    allow(one_ssh_host, sudo=True)
    one_ssh_host.only.write("sudoers", "")
    with pytest.raises(ActuatorError, match="sudo refuses"):
        await apply(one_ssh_host)
    assert not list((one_ssh_host.only.root / "markers").iterdir())


async def test_secret_output_is_shown_to_nobody(tmp_path: Path) -> None:
    """Neither outcome, failure nor marker holds what a command says whose output is secret."""
    estate = here(tmp_path, output_secret=True)
    outcome = await apply(estate)
    assert "flipping" not in outcome.output
    estate.only.write("broken", "")
    with pytest.raises(ActuatorError) as failed:
        await apply(estate, step(id="again"))
    assert "no such side" not in str(failed.value) + failed.value.output
    assert all("flipping" not in file.read_text() for file in (estate.only.root / "markers").iterdir())


async def test_what_is_missing_is_found_beforehand(tmp_path: Path) -> None:
    """A program that is not there or cannot be run, and a folder that is not, are found by the check."""
    estate = here(tmp_path)
    (estate.only.root / "bin/flip").chmod(0o644)
    assert "is no program that the login can run" in fails(await check(estate))
    (estate.only.root / "bin/flip").unlink()
    (estate.only.root / "markers").rmdir()
    found = fails(await check(estate))
    assert "there is no" in found
    assert "cannot write to the marker" in found
    assert "folder" in found
    assert (await observe(estate)).presence is Presence.UNKNOWN
    with pytest.raises(ActuatorError, match="cannot be entered"):
        await apply(estate)


async def test_markers_of_others_are_left_alone(tmp_path: Path) -> None:
    """A file that is no marker, or one of another command, stops the step: nothing is run over it."""
    estate = here(tmp_path)
    (context, wanted) = (estate.context(step()), step())
    marker = estate.only.root / "markers" / f"{context.token(wanted)}.app01"
    for text, says in (("hello\n", "no marker of this bot"), (f"ended {'0' * 64} 0\n", "another command")):
        marker.write_text(text)
        assert (await observe(estate)).presence is Presence.UNKNOWN
        with pytest.raises(ActuatorError, match=says):
            await apply(estate)
        assert marker.read_text() == text
    assert not estate.only.has("flips")


async def test_hosts_that_fail_are_named(ssh_hosts: SshEstate) -> None:
    """One host's failure stops none of the others, and each is told apart."""
    allow(ssh_hosts)
    second = list(ssh_hosts.folders.values())[1]
    second.write("broken", "")
    with pytest.raises(ActuatorError) as failed:
        await apply(ssh_hosts)
    assert "failed on 1 of 3 hosts. app02: flip ended with exit code 7." in failed.value.brief
    assert [len(folder.log("flips")) for folder in ssh_hosts.folders.values()] == [1, 1, 1]
    await ssh_hosts.servers["app03"].stop()
    seen = await observe(ssh_hosts)
    assert seen.facts == {"hosts": {"app01": "done", "app02": "not known", "app03": "unreachable"}}
    shown = await look(ssh_hosts)
    assert "app03: unreachable" in shown.output


async def test_many_hosts_are_not_all_quoted(tmp_path: Path) -> None:
    """The output of the first hosts stands for the rest."""
    estate = here(tmp_path)
    estate.group["hosts"] = [{"name": f"app{number:02d}"} for number in range(1, 8)]
    outcome = await apply(estate)
    assert outcome.output.count("flipping to green") == 5
    assert outcome.output.endswith("... and 2 more hosts")
    assert len(list((estate.only.root / "markers").iterdir())) == 7


async def test_no_host_answers(one_ssh_host: SshEstate) -> None:
    """When no host can be reached, the check says so and asks nothing more; so does the diagnosis."""
    allow(one_ssh_host)
    await next(iter(one_ssh_host.servers.values())).stop()
    checks = await check(one_ssh_host)
    assert [each.verdict for each in checks] == [Verdict.OK, Verdict.FAIL]
    wanted = LookAtCommand(
        id="look", target="payments-app", command="flip", parameters={"side": "green"}, run_as="flip"
    )
    (found,) = await LookActuator().check(wanted, one_ssh_host.context(wanted))
    assert found.verdict is Verdict.WARN


async def test_no_remedy_without_a_command(tmp_path: Path) -> None:
    """A command that is not allowed, or a group that is unknown, has nothing that could be looked at."""
    estate = here(tmp_path)
    for wanted in (step(command="flop"), step(target="nobody")):
        context: Context = estate.context(wanted)
        assert await RUN.remedies(wanted, Fault("it failed"), context) == ()
    unknown = LookAtCommand(id="look", target="payments-app", command="flop", run_as="flip")
    (found,) = await LookActuator().check(unknown, estate.context(unknown))
    assert found.verdict is Verdict.FAIL


async def test_a_login_that_runs_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A host that lets nobody run anything is found before the approval."""
    estate = here(tmp_path)
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin/true").write_text("#!/bin/sh\necho 'this account is not available' >&2\nexit 1\n")
    (tmp_path / "bin/true").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}/bin:/usr/bin:/bin")
    assert "commands cannot be run: this account is not available" in fails(await check(estate))


def test_words() -> None:
    """A step and its diagnosis say what they do."""
    assert [entry.model.model_fields["kind"].default for entry in register()] == ["command.run", "command.look"]
    assert step().words() == "Run flip on payments-app"
    look_at = LookAtCommand(id="look", target="payments-app", command="flip", run_as="flip")
    assert look_at.words() == "What came of flip on payments-app"
