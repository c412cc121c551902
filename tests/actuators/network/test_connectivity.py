"""network.connectivity, and what helps where a device is cut off."""

from __future__ import annotations

from typing import Any

import pytest

from actuators.network import NetworkConnectivity, NetworkLog, NetworkOutOfBand
from actuators.network.values import masked
from bot.domain.actuation import Presence, Verdict
from bot.domain.errors import ActuatorError
from bot.domain.inventory import Inventory
from bot.domain.plan import Step
from tests.actuators.network.cisco import Cisco
from tests.actuators.network.conftest import REGISTRY, Site, told
from tests.actuators.network.juniper import Juniper
from tests.actuators.network.worlds import FILE, GOOD, J_GOOD, OUT_OF_BAND, REACHED, REPLACE, ROLLBACK
from tests.support.actuation import fails
from tests.support.helping import remedies_of, run_remedy
from tests.support.pgserver import free_port

ACTUATOR = REGISTRY.actuator(REACHED)


def looking(**fields: Any) -> NetworkConnectivity:
    """Return a probe that looks once."""
    return NetworkConnectivity.model_validate({"id": "reached", "target": "edge", "within": "0s", **fields})


@pytest.mark.parametrize("platform", ["ios", "junos"])
async def test_what_is_reached_is_measured(ios: Site[Cisco], junos: Site[Juniper], platform: str) -> None:
    """Pings and routes are counted on either platform; an interface or next hop of the baseline is compared."""
    site: Site[Any] = ios if platform == "ios" else junos
    ios.router.running = GOOD
    junos.router.commits[0].config = J_GOOD
    step = looking(ping=["db.internal"], routes=[{"prefix": "10.0.0.0/8", "via": "10.1.1.1"}])
    outcome = await ACTUATOR.apply(step, site.context(step))
    assert outcome.words == "db.internal answered 5 of 5 pings; route to 10.0.0.0/8 via 10.1.1.1"
    assert outcome.facts == {"ping_loss": {"db.internal": 0.0}, "routes_missing": []}
    assert told(await ACTUATOR.check(step, site.context(step)), Verdict.OK) == outcome.words
    traced = looking(paths=[{"to": "db.internal", "through": ["10.1.1.1"]}])
    outcome = await ACTUATOR.apply(traced, site.context(traced, ping=[], routes=[]))
    assert outcome.words == "the way to db.internal leads over 10.1.1.1, 10.20.0.5"


@pytest.mark.parametrize("platform", ["ios", "junos"])
@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"ping": ["dark.internal"]}, r"dark\.internal answered 0 of 5 pings \(100% lost, at most 20%\)"),
        ({"ping": ["nowhere.internal"]}, r"nowhere\.internal cannot be pinged: "),
        ({"routes": [{"prefix": "10.0.0.0/8", "via": "10.1.1.1"}]}, "does not lead over 10.1.1.1"),
        (
            {"paths": [{"to": "db.internal", "through": ["10.1.1.1"]}]},
            r"leads over 10\.1\.1\.9, 10\.20\.0\.5, not over",
        ),
        (
            {"paths": [{"to": "dark.internal"}]},
            r"the way to dark\.internal leads over 10\.1\.1\.9 and ends before it",
        ),
        ({"paths": [{"to": "nowhere.internal"}]}, r"the way to nowhere\.internal cannot be traced: .+\w"),
        ({"routes": [{"prefix": "172.16.0.0/12"}]}, "no route to 172.16.0.0/12"),
        ({"routes": [{"prefix": "2001:db8::/32"}]}, "no route to 2001:db8::/32"),
    ],
)
async def test_what_is_not_reached_fails_with_what_it_is(
    ios: Site[Cisco], junos: Site[Juniper], platform: str, fields: dict[str, Any], words: str
) -> None:
    """Lost pings, names that nobody knows, routes that are gone or lead elsewhere; approvers are warned."""
    site: Site[Any] = ios if platform == "ios" else junos
    step = looking(**fields)
    with pytest.raises(ActuatorError, match=words):
        await ACTUATOR.apply(step, site.context(step))
    checks = await ACTUATOR.check(step, site.context(step))
    assert [check.verdict for check in checks] == [Verdict.WARN]


