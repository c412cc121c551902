"""HAProxy's runtime API on hosts behind SSH."""

from __future__ import annotations

import os
import shutil
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import asyncssh
import pytest

from actuators.balancer import HaproxyWeights
from actuators.balancer.haproxy import HaproxyWeightsActuator
from bot.domain.actuation import Presence, Verdict
from bot.domain.errors import ActuatorError
from tests.support.actuation import fails, make_context, make_plan
from tests.support.estates import linux_only
from tests.support.haproxy import Haproxy, Side, balancer, real_haproxy
from tests.support.hosts import HERE, Folder
from tests.support.ssh import SshHost, access

_REQUIRED = os.environ.get("ROLLBACK_REAL_PARTS") == "require" or "CI" in os.environ
pytestmark = [
    *real_haproxy,
    linux_only,
    pytest.mark.skipif(shutil.which("socat") is None and not _REQUIRED, reason="no socat here; install it"),
]
ACTUATOR = HaproxyWeightsActuator()
GREEN = HaproxyWeights(id="switch", target="lb", backend="payments", weights={"green": 100, "blue": 0})


@dataclass
class Estate:
    """Two balancers, each on a host of its own.

    Attributes:
        target: As the inventory names them.
        balancers: By host.
        servers: Their SSH servers.
    """

    target: dict[str, Any]
    balancers: dict[str, Haproxy]
    servers: dict[str, SshHost]

    def context(self) -> Any:
        """Return the context of a run of the switch."""
        return make_context(make_plan(GREEN), {"load_balancers": {"lb": self.target}})


@pytest.fixture(params=["login", "sudo"])
async def estate(request: pytest.FixtureRequest, tmp_path: Path, pair: tuple[Side, Side]) -> AsyncIterator[Estate]:
    """Give two balancers, whose sockets the login may open itself, or by sudo."""
    key = asyncssh.generate_private_key("ssh-ed25519")
    async with AsyncExitStack() as stack:
        balancers, servers = {}, {}
        for number in (1, 2):
            name, folder = f"lb{number:02}", tmp_path / f"lb{number:02}"
            folder.mkdir()
            balancers[name] = await stack.enter_async_context(balancer(folder, pair))
            host = Folder(folder, HERE)
            host.build()
            servers[name] = SshHost(host, f"127.0.2.{number}", asyncssh.generate_private_key("ssh-ed25519"))
            await servers[name].start(key)
            stack.push_async_callback(servers[name].stop)
        ssh = {"user": "deploy", **access(tmp_path, key, servers.values()), "sudo": request.param == "sudo"}
        hosts = [{"name": name, "address": s.address, "port": s.port} for name, s in servers.items()]
        paths = {
            "socket": f"{HERE}/admin.sock",
            "state_file": f"{HERE}/state/global",
            "config": f"{HERE}/haproxy.cfg",
        }
        target = {"service": "payments", "flavour": "haproxy", "hosts": hosts, "ssh": ssh, **paths}
        yield Estate(target, balancers, servers)


async def test_both_hosts_are_switched_and_keep_it(estate: Estate) -> None:
    """The switch reaches every host's socket by socat, is read back, and a reload of HAProxy keeps it."""
    checks = await ACTUATOR.check(GREEN, estate.context())
    assert not fails(checks)
    assert any("level admin" in check.words and check.verdict is Verdict.OK for check in checks)
    outcome = await ACTUATOR.apply(GREEN, estate.context())
    assert outcome.words == "green 100, blue 0 on 2 of 2 balancers of lb; before: green 0, blue 100"
    assert (await ACTUATOR.observe(GREEN, estate.context())).presence is Presence.PRESENT
    for running in estate.balancers.values():
        await running.reload()
        assert await running.requests(5) == {"green": 5}


async def test_a_host_that_is_gone_is_told_apart(estate: Estate) -> None:
    """With one host out of reach the other is switched; which is which stands in the error and the look."""
    await estate.servers["lb02"].stop()
    with pytest.raises(ActuatorError, match="1 of 2 balancers of lb failed: lb02: ") as caught:
        await ACTUATOR.apply(GREEN, estate.context())
    assert "lb01 switched" in caught.value.untouched
    seen = await ACTUATOR.observe(GREEN, estate.context())
    assert seen.presence is Presence.UNKNOWN
    assert seen.words.startswith("green 100, blue 0 on 1 of 2 balancers of lb; lb02: ")


async def test_a_host_without_a_running_haproxy(estate: Estate) -> None:
    """What socat says of a dead socket is shown."""
    estate.balancers["lb01"].stop()
    assert "Connection refused" in fails(await ACTUATOR.check(GREEN, estate.context()))
