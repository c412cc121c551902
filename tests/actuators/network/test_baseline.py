"""The routes against a recorded table: read, pinned, compared, and told in words."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import pytest

from actuators.network import NetworkConnectivity, NetworkReplace, routes
from actuators.network.guarded import GuardedActuator
from actuators.network.ios import Ios
from bot.domain.actuation import Context, Verdict
from bot.domain.errors import ActuatorError
from bot.domain.plan import Step
from tests.actuators.network.cisco import Cisco
from tests.actuators.network.conftest import REGISTRY, Site, told
from tests.actuators.network.juniper import Juniper
from tests.actuators.network.worlds import GOOD, J_GOOD, REPLACE
from tests.support.actuation import fails, make_context, make_plan

LINUX = """default via 10.1.1.1 dev eth0 proto dhcp metric 100
10.0.0.0/8 nhid 4 via 10.1.1.1 dev eth0 proto static metric 20
10.1.1.0/24 dev eth0 proto kernel scope link src 10.1.1.2
192.0.2.7 via inet6 fe80::1 dev eth1
172.16.0.0/12 proto bgp metric 20
\tnexthop via 10.1.1.1 dev eth0 weight 1
\tnexthop via 10.1.1.9 dev eth0 weight 1
blackhole 198.51.100.0/24
2001:db8::/32 via fe80::1 dev eth0
Error: nothing
"""
CISCO = """Codes: L - local, C - connected, S - static
Gateway of last resort is 10.1.1.1 to network 0.0.0.0

S*    0.0.0.0/0 [1/0] via 10.1.1.1
      10.0.0.0/8 is variably subnetted, 3 subnets, 2 masks
O IA     10.20.0.0/16 [110/2] via 10.1.1.1, 1w2d, GigabitEthernet0/1
                      [110/2] via 10.1.1.9, 1w2d, GigabitEthernet0/2
C        10.1.1.0/24 is directly connected, GigabitEthernet0/1
      172.16.0.0/24 is subnetted, 1 subnets
D        172.16.1.0 [90/30720] via 10.1.1.1, 00:01:02, GigabitEthernet0/1
D     192.168.0.0/16 is a summary, 00:00:01, Null0
R     9.0.0.0 [120/1] via 10.1.1.1, 00:00:12, Serial0/0
R     198.51.100.0 [120/1] via 10.1.1.1, 00:00:12, Serial0/0
"""
JUNOS = """inet.0: 3 destinations, 3 routes (3 active, 0 holddown, 0 hidden)
+ = Active Route, - = Last Active, * = Both

0.0.0.0/0          *[Static/5] 1d 02:03:04
                    >  to 10.1.1.1 via ge-0/0/1.0
                       to 10.1.1.9 via ge-0/0/2.0
                    [OSPF/150] 1d 02:03:04, metric 0, tag 0
                    >  to 10.1.1.7 via ge-0/0/7.0
10.1.1.0/24        *[Direct/0] 3w2d 01:00:00
                    >  via ge-0/0/1.0
198.51.100.0/24    *[Static/5] 1d 02:03:04
                       Reject
203.0.113.0/24     -[Static/5] 1d 02:03:04
                    >  to 10.1.1.8 via ge-0/0/1.0
