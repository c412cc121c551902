from __future__ import annotations

import asyncio
from pathlib import Path

import asyncssh
import pytest

from actuators.transport import HostError, kept, open_group, ssh_lines
from bot.domain.errors import ActuatorError
from bot.domain.inventory import ServerGroup
from tests.support.ssh import SshEstate, SshHost, ssh_estate


def group_of(estate: SshEstate) -> ServerGroup:
    """Return the group as the inventory reads it."""
    return ServerGroup.model_validate(estate.group)


async def one_step(estate: SshEstate, *, run: str = "rb-1") -> SshHost:
    """Run a command as a step of a run, and return the host's server."""
    group = group_of(estate)
    async with open_group(group, "t", run=run) as transport:
        assert (await transport.run(group.hosts[0], ["true"])).ok
    return estate.servers["app01"]


async def closed(server: SshHost) -> None:
    """Wait for every connection to be closed."""
    await asyncio.gather(*(made.wait_closed() for made in server.connections))


async def test_the_next_step_of_a_run_takes_the_connection_over(one_ssh_host: SshEstate) -> None:
    """Three steps of one run log in once."""
    for _ in range(3):
        server = await one_step(one_ssh_host)
    assert len(server.connections) == 1
    assert server.open_connections() == 1


async def test_another_run_makes_connections_of_its_own(one_ssh_host: SshEstate) -> None:
    """What a run has left is not given to another."""
    await one_step(one_ssh_host)
    server = await one_step(one_ssh_host, run="rb-2")
    assert len(server.connections) == 2


async def test_steps_at_the_same_time_do_not_share(one_ssh_host: SshEstate) -> None:
    """Connections are lent to one step at a time; of two that end, only those of one are kept."""
    group = group_of(one_ssh_host)
    (host,) = group.hosts
    async with open_group(group, "t", run="rb-1") as one, open_group(group, "u", run="rb-1") as other:
        await asyncio.gather(one.run(host, ["true"]), other.run(host, ["true"]))
    server = one_ssh_host.servers["app01"]
    assert len(server.connections) == 2
    await (await kept.keeper()).close()
    await closed(server)
    assert server.open_connections() == 0


async def test_a_step_that_fails_leaves_no_connection(one_ssh_host: SshEstate) -> None:
    """After an error everything is closed, and the next step logs in anew."""
    group = group_of(one_ssh_host)

    async def failing() -> None:
        async with open_group(group, "t", run="rb-1") as transport:
            await transport.run(group.hosts[0], ["sleep", "100"], timeout=0.1)

    with pytest.raises(HostError):
        await failing()
    server = one_ssh_host.servers["app01"]
    await closed(server)
    assert server.open_connections() == 0


async def test_a_step_that_is_cancelled_leaves_no_connection(one_ssh_host: SshEstate) -> None:
    """Whoever lost the lease is cancelled, and keeps no way to the hosts."""
    group, begun = group_of(one_ssh_host), asyncio.Event()

    async def waiting() -> None:
        async with open_group(group, "t", run="rb-1") as transport:
            assert (await transport.run(group.hosts[0], ["true"])).ok
            begun.set()
            await transport.run(group.hosts[0], ["sleep", "100"])

    async with asyncio.TaskGroup() as tasks:
        task = tasks.create_task(waiting())
        await begun.wait()
        task.cancel()
    server = one_ssh_host.servers["app01"]
    await closed(server)
    assert server.open_connections() == 0


async def test_an_idle_connection_is_closed_after_a_while(
    one_ssh_host: SshEstate, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What no step asks for again does not stay open."""
    monkeypatch.setattr(kept, "IDLE", 0.05)
    server = await one_step(one_ssh_host)
    await closed(server)
    assert server.open_connections() == 0


async def test_a_connection_that_was_cut_is_not_lent(one_ssh_host: SshEstate) -> None:
    """A host that went away in between is connected to anew."""
    server = await one_step(one_ssh_host)
    (idle,) = (await kept.keeper())._idle.values()
    server.cut()
    await asyncio.gather(*(made.wait_closed() for made in idle.lines._open.values()))
    await one_step(one_ssh_host)
    assert len(server.connections) == 2


async def test_a_connection_that_ends_before_it_takes_a_command_is_made_anew(one_ssh_host: SshEstate) -> None:
    """A command that was never begun may be begun on another connection; nobody else hears of it."""
    server = await one_step(one_ssh_host)
    # The other side has ended it, and this one has not heard yet.
    server.cut()
    await one_step(one_ssh_host)
    assert len(server.connections) == 2


class Vanished:
    """A connection whose other side says nothing more."""

    def __init__(self) -> None:
        self.aborted = False

    def close(self) -> None:
        """Ask for an end that nobody answers."""

    async def wait_closed(self) -> None:
        """Wait for ever."""
        await asyncio.Event().wait()

    def abort(self) -> None:
        """Let go."""
        self.aborted = True


async def test_a_host_that_has_vanished_is_let_go(one_ssh_host: SshEstate, monkeypatch: pytest.MonkeyPatch) -> None:
    """Closing does not wait for an answer that never comes."""
    monkeypatch.setattr(ssh_lines, "_CLOSING", 0.01)
    group, gone = group_of(one_ssh_host), Vanished()
    assert group.ssh is not None
    lines = ssh_lines.Lines(group.ssh)
    lines._open[group.hosts[0]] = gone  # type: ignore[assignment]  # only what closing needs
    await lines.close()
    assert gone.aborted


async def test_other_known_hosts_or_another_key_are_another_way(one_ssh_host: SshEstate, place: Path) -> None:
    """What is no longer trusted is not reached by a connection from before."""
    server = await one_step(one_ssh_host)
    known = place / "known_hosts"
    other = asyncssh.generate_private_key("ssh-ed25519").export_public_key().decode()
    known.write_text(f"{known.read_text().split()[0]} {other}")
    with pytest.raises(HostError, match="is not the one in"):
        await one_step(one_ssh_host)
    assert server.open_connections() == 1, "the one from before, which nobody is given"


def test_the_end_of_the_process_closes_what_is_left(tmp_path: Path) -> None:
    """A loop that ends closes what is idle, before the hosts do."""
    tmp_path.chmod(0o711)
    left: list[kept.Keeper] = []

    async def main() -> None:
        async with ssh_estate(tmp_path, hosts=1) as estate:
            await one_step(estate)
            left.append(await kept.keeper())

    asyncio.run(main())
    assert left[0].idle() == 0


async def test_a_key_that_goes_away_meanwhile_fails_no_step(one_ssh_host: SshEstate, place: Path) -> None:
    """What was done is done, whatever becomes of the key; the next step finds out."""
    group = group_of(one_ssh_host)
    async with open_group(group, "t", run="rb-1") as transport:
        assert (await transport.run(group.hosts[0], ["true"])).ok
        (place / "key").unlink()
    with pytest.raises(ActuatorError, match="cannot be read"):
        await one_step(one_ssh_host)