async def test_it_waits_until_all_is_reached(junos: Site[Juniper]) -> None:
    """What comes back within the time passes; a device that is out of reach meanwhile is asked again."""
    junos.router.silent = True

    def heal(seconds: float) -> None:
        junos.router.silent = seconds < 10

    junos.router.clock.on_sleep = heal
    outcome = await ACTUATOR.apply(REACHED, junos.context(REACHED))
    assert "gateway.internal answered 5 of 5 pings" in outcome.words
    assert junos.router.clock.seconds == 10
    assert "the connection" in junos.reports.seen[0].words


async def test_a_probe_without_anything_to_reach_is_refused(junos: Site[Juniper]) -> None:
    """A probe that cannot fail proves nothing."""
    context = junos.context(REACHED, ping=[], routes=[])
    assert "names anything that must be reached" in fails(await ACTUATOR.check(REACHED, context))
    with pytest.raises(ActuatorError, match="names anything"):
        await ACTUATOR.apply(REACHED, context)
    with pytest.raises(ValueError, match="every must be longer"):
        looking(every="0s")


async def test_a_failure_offers_log_console_and_a_longer_timer(ios: Site[Cisco]) -> None:
    """Diagnoses first; the longer timer is the same pinned change with twice the time, and settles the step."""
    found = await remedies_of(REGISTRY, REPLACE, ios.context(REPLACE))
    assert [remedy.id for remedy in found] == ["device-log", "out-of-band", "longer-timer"]
    longer = found[2]
    assert longer.settles
    assert longer.title == "Retry with a timer of 10m"
    await run_remedy(REGISTRY, longer, ios.context(REPLACE))
    assert f"configure replace {FILE} force revert trigger error timer 10" in ios.router.asked
    seen = await REGISTRY.actuator(REPLACE).observe(REPLACE, ios.context(REPLACE))
    assert seen.presence is Presence.PRESENT
    longest = REPLACE.model_copy(update={"confirm_within": longer.step.model_copy().deadline() * 6})
    again = await remedies_of(REGISTRY, longest, ios.context(REPLACE))
    assert [remedy.id for remedy in again] == ["device-log", "out-of-band"]


async def test_the_log_tells_the_devices_side(ios: Site[Cisco], junos: Site[Juniper]) -> None:
    """Log, archive or commits, timer and difference in one output, without secrets."""
    log, *_ = await remedies_of(REGISTRY, REPLACE, ios.context(REPLACE))
    outcome = await run_remedy(REGISTRY, log, ios.context(REPLACE))
    assert "%SYS-5-CONFIG_I: line 39" in outcome.output
    assert "flash:cfg-1" in outcome.output
    assert "%No Rollback Confirmed Change pending" in outcome.output
    assert "+ip route 10.0.0.0 255.0.0.0 10.1.1.1" in outcome.output
    assert "$9$" not in outcome.output
    log, *_ = await remedies_of(REGISTRY, ROLLBACK, junos.context(ROLLBACK))
    outcome = await run_remedy(REGISTRY, log, junos.context(ROLLBACK))
    assert outcome.words == "edge was asked 3 things"
    assert "UI_COMMIT: User 'deploy'" in outcome.output
    assert "2   2024-01-15 14:30:02 UTC by alice via cli" in outcome.output
    assert "-route 10.0.0.0/8 next-hop 10.1.1.1;" in outcome.output
    assert "$6$" not in outcome.output


async def test_the_log_names_what_was_refused(ios: Site[Cisco]) -> None:
    """An answer that is a refusal is told as one, and the others are shown all the same."""
    ios.router.instead["show archive"] = "Command authorization failed."
    step = NetworkLog(id="log", target="edge")
    outcome = await REGISTRY.actuator(step).apply(step, ios.context(step))
    assert "it gave no good answer to show archive" in outcome.words
    assert "CONFIG_I" in outcome.output