"""


def over(table: routes.Table) -> dict[str, list[str]]:
    """Return a table in an order that can be compared."""
    return {prefix: sorted(ways) for prefix, ways in table.items()}


def test_a_linux_table_is_read() -> None:
    """Defaults, hosts, several next hops, and routes that lead nowhere; IPv6 is left out."""
    assert over(routes.table(LINUX, "frr")) == {
        "0.0.0.0/0": ["10.1.1.1"],
        "10.0.0.0/8": ["10.1.1.1"],
        "10.1.1.0/24": ["eth0"],
        "192.0.2.7/32": ["fe80::1"],
        "172.16.0.0/12": ["10.1.1.1", "10.1.1.9"],
        "198.51.100.0/24": ["blackhole"],
    }


def test_a_cisco_table_is_read() -> None:
    """Lengths that stand in a heading, classes, continued rows, summaries and connected networks."""
    assert over(routes.table(CISCO, "cisco")) == {
        "0.0.0.0/0": ["10.1.1.1"],
        "10.20.0.0/16": ["10.1.1.1", "10.1.1.9"],
        "10.1.1.0/24": ["GigabitEthernet0/1"],
        "172.16.1.0/24": ["10.1.1.1"],
        "192.168.0.0/16": ["Null0"],
        "9.0.0.0/8": ["10.1.1.1"],
        "198.51.100.0/24": ["10.1.1.1"],
    }


def test_a_junos_table_is_read() -> None:
    """Only what is active counts, with all its next hops."""
    assert over(routes.table(JUNOS, "junos")) == {
        "0.0.0.0/0": ["10.1.1.1", "10.1.1.9"],
        "10.1.1.0/24": ["ge-0/0/1.0"],
        "198.51.100.0/24": ["Reject"],
    }


def test_any_device_may_be_compared_with_a_linux_table() -> None:
    """A record by `ip route show` is understood whatever the device is."""
    assert routes.table(LINUX, "cisco") == routes.table(LINUX, "junos") == routes.table(LINUX, "frr")


def test_a_difference_is_told_shortly() -> None:
    """What is gone, new or elsewhere is named, and of many only the number."""
    was = routes.table("default via 10.0.0.1\n10.0.0.0/8 via 10.0.0.2\nunreachable 10.9.0.0/16", "frr")
    now = routes.table("default via 10.0.0.9\n10.7.0.0/16 dev eth0\nunreachable 10.9.0.0/16", "frr")
    assert routes.unlike(was, was) == ""
    assert routes.unlike(was, now) == (
        "0.0.0.0/0 leads over 10.0.0.9, not over 10.0.0.1, 10.0.0.0/8 is gone (it led over 10.0.0.2),"
        " 10.7.0.0/16 over eth0 is new"
    )
    many = routes.table("".join(f"10.{n}.0.0/16 dev eth0\n" for n in range(20)), "frr")
    assert routes.unlike({}, many).endswith("is new, and 12 more")
    assert routes.unlike({"10.0.0.0/8": frozenset()}, {}) == "10.0.0.0/8 is gone (it led over nothing)"


HERE: dict[str, Any] = {
    "service": "payments",
    "hosts": [{"name": "worker"}],
    "manager": {"kind": "systemd", "unit": "none"},
    "releases": "/nowhere",
    "current": "/nowhere/current",
}


def against(site: Site[Any], step: Step, file: Path, content: str, **backup: Any) -> Context:
    """Return the context of a run with a recorded table on the worker's machine."""
    file.write_text(content)
    kept = {
        "id": "routes",
        "kind": "configuration",
        "target": "worker",
        "location": str(file),
        "taken_at": "2024-01-15 14:30",
        "sha256": hashlib.sha256(content.encode()).hexdigest(),
        **backup,
    }
    inventory = {"devices": {"edge": site.entry}, "server_groups": {"worker": HERE}}
    plan = make_plan(step, backups=[kept])
    return make_context(plan, inventory, clock=site.router.clock, reports=site.reports)


PROBE = NetworkConnectivity.model_validate(
    {"id": "reached", "target": "edge", "within": "0s", "baseline": "routes"}
)
ACTUATOR = REGISTRY.actuator(PROBE)


