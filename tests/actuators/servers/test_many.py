"""Fifty hosts: how many are worked on at once, and what becomes of the others when some fail."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import asyncssh
import pytest

from actuators import servers
from actuators.servers import StartServers
from bot.domain.actuation import Actuator, Presence
from bot.domain.errors import ActuatorError
from tests.support.estates import linux_only
from tests.support.hosts import Signal
from tests.support.ssh import SshEstate, ssh_estate

pytestmark = linux_only
HANGS, REFUSES, IMPOSTOR, DIES = "app07", "app13", "app21", "app34"
START = StartServers(id="start", target="payments-app", limit=50)


def actuator() -> Actuator[Any]:
    """Return the registered actuator."""
    return next(entry.actuator for entry in servers.register() if entry.model is StartServers)


@pytest.fixture
async def fifty(place: Path) -> AsyncIterator[SshEstate]:
    """Fifty hosts."""
    async with ssh_estate(place, hosts=50) as estate:
        yield estate


@asynccontextmanager
async def silence(estate: SshEstate, host: str) -> AsyncIterator[None]:
    """Let a host take connections and never say a word."""
    await estate.servers[host].stop()
    held: list[asyncio.StreamWriter] = []
    server = await asyncio.start_server(
        lambda _reader, writer: held.append(writer), estate.servers[host].address, estate.servers[host].port
    )
    yield
    server.close()
    for writer in held:
        writer.close()
    await server.wait_closed()


def mistrust(place: Path, estate: SshEstate, host: str) -> None:
    """Put another key on record for a host."""
    server = estate.servers[host]
    other = asyncssh.generate_private_key("ssh-ed25519").export_public_key().decode().strip()
    known = place / "known_hosts"
    mine = f"[{server.address}]:{server.port} "
    lines = [f"{mine}{other}" if line.startswith(mine) else line for line in known.read_text().splitlines()]
    known.write_text("\n".join(lines) + "\n")


async def spoilt(estate: SshEstate, place: Path) -> None:
    """Let one host refuse, and another be an impostor; the connect timeout is short for the one that hangs."""
    await estate.servers[REFUSES].stop()
    mistrust(place, estate, IMPOSTOR)
    estate.group["ssh"]["connect_timeout"] = "3s"


async def test_the_limit_holds_and_every_host_is_done(fifty: SshEstate, place: Path) -> None:
    """Never more than the limit are worked on at once, in batches that end before the next begins."""
    script = "#!/bin/sh\necho + >>../at-once\nbin/service start\necho - >>../at-once\n"
    fifty.only.write("../enter", script, mode=0o755)
    fifty.group["manager"]["start"] = [str(place / "enter")]
    step = START.model_copy(update={"limit": 7, "serial": ("20%", 40)})
    outcome = await actuator().apply(step, fifty.context(step))
    assert outcome.words == "50 of 50 hosts running"
    inside, most = 0, 0
    for line in (place / "at-once").read_text().split():
        inside += 1 if line == "+" else -1
        most = max(most, inside)
    assert 2 <= most <= 7
    ended = [progress.words.split()[3] for progress in fifty.reports.seen[1:]]
    assert sorted(ended[:10]) == [f"app{number:02}" for number in range(1, 11)]
    assert (await actuator().observe(step, fifty.context(step))).words == "50 of 50 hosts running"
    assert {len(server.connections) for server in fifty.servers.values()} == {1}


async def test_four_kinds_of_failure_stop_none_of_the_others(fifty: SshEstate, place: Path) -> None:
    """A host that hangs, one that refuses, an impostor and one that dies in between are each told as such."""
    await spoilt(fifty, place)
    begun = Signal(fifty.folders[DIES].root / "begun")
    script = "#!/bin/sh\n[ $1 = status ] && exit 3\necho x >begun\nexec sleep 100\n"
    fifty.folders[DIES].write("bin/service", script, mode=0o755)
    async with silence(fifty, HANGS), asyncio.TaskGroup() as tasks:
        task = tasks.create_task(failing(fifty, START))
        await begun.line()
        await fifty.servers[DIES].stop()
        error = await task
        assert error.brief.startswith("Starting the service failed on 4 of 50 hosts. ")
        assert f"{HANGS}: 127.0.1.7:{fifty.servers[HANGS].port} gave no answer within 3 seconds." in error.brief
        assert f"{REFUSES}: 127.0.1.13:{fifty.servers[REFUSES].port} cannot be reached: Conn" in error.brief
        assert (
            f"{IMPOSTOR}: the host key at 127.0.1.21:{fifty.servers[IMPOSTOR].port} is not the one" in error.brief
        )
        assert f"{DIES}: the connection was lost while" in error.brief
        assert error.untouched.endswith(f"and 41 more. Not done on {HANGS}, {REFUSES}, {IMPOSTOR}, {DIES}.")
        assert not error.transient
        seen = await actuator().observe(START, fifty.context(START))
    begun.close()
    assert seen.presence is Presence.UNKNOWN
    assert seen.words.startswith("46 of 50 hosts running, 3 unreachable, 1 with a wrong host key. ")


async def test_batches_stop_after_too_many_of_them(fifty: SshEstate, place: Path) -> None:
    """With two failures allowed, the third one ends it: the hosts of later batches are never contacted."""
    await spoilt(fifty, place)
    step = START.model_copy(update={"serial": (10,), "max_failures": "4%"})
    async with silence(fifty, HANGS):
        error = await failing(fifty, step)
    assert error.brief.startswith("Starting the service failed on 3 of 50 hosts. ")
    assert error.untouched.endswith(
        f"Not done on {HANGS}, {REFUSES}, {IMPOSTOR}. "
        "Not begun on app31, app32, app33, app34, app35 and 15 more, because too many had failed."
    )
    contacted = [name for name, server in fifty.servers.items() if server.connections]
    assert contacted == [f"app{number:02}" for number in range(1, 31) if number not in {7, 13, 21}]


async def failing(estate: SshEstate, step: StartServers) -> ActuatorError:
    """Return the error of a step."""
    with pytest.raises(ActuatorError) as caught:
        await actuator().apply(step, estate.context(step))
    return caught.value
