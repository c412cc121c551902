"""What was shown at the approval is what is done: the difference is sealed, and compared right before."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from actuators.network import NetworkReplace, values
from actuators.network.guarded import GuardedActuator
from actuators.network.ios import Ios
from actuators.network.junos import Junos
from actuators.network.platform import Standing
from bot.domain.actuation import Context, Presence, Remedy
from bot.domain.errors import ActuatorError
from bot.domain.inventory import Inventory
from tests.actuators.network.cisco import Cisco
from tests.actuators.network.conftest import REGISTRY, Site
from tests.actuators.network.juniper import Commit, Juniper
from tests.actuators.network.worlds import FAILED, GOOD, J_FAILED, J_GOOD, REPLACE, ROLLBACK
from tests.support.helping import remedies_of, run_remedy

IOS, JUNOS = GuardedActuator(Ios()), GuardedActuator(Junos())
COMMAND = "configure replace"


async def approved(actuator: Any, step: Any, context: Context) -> Context:
    """Return the run after somebody approved what the check shows now."""
    (seal,) = [check.seal for check in await actuator.check(step, context) if check.seal]
    return replace(context, approved={step.id: seal})


async def test_what_was_approved_is_done(ios: Site[Cisco], junos: Site[Juniper]) -> None:
    """The same device and file have the same seal, and the change goes its way."""
    context = await approved(IOS, REPLACE, ios.context(REPLACE))
    assert await approved(IOS, REPLACE, ios.context(REPLACE)) == context
    await IOS.apply(REPLACE, context)
    assert ios.router.startup == GOOD
    await JUNOS.apply(ROLLBACK, await approved(JUNOS, ROLLBACK, junos.context(ROLLBACK)))
    assert junos.router.config() == J_GOOD


async def test_another_pin_is_another_seal(ios: Site[Cisco]) -> None:
    """Where nothing differs the wanted configuration still belongs to the seal."""
    ios.router.running = ios.router.startup = GOOD
    (seal,) = (await approved(IOS, REPLACE, ios.context(REPLACE))).approved.values()
    other: NetworkReplace = REPLACE.model_copy(update={"sha512": values.digest("", "") or "0" * 128})
    ios.router.instead[f"verify /sha512 {other.file}"] = f"verify /sha512 ({other.file}) = {other.sha512}"
    assert seal not in (await approved(IOS, other, ios.context(other))).approved.values()


async def test_a_device_that_somebody_changed_since_is_left_alone(ios: Site[Cisco]) -> None:
    """The new difference is shown, masked; nothing is changed, and it is said what to do."""
    context = await approved(IOS, REPLACE, ios.context(REPLACE))
    ios.router.running = FAILED.replace("end\n", "snmp-server community hushhush RW\nend\n")
    with pytest.raises(ActuatorError, match="Somebody changed edge since the approval") as caught:
        await IOS.apply(REPLACE, context)
    assert "-snmp-server community *** RW" in caught.value.output
    assert caught.value.untouched == "Nothing was changed."
    assert not [said for said in ios.router.asked if said.startswith(COMMAND)]


async def test_a_remedy_does_what_the_failure_showed_and_nothing_else(ios: Site[Cisco]) -> None:
    """It is offered for the very difference that was shown, pins it, and does nothing once that is another."""
    context = await approved(IOS, REPLACE, ios.context(REPLACE))
    assert not await now(context, "Something failed.")
    ios.router.running = FAILED.replace("end\n", "ip host a 10.0.0.9\nend\n")
    with pytest.raises(ActuatorError) as caught:
        await IOS.apply(REPLACE, context)
    (remedy,) = await now(context, caught.value.brief)
    assert "2 lines come, 3 go, exactly what the failure lists" in remedy.words
    changed, ios.router.running = ios.router.running, FAILED.replace("end\n", "ip host b 10.0.0.9\nend\n")
    assert not await now(context, caught.value.brief)
    with pytest.raises(ActuatorError, match="Somebody changed edge"):
        await run_remedy(REGISTRY, remedy, context)
    ios.router.running = changed
    await run_remedy(REGISTRY, remedy, context)
    assert (await IOS.observe(REPLACE, context)).presence is Presence.PRESENT
    assert not await now(context, caught.value.brief)
    ios.router.silent = True
    assert not await now(context, caught.value.brief)


async def now(context: Context, brief: str) -> tuple[Remedy, ...]:
    """Return the remedy for the device as it is, if it is offered."""
    found = await remedies_of(REGISTRY, REPLACE, context, brief)
    assert found[0].id == "device-log"
    return tuple(remedy for remedy in found if remedy.id == "as-it-is-now")


async def test_a_longer_timer_takes_the_approval_with_it(ios: Site[Cisco]) -> None:
    """A remedy has a name of its own, and does no more than what was approved for the step."""
    context = await approved(IOS, REPLACE, ios.context(REPLACE))
    (longer,) = [r for r in await remedies_of(REGISTRY, REPLACE, context) if r.id == "longer-timer"]
    ios.router.running = FAILED.replace("end\n", "ip host a 10.0.0.9\nend\n")
    with pytest.raises(ActuatorError, match="Somebody changed edge since the approval"):
        await run_remedy(REGISTRY, longer, context)
    ios.router.running = FAILED
    await run_remedy(REGISTRY, longer, context)
    assert ios.router.running == GOOD


async def test_a_commit_in_between_is_noticed_under_the_lock(junos: Site[Juniper]) -> None:
    """Between the look and the lock somebody may commit: what would change is compared once more inside."""
    context = await approved(JUNOS, ROLLBACK, junos.context(ROLLBACK))
    answer = junos.router.answer

    def meanwhile(command: str, terminal: Any) -> str:
        if command == "configure exclusive":
            changed = f"{J_FAILED}route 10.7.0.0/16 next-hop 10.1.1.1;\n"
            junos.router.commits.insert(0, Commit("2024-01-15 15:46:00 UTC", "by alice via cli", changed))
        return answer(command, terminal)

    junos.router.answer = meanwhile  # type: ignore[method-assign]
    with pytest.raises(ActuatorError, match="Somebody changed edge since it was looked at") as caught:
        await JUNOS.apply(ROLLBACK, context)
    assert "-route 10.7.0.0/16 next-hop 10.1.1.1;" in caught.value.output
    assert not [said for said in junos.router.asked if said.startswith("rollback")]


@pytest.mark.parametrize(
    ("lines", "words"),
    [
        (("+a", "-b", " c", "-d"), "1 line comes, 2 go"),
        (("+a", "+b", "-c"), "2 lines come, 1 goes"),
        (("!a",), "0 lines come, 0 go, 1 in another order"),
    ],
)
def test_a_difference_is_counted_in_words(lines: tuple[str, ...], words: str) -> None:
    """Where lines stand is shown and not counted."""
    assert Standing(lines, "").words() == words


def test_what_frr_would_do_is_told_as_lines() -> None:
    """Commands become lines that come and go, below the sections that they stand in."""
    printed = """
