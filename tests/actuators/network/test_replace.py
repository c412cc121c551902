"""network.replace against a Cisco router that goes back by itself."""

from __future__ import annotations

import asyncio
import hashlib
from pathlib import Path
from typing import Any

import pytest

from actuators.network import NetworkReplace, session
from actuators.network import ios as ios_module
from actuators.network.guarded import GuardedActuator
from actuators.network.ios import Ios
from bot.domain.actuation import Presence, Verdict
from bot.domain.errors import ActuatorError
from tests.actuators.network.cisco import Cisco
from tests.actuators.network.conftest import Site, told
from tests.actuators.network.worlds import FAILED, FILE, GOOD, MD5, REPLACE, juniper
from tests.support.actuation import fails
from tests.support.pgserver import free_port

ACTUATOR = GuardedActuator(Ios())
COMMAND = f"configure replace {FILE} force revert trigger error timer 5"


async def test_a_configuration_comes_back_confirmed_and_saved(ios: Site[Cisco]) -> None:
    """Replaced under the timer, looked at from a fresh login, confirmed, saved; a second run asks and leaves it."""
    context = ios.context(REPLACE)
    before = await ACTUATOR.observe(REPLACE, context)
    assert (before.presence, before.words) == (
        Presence.ABSENT,
        "edge differs from the wanted configuration in 4 lines; no change waits for its confirmation",
    )
    outcome = await ACTUATOR.apply(REPLACE, context)
    assert "gateway.internal answered 5 of 5 pings; route to 10.0.0.0/8" in outcome.words
    assert "Rollback Done" in outcome.output
    assert (ios.router.running, ios.router.startup, ios.router.pending) == (GOOD, GOOD, None)
    order = [word for word in ios.router.asked if word.startswith(("configure", "ping", "write"))]
    assert order == [COMMAND, "ping gateway.internal repeat 5 timeout 2", "configure confirm", "write memory"]
    assert len(ios.router.connections) == 3, "the connectivity is judged from a login of its own"
    assert (await ACTUATOR.observe(REPLACE, context)).presence is Presence.PRESENT
    again = await ACTUATOR.apply(REPLACE, context)
    assert again.words == "edge has the wanted configuration already"
    assert ios.router.asked.count(COMMAND) == 1


async def test_the_check_shows_the_change_without_secrets(ios: Site[Cisco]) -> None:
    """The approver sees each line that comes and goes, how it is pinned, what proves it, and the console."""
    state = ios.router.state()
    checks = await ACTUATOR.check(REPLACE, ios.context(REPLACE))
    assert not fails(checks)
    words = told(checks, Verdict.OK)
    assert f"{len(GOOD)} bytes, md5 as pinned" in words
    (change,) = [check for check in checks if check.subject == "Changes on edge"]
    assert change.words == "2 lines come, 2 go"
    assert change.detail.splitlines() == [
        "+enable secret 9 ***",
        "+ip route 10.0.0.0 255.0.0.0 10.1.1.1",
        "-enable secret 9 ***",
        "-ip route 10.0.0.0 255.0.0.0 10.1.1.9",
    ]
    assert [check for check in checks if check.seal] == [change]
    assert "needs pings to gateway.internal and routes 10.0.0.0/8, within 1m; else the device goes back" in words
    assert "by the console server: ssh -p 7001" in words
    assert ios.router.state() == state


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"privilege": 1}, "Current privilege level is 1"),
        ({"archive": False}, "Archive feature not enabled; without it the device cannot go back by itself"),
        ({"files": {}}, "there is no file"),
        ({"files": {FILE: f"{GOOD}!\n"}}, f"has {len(GOOD) + 2} bytes, not {len(GOOD)}"),
        ({"files": {FILE: GOOD.replace("$9$good", "$9$evil")}}, "is not the file of the plan: it has the md5"),
        ({"pending": (900.0, 15, GOOD)}, "a change waits for its confirmation there (timer: 15 min)"),
        ({"instead": {f"verify /md5 {FILE}": "%Error verifying"}}, "the md5 of flash:backup"),
        ({"instead": {"show archive config rollback timer": "% Invalid input"}}, "does not tell whether a change"),
        (
            {"instead": {f"show archive config differences system:running-config {FILE}": "% Bad"}},
            f"system:running-config and {FILE} cannot be compared: % Bad",
        ),
        ({"instead": {f"dir {FILE}": "Command authorization failed."}}, "Command authorization failed"),
    ],
)
async def test_what_would_go_wrong_is_found_beforehand(
    ios: Site[Cisco], change: dict[str, Any], words: str
) -> None:
    """Rights, the archive, the file and its pin, and a change of somebody else stop the rollback in the check."""
    for name, value in change.items():
        setattr(ios.router, name, value)
    found = fails(await ACTUATOR.check(REPLACE, ios.context(REPLACE)))
    assert words in found


