"""Network devices: a Cisco and a Juniper double whose configuration is the failed one."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from functools import partial
from typing import Any

from actuators.network import (
    NetworkConnectivity,
    NetworkLog,
    NetworkOutOfBand,
    NetworkReload,
    NetworkReplace,
    NetworkRollback,
)
from bot.domain.plan import Step
from tests.actuators.network.cisco import Cisco
from tests.actuators.network.genuine import frr_router
from tests.actuators.network.juniper import Commit, Juniper
from tests.support.actuation import FakeClock, make_context, make_plan
from tests.support.contract import Case, Cases, Ground
from tests.support.pgserver import free_port
from tests.support.routers import Router, running

FILE = "flash:backup-20240115-1430.cfg"
GOOD = """!
hostname edge01
enable secret 9 $9$good
interface GigabitEthernet0/1
 ip address 10.1.1.2 255.255.255.0
ip route 10.0.0.0 255.0.0.0 10.1.1.1
ip route 0.0.0.0 0.0.0.0 10.1.1.1
end
"""
FAILED = GOOD.replace("10.1.1.1\nip route 0", "10.1.1.9\nip route 0").replace("$9$good", "$9$failed")
MD5 = hashlib.md5(GOOD.encode(), usedforsecurity=False).hexdigest()
J_GOOD = """system { host-name edge01; root-authentication { encrypted-password "$6$good"; } }
route 10.0.0.0/8 next-hop 10.1.1.1;
"""
J_FAILED = J_GOOD.replace("next-hop 10.1.1.1", "next-hop 10.1.1.9").replace("$6$good", "$6$failed")
PINNED = "2024-01-15 14:30:02 UTC"
OUT_OF_BAND = {"kind": "console_server", "words": "ssh -p 7001 ops@console.example.org, then Ctrl-E c ."}
REACH: dict[str, Any] = {"ping": ["gateway.internal"], "routes": ["10.0.0.0/8"], "out_of_band": OUT_OF_BAND}


def cisco(clock: FakeClock | None = None, **fields: Any) -> Cisco:
    """Return a Cisco router with the failed configuration, and the good one on its flash."""
    return Cisco(clock=clock or FakeClock(), running=FAILED, startup=FAILED, files={FILE: GOOD}, **fields)


def juniper(clock: FakeClock | None = None, **fields: Any) -> Juniper:
    """Return a Juniper router with the failed configuration, and the good one two commits before."""
    commits = [
        Commit("2024-01-15 15:20:11 UTC", "by deploy via netconf", J_FAILED),
        Commit("2024-01-15 15:01:44 UTC", "by deploy via netconf", f"{J_GOOD}# half\n"),
        Commit(PINNED, "by alice via cli", J_GOOD),
    ]
    return Juniper(clock=clock or FakeClock(), commits=commits, **fields)


REPLACE = NetworkReplace(id="replace", target="edge", file=FILE, size=len(GOOD), md5=MD5)
ROLLBACK = NetworkRollback(id="rollback", target="edge", committed=PINNED)
REACHED = NetworkConnectivity(id="reached", target="edge")


@asynccontextmanager
async def device(ground: Ground, *, step: Step, make: Callable[..., Router], platform: str) -> Cases:
    """A router that has something to go back from."""
    router = make(ground.clock)
    async with running(router, ground.folder, platform=platform, **REACH) as entry:
        near = {"devices": {"edge": entry}}
        away = {"devices": {"edge": {**entry, "port": free_port()}}}
        context = partial(make_context, make_plan(step), clock=ground.clock)
        yield Case(step, context(near), context(away), router.state)


@asynccontextmanager
async def genuine(ground: Ground) -> Cases:
    """A genuine FRR router that has something to go back from. Its keeper goes by the machine's own time."""
    with frr_router() as router:
        file, sha256 = router.keep("backup.conf", router.good())
        step = NetworkReload(id="reload", target="edge", file=file, sha256=sha256)
        near = {"devices": {"edge": router.entry}}
        away = {"devices": {"edge": {**router.entry, "port": free_port()}}}
        context = partial(make_context, make_plan(step), clock=ground.clock)
        yield Case(step, context(near), context(away), router.state)


WORLDS: dict[str, Callable[[Ground], AbstractAsyncContextManager[Case]]] = {
    "network.replace": partial(device, step=REPLACE, make=cisco, platform="ios"),
    "network.rollback": partial(device, step=ROLLBACK, make=juniper, platform="junos"),
    "network.reload": genuine,
    "network.connectivity": partial(device, step=REACHED, make=juniper, platform="junos"),
    "network.log": partial(
        device, step=NetworkLog(id="log", target="edge", file=FILE), make=cisco, platform="iosxe"
    ),
    "network.out_of_band": partial(
        device, step=NetworkOutOfBand(id="console", target="edge"), make=cisco, platform="ios"
    ),
}