Lines To Delete
===============
no route-map OUT permit 10
router bgp 65001
 no neighbor 10.99.0.2 password old
no hostname vm

Lines To Add
============
no ip route 10.0.0.0/8 10.1.1.9
router bgp 65001
 address-family ipv4 unicast
  network 10.50.0.0/16
hostname r1
"""
    assert values.frr_differences(printed, ("hostname",)) == (
        "-route-map OUT permit 10",
        " router bgp 65001",
        "- neighbor 10.99.0.2 password old",
        "-ip route 10.0.0.0/8 10.1.1.9",
        " router bgp 65001",
        "  address-family ipv4 unicast",
        "+  network 10.50.0.0/16",
    )
    assert values.frr_differences("", ()) == ()


ENTRY = {"service": "payments", "address": "10.0.0.1", "user": "bot", "known_hosts": "/k"}


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"platform": "frr", "password": {"env": "P"}}, "reached by a key"),
        ({"platform": "ios", "key": {"file": "/k"}, "frr": {}}, "platform frr"),
        ({"platform": "frr", "key": {"file": "/k"}, "frr": {"pathspace": "a b"}}, "pattern"),
        ({"platform": "frr", "key": {"file": "/k"}, "frr": {"folder": "relative"}}, "pattern"),
    ],
)
def test_machines_that_cannot_be_reached_are_refused(fields: dict[str, Any], words: str) -> None:
    """Keys only, and settings of FRR for FRR alone."""
    with pytest.raises(ValueError, match=words):
        Inventory.model_validate({"devices": {"edge": {**ENTRY, **fields}}})


def test_older_plans_and_inventories_keep_their_digests() -> None:
    """Fields that came later are no part of a step or a device that does not use them."""
    assert not {"baseline", "difference"} & REPLACE.model_dump(mode="json").keys()
    entry = {**ENTRY, "platform": "ios", "key": {"file": "/k"}}
    device = Inventory.model_validate({"devices": {"edge": entry}}).devices["edge"]
    assert "frr" not in device.model_dump(mode="json")