async def test_what_is_not_known_is_a_warning(ios: Site[Cisco]) -> None:
    """Without hosts, routes and a console the approver is told that a login alone decides."""
    warned = told(
        await ACTUATOR.check(REPLACE, ios.context(REPLACE, ping=[], routes=[], out_of_band=None)), Verdict.WARN
    )
    assert "needs a fresh login alone, within 1m" in warned
    assert "no way to it is known" in warned


async def test_another_file_is_not_put_in_force(ios: Site[Cisco]) -> None:
    """The pin is compared once more right before the replacement, and nothing is replaced by another file."""
    ios.router.files[FILE] = GOOD.replace("good", "evil")
    with pytest.raises(ActuatorError, match="not the file of the plan"):
        await ACTUATOR.apply(REPLACE, ios.context(REPLACE))
    assert ios.router.running == FAILED
    assert COMMAND not in ios.router.asked


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (GOOD.replace("Ethernet0/1", "Ethernet9/1"), "Rollback aborted after 5 passes"),
        (GOOD.replace("end\n", ""), "The input file is not a valid config file"),
    ],
)
async def test_a_replacement_that_the_device_gives_up_is_an_error(
    ios: Site[Cisco], content: str, words: str
) -> None:
    """Only `Rollback Done` counts: what the device printed instead is told, and the old configuration is there."""
    ios.router.files[FILE] = content
    step = REPLACE.model_copy(update={"md5": None, "size": None, "sha512": _sha512(content)})
    with pytest.raises(ActuatorError, match="no `Rollback Done`") as caught:
        await ACTUATOR.apply(step, ios.context(step))
    assert words in caught.value.brief
    assert words in caught.value.output
    assert ios.router.running == FAILED
    assert (await ACTUATOR.observe(step, ios.context(step))).presence is Presence.ABSENT


def _sha512(content: str) -> str:
    return hashlib.sha512(content.encode()).hexdigest()


async def test_what_cuts_the_device_off_takes_itself_back(ios: Site[Cisco]) -> None:
    """A configuration that locks the bot out is never confirmed; the timer ends, and the old one is in force."""
    locking = GOOD.replace("end\n", "access-list 99 deny management\nend\n")
    ios.router.files[FILE] = locking
    step = REPLACE.model_copy(update={"md5": None, "size": None, "sha512": _sha512(locking)})
    with pytest.raises(ActuatorError, match="was changed and not confirmed") as caught:
        await ACTUATOR.apply(step, ios.context(step))
    assert "takes the change back by itself, by 2024-01-15 15:5" in caught.value.untouched
    assert "by the console server: ssh -p 7001" in caught.value.resolution
    assert "configure confirm" not in ios.router.asked
    assert (await ACTUATOR.observe(step, ios.context(step))).presence is Presence.UNKNOWN
    ios.later(300)
    seen = await ACTUATOR.observe(step, ios.context(step))
    assert (seen.presence, ios.router.running) == (Presence.ABSENT, FAILED)