@pytest.mark.parametrize("platform", ["ios", "junos"])
async def test_the_routes_are_compared_with_the_record(
    ios: Site[Cisco], junos: Site[Juniper], tmp_path: Path, platform: str
) -> None:
    """A device has just the recorded routes, or each one that differs is named, in the probe and in its check."""
    site: Site[Any] = ios if platform == "ios" else junos
    ios.router.running = GOOD
    junos.router.commits[0].config = J_GOOD
    session = site.router.terminal()
    record = site.router.answer(
        "show ip route" if platform == "ios" else "show route table inet.0 active-path", session
    )
    context = against(site, PROBE, tmp_path / "routes-baseline.txt", record)
    outcome = await ACTUATOR.apply(PROBE, context)
    assert outcome.words.endswith(f"its {4 if platform == 'ios' else 2} routes are those of the baseline")
    assert PROBE.backup_ids() == ("routes",)
    ios.router.running = GOOD.replace(
        "ip route 10.0.0.0 255.0.0.0 10.1.1.1", "ip route 10.7.0.0 255.255.0.0 10.1.1.1"
    )
    junos.router.commits[0].config = J_GOOD.replace("route 10.0.0.0/8", "route 10.7.0.0/16")
    words = r"baseline: 10\.0\.0\.0/8 is gone \(it led over 10\.1\.1\.1\), 10\.7\.0\.0/16 over 10\.1\.1\.1 is new"
    with pytest.raises(ActuatorError, match=words):
        await ACTUATOR.apply(PROBE, context)
    assert "10.7.0.0/16 over 10.1.1.1 is new" in told(await ACTUATOR.check(PROBE, context), Verdict.WARN)


async def test_a_table_that_cannot_be_read_is_no_good_one(ios: Site[Cisco], tmp_path: Path) -> None:
    """No routes are not the routes of the baseline."""
    ios.router.running = GOOD
    ios.router.instead["show ip route"] = "% Authorization failed."
    with pytest.raises(ActuatorError, match="its routing table cannot be read: % Authorization failed"):
        await ACTUATOR.apply(PROBE, against(ios, PROBE, tmp_path / "routes.txt", LINUX))


@pytest.mark.parametrize(
    ("content", "backup", "words"),
    [
        (LINUX, {"sha256": None}, "has no `sha256` in the plan"),
        (LINUX, {"sha256": "0" * 64}, "has the SHA-256 .*, not 000000000000"),
        (LINUX, {"target": "edge"}, "lies on edge, which is no server group"),
        (LINUX, {"id": "other"}, "The plan has no backup routes"),
        (LINUX, {"location": "/nowhere/routes.txt"}, "/nowhere/routes.txt"),
        ("nothing\n", {}, "holds no IPv4 routes"),
    ],
)
async def test_a_record_that_proves_nothing_stops_the_rollback(
    ios: Site[Cisco], tmp_path: Path, content: str, backup: dict[str, Any], words: str
) -> None:
    """It is pinned, there, and holds routes; else nothing is replaced, since nothing could be confirmed."""
    step: NetworkReplace = REPLACE.model_copy(update={"baseline": "routes"})
    context = against(ios, step, tmp_path / "routes.txt", content, **backup)
    guarded = GuardedActuator(Ios())
    assert fails(await guarded.check(step, context))
    state = ios.router.state()
    with pytest.raises(ActuatorError, match=words):
        await guarded.apply(step, context)
    assert ios.router.state() == state
    assert fails(await ACTUATOR.check(PROBE, against(ios, PROBE, tmp_path / "routes.txt", content, **backup)))


async def test_a_change_is_confirmed_only_with_the_recorded_routes(ios: Site[Cisco], tmp_path: Path) -> None:
    """What a replacement brings must be the whole record; another table leaves it to the timer."""
    step: NetworkReplace = REPLACE.model_copy(update={"baseline": "routes"})
    guarded, record = GuardedActuator(Ios()), tmp_path / "routes.txt"
    with pytest.raises(ActuatorError, match="its routes are not those of the baseline: "):
        await guarded.apply(step, against(ios, step, record, LINUX))
    assert "configure confirm" not in ios.router.asked
    now = ios.router.answer("show ip route", ios.router.terminal())
    context = against(ios, step, record, now)
    assert "and just the 4 routes of the baseline, within 1m" in told(
        await guarded.check(step, context), Verdict.OK
    )
    await guarded.apply(step, context)
    assert ios.router.startup == GOOD