async def test_the_way_to_the_console_is_told_when_ssh_is_gone(ios: Site[Cisco]) -> None:
    """Where no session comes about the inventory's words lead to the console; without them that is said."""
    step = NetworkOutOfBand(id="console", target="edge")
    actuator = REGISTRY.actuator(step)
    near = await actuator.apply(step, ios.context(step))
    assert near.words.startswith("edge answers over SSH. Reach its console by the console server: ssh -p 7001")
    assert near.facts == {"reachable": True}
    away = ios.context(step, port=free_port(), out_of_band={"kind": "ipmi", "words": "ipmitool -H edge sol"})
    outcome = await actuator.apply(step, away)
    assert outcome.words.startswith("SSH gives no session: edge: 127.0.0.1:")
    assert "by IPMI: ipmitool -H edge sol" in outcome.words
    assert outcome.facts == {"reachable": False}
    unknown = await actuator.apply(step, ios.context(step, out_of_band=None))
    assert "the inventory names no way to it" in unknown.words


@pytest.mark.parametrize("step", [REACHED, REPLACE, NetworkLog(id="log", target="edge")])
async def test_what_is_no_device_is_refused(ios: Site[Cisco], step: Step) -> None:
    """A step on another kind of target contacts nobody and offers nothing."""
    other = step.model_copy(update={"target": "elsewhere"})
    assert "elsewhere is not in the inventory" in fails(
        await REGISTRY.actuator(step).check(other, ios.context(step))
    )


async def test_a_step_on_no_device_offers_no_diagnosis(ios: Site[Cisco]) -> None:
    """There is no device that could be asked."""
    other = REACHED.model_copy(update={"target": "elsewhere"})
    assert await remedies_of(REGISTRY, other, ios.context(REACHED)) == ()


@pytest.mark.parametrize(
    ("line", "secret"),
    [
        ("username ops privilege 15 secret 9 $9$abcdef", "$9$abcdef"),
        ("+snmp-server community pr1vate RO", "pr1vate"),
        (" key 7 0822455D0A16", "0822455D0A16"),
        ("crypto isakmp key hushhush address 0.0.0.0", "hushhush"),
        ("radius-server host 10.0.0.9 key hushhush", "hushhush"),
        (" neighbor 10.0.0.1 password 7 0822455D0A16", "0822455D0A16"),
        ('-   encrypted-password "$6$abc def"; ## SECRET-DATA', "$6$abc"),
        ('    pre-shared-key ascii-text "$9$abc";', "$9$abc"),
        ("    authentication-key $9$abc;", "$9$abc"),
    ],
)
def test_secrets_of_configurations_are_masked(line: str, secret: str) -> None:
    """What vendors call a secret is never shown, encrypted or not, and the rest of the line is."""
    assert secret not in masked(line)
    assert "***" in masked(line)
    assert masked(line)[:6] == line[:6]


ENTRY = {"service": "payments", "platform": "ios", "address": "10.0.0.1", "user": "bot", "known_hosts": "/k"}


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({}, "exactly one credential"),
        ({"key": {"file": "/k"}, "password": {"env": "P"}}, "exactly one credential"),
        ({"key": {"file": "/k"}, "routes": ["10.0.0.1/8"]}, "has host bits set"),
        ({"key": {"file": "/k"}, "ping": ["a b"]}, "pattern"),
        ({"key": {"file": "/k"}, "out_of_band": {"kind": "modem", "words": "x"}}, "console_server"),
    ],
)
def test_devices_that_cannot_be_reached_are_refused(fields: dict[str, Any], words: str) -> None:
    """One credential, whole networks, and nothing that could add to a command."""
    with pytest.raises(ValueError, match=words):
        Inventory.model_validate({"devices": {"edge": {**ENTRY, **fields}}})


def test_an_older_inventory_keeps_its_digest() -> None:
    """The section is no part of the canonical inventory while it is not used, and comes with its targets."""
    assert "devices" not in Inventory().model_dump(mode="json")
    used = Inventory.model_validate(
        {
            "devices": {
                "edge": {**ENTRY, "key": {"file": "/k"}, "out_of_band": OUT_OF_BAND},
                "core": {**ENTRY, "key": {"file": "/k"}},
            }
        }
    )
    assert [name for name, _ in used.only(["edge"]).items()] == ["edge"]
    assert Inventory.model_validate_json(used.model_dump_json()).digest() == used.digest()