async def test_lost_pings_keep_it_unconfirmed_and_a_retry_confirms_it(ios: Site[Cisco]) -> None:
    """While the change waits it is unknown, in words; tried again when all is reached, it is only confirmed."""
    ios.router.losing = 0.6
    context = ios.context(REPLACE)
    with pytest.raises(ActuatorError, match=r"gateway\.internal answered 2 of 5 pings \(60% lost, at most 20%"):
        await ACTUATOR.apply(REPLACE, context)
    seen = await ACTUATOR.observe(REPLACE, context)
    assert seen.presence is Presence.UNKNOWN
    assert "waits for its confirmation on edge (timer: 5 min); unconfirmed, the device takes it back" in seen.words
    assert ios.router.running == GOOD
    checks = await ACTUATOR.check(REPLACE, context)
    assert "waits for its confirmation there (timer: 5 min): it is this one" in told(checks, Verdict.WARN)
    ios.router.losing = 0.2
    await ACTUATOR.apply(REPLACE, context)
    assert (await ACTUATOR.observe(REPLACE, context)).presence is Presence.PRESENT
    assert ios.router.asked.count(COMMAND) == 1


async def test_routes_may_take_a_while(ios: Site[Cisco]) -> None:
    """What comes up within the time to settle is waited for, and then confirmed."""
    ios.router.losing = 1.0

    def heal(seconds: float) -> None:
        ios.router.losing = 0.0 if seconds >= 20 else 1.0

    ios.router.clock.on_sleep = heal
    await ACTUATOR.apply(REPLACE, ios.context(REPLACE))
    assert ios.router.clock.seconds == 20
    assert ios.router.running == ios.router.startup == GOOD
    assert "Not confirmed yet: gateway.internal answered 0 of 5" in ios.reports.seen[1].words


@pytest.mark.parametrize("command", ["configure replace", "configure confirm", "write memory"])
@pytest.mark.parametrize("carried_out", [True, False])
async def test_a_cut_session_is_taken_up_again(ios: Site[Cisco], command: str, *, carried_out: bool) -> None:
    """Wherever the connection is lost, a fresh login tells how far it came; nothing is done twice."""
    ios.router.cut = {command: carried_out}
    context = ios.context(REPLACE)
    if command == "configure replace" and not carried_out:
        with pytest.raises(ActuatorError, match=r"does not have the wanted configuration.*no change waits"):
            await ACTUATOR.apply(REPLACE, context)
        assert (await ACTUATOR.observe(REPLACE, context)).presence is Presence.ABSENT
    await ACTUATOR.apply(REPLACE, context)
    assert (ios.router.running, ios.router.startup, ios.router.pending) == (GOOD, GOOD, None)
    assert ios.router.asked.count(COMMAND) == (1 if carried_out or command != "configure replace" else 2)


async def test_a_replacement_that_still_goes_on_after_a_cut_is_waited_for(ios: Site[Cisco]) -> None:
    """While the timer runs and lines still differ the device is at work: nothing is confirmed before it is done."""

    def finish(seconds: float) -> None:
        del seconds
        ios.router.running = GOOD

    ios.router.cut = {"configure replace": True}
    ios.router.after_cut = f"{GOOD}ip host last 10.0.0.9\n"
    ios.router.clock.on_sleep = finish
    await ACTUATOR.apply(REPLACE, ios.context(REPLACE))
    assert "it is not the wanted one" in ios.reports.seen[1].words
    assert (ios.router.running, ios.router.pending) == (GOOD, None)


async def test_what_is_in_force_and_not_saved_is_not_there_yet(ios: Site[Cisco]) -> None:
    """A restart would lose it: so it is saved, once everything is reached, without replacing anything."""
    ios.router.running = GOOD
    seen = await ACTUATOR.observe(REPLACE, ios.context(REPLACE))
    assert seen.presence is Presence.ABSENT
    assert "a restart would lose it" in seen.words
    ios.router.instead["write memory"] = "startup-config file open failed (Device or resource busy)"
    with pytest.raises(ActuatorError, match=r"it is not saved: startup-config file open failed"):
        await ACTUATOR.apply(REPLACE, ios.context(REPLACE))
    ios.router.instead.clear()
    await ACTUATOR.apply(REPLACE, ios.context(REPLACE))
    assert ios.router.startup == GOOD
    assert COMMAND not in ios.router.asked


async def test_a_change_of_somebody_else_is_left_alone(ios: Site[Cisco]) -> None:
    """While another change waits for its confirmation nothing is replaced, and nothing confirmed."""
    ios.router.pending = (900.0, 15, GOOD)
    with pytest.raises(ActuatorError, match=r"another change waits for its confirmation \(timer: 15 min\)"):
        await ACTUATOR.apply(REPLACE, ios.context(REPLACE))
    assert ios.router.running == FAILED
    assert ios.router.pending is not None
    seen = await ACTUATOR.observe(REPLACE, ios.context(REPLACE))
    assert (seen.presence, "not the wanted one" in seen.words) == (Presence.UNKNOWN, True)


async def test_a_refused_confirmation_is_told(ios: Site[Cisco]) -> None:
    """What the device says to `configure confirm` decides, not that it said something."""
    ios.router.instead["configure confirm"] = "% Authorization failed."
    with pytest.raises(ActuatorError, match="the change is not confirmed: % Authorization failed"):
        await ACTUATOR.apply(REPLACE, ios.context(REPLACE))
    assert (await ACTUATOR.observe(REPLACE, ios.context(REPLACE))).presence is Presence.UNKNOWN


async def test_a_confirmation_that_changes_nothing_is_none(ios: Site[Cisco]) -> None:
    """What the device says is no proof: while the timer still runs afterwards nothing is done."""
    ios.router.instead["configure confirm"] = ""
    with pytest.raises(ActuatorError, match=r"was changed and not confirmed.*waits for its confirmation"):
        await ACTUATOR.apply(REPLACE, ios.context(REPLACE))


async def test_lines_that_the_device_writes_anew_do_not_count(ios: Site[Cisco]) -> None:
    """`ignore` names beginnings of lines that are no difference."""
    ios.router.running = ios.router.startup = f"{GOOD}ntp clock-period 17179865\n"
    assert (await ACTUATOR.observe(REPLACE, ios.context(REPLACE))).presence is Presence.ABSENT
    step = REPLACE.model_copy(update={"ignore": ("ntp clock-period",)})
    assert (await ACTUATOR.observe(step, ios.context(step))).presence is Presence.PRESENT


async def test_pages_are_turned(ios: Site[Cisco]) -> None:
    """A device that pages although it was told not to is read to the end all the same."""
    ios.router.pages_always = True
    ios.router.files[FILE] = GOOD + "".join(f"ip host host{number} 10.0.0.{number}\n" for number in range(60))
    seen = await ACTUATOR.observe(REPLACE, ios.context(REPLACE))
    assert "in 64 lines" in seen.words


async def test_a_question_is_left_to_people(ios: Site[Cisco], monkeypatch: pytest.MonkeyPatch) -> None:
    """The device's question is shown, and nobody answers it on a person's behalf."""
    monkeypatch.setattr(session, "PAUSE", 0.05)
    ios.router.instead["write memory"] = "Overwrite the previous NVRAM configuration?[confirm]"
    with pytest.raises(ActuatorError, match=r"asks 'Overwrite the previous NVRAM configuration\?\[confirm\]' at"):
        await ACTUATOR.apply(REPLACE, ios.context(REPLACE))


async def test_a_device_of_another_platform_is_refused(ios: Site[Cisco]) -> None:
    """The inventory's platform decides which step fits, and a device that speaks otherwise is found out."""
    assert "is of the platform junos" in fails(
        await ACTUATOR.check(REPLACE, ios.context(REPLACE, platform="junos"))
    )
    ios.router.instead["terminal length 0"] = "unknown command."
    found = fails(await ACTUATOR.check(REPLACE, ios.context(REPLACE)))
    assert "does not take 'terminal length 0', which every ios device does" in found


async def test_another_host_key_is_refused(ios: Site[Cisco], tmp_path: Path) -> None:
    """A device whose key is not on record is never logged in to."""
    known = tmp_path / "other_hosts"
    known.write_text(f"[127.0.0.1]:{ios.router.port} {juniper().key.export_public_key().decode()}")
    context = ios.context(REPLACE, known_hosts=str(known))
    assert "may be another machine" in fails(await ACTUATOR.check(REPLACE, context))
    assert ios.router.asked == []


async def test_a_password_logs_in_where_no_key_does(ios: Site[Cisco], monkeypatch: pytest.MonkeyPatch) -> None:
    """The password comes from its place, a wrong one is told without its value, and a missing one too."""
    ios.router.password = "correct-horse"
    context = ios.context(REPLACE, key=None, password={"env": "EDGE_PASSWORD"})
    assert "EDGE_PASSWORD is not set" in fails(await ACTUATOR.check(REPLACE, context))
    monkeypatch.setenv("EDGE_PASSWORD", "correct-horse")
    assert not fails(await ACTUATOR.check(REPLACE, context))
    monkeypatch.setenv("EDGE_PASSWORD", "wrong-horse")
    found = fails(await ACTUATOR.check(REPLACE, context))
    assert "the login as rollback" in found
    assert "horse" not in found


async def test_a_device_that_falls_silent_is_given_up(ios: Site[Cisco], monkeypatch: pytest.MonkeyPatch) -> None:
    """A command without an end is no answer, and what was asked is named."""
    monkeypatch.setattr(ios_module, "LONG", 0.1)
    ios.router.instead[f"verify /md5 {FILE}"] = "Proceed? [confirm]"
    monkeypatch.setattr(session, "PAUSE", 5.0)
    found = fails(await ACTUATOR.check(REPLACE, ios.context(REPLACE)))
    assert f"nothing more came for 0.1 seconds during 'verify /md5 {FILE}'" in found


async def test_a_device_that_cannot_be_talked_to_is_told_with_the_way_to_its_console(ios: Site[Cisco]) -> None:
    """Nobody listens, somebody never answers, or something else than SSH does: each in words."""

    async def mute(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    async def other(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        del reader
        writer.write(b"220 mail.example.org ESMTP\r\n" * 2000)
        writer.close()

    found = fails(await ACTUATOR.check(REPLACE, ios.context(REPLACE, port=free_port())))
    assert "cannot be reached" in found
    assert "by the console server: ssh -p 7001" in found
    for behaviour, words in ((mute, "gave no answer within 0.3 seconds"), (other, "broke off")):
        server = await asyncio.start_server(behaviour, "127.0.0.1")
        async with server:
            context = ios.context(REPLACE, port=server.sockets[0].getsockname()[1], connect_timeout="300ms")
            assert words in fails(await ACTUATOR.check(REPLACE, context))


async def test_a_login_without_a_shell_is_told(ios: Site[Cisco]) -> None:
    """A device that hangs up in place of a prompt is unknown, and refused beforehand."""
    ios.router.silent = True
    assert "during 'the login'" in fails(await ACTUATOR.check(REPLACE, ios.context(REPLACE)))
    seen = await ACTUATOR.observe(REPLACE, ios.context(REPLACE))
    assert seen.presence is Presence.UNKNOWN


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"md5": None}, "pin the file"),
        ({"file": "tftp://10.0.0.1/x.cfg"}, "file"),
        ({"file": "flash:x force\nreload"}, "file"),
        ({"confirm_within": "90s"}, "a multiple of 1m"),
        ({"confirm_within": "2h"}, "a multiple of 1m"),
        ({"confirm_within": "1m"}, "settle must end at least 30s before"),
        ({"every": "0s"}, "every must be longer"),
    ],
)
def test_a_step_that_cannot_be_carried_out_is_refused(fields: dict[str, Any], words: str) -> None:
    """No pin, storage elsewhere, a second command in a name, a timer that the device cannot keep."""
    document = {"id": "replace", "target": "edge", "file": FILE, "md5": MD5, **fields}
    with pytest.raises(ValueError, match=words):
        NetworkReplace.model_validate(document)
