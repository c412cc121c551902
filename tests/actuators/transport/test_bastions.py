from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import asyncssh
import pytest

from actuators.transport import (
    HostError,
    HostKeyError,
    HostUnreachableError,
    LoginRefusedError,
    open_group,
)
from bot.domain.errors import ActuatorError
from bot.domain.inventory import ServerGroup
from tests.actuators.transport.bastions import Bastion, bastion
from tests.support.estates import SSHD
from tests.support.hosts import Estate
from tests.support.pgserver import free_port
from tests.support.ssh import SshEstate


@pytest.fixture
async def first(place: Path) -> AsyncIterator[Bastion]:
    """A bastion at the edge."""
    async with bastion(place / "first", "127.0.2.1") as made:
        yield made


@pytest.fixture
async def second(place: Path) -> AsyncIterator[Bastion]:
    """A bastion behind it."""
    async with bastion(place / "second", "127.0.2.2") as made:
        yield made


def through(estate: Estate, *way: dict[str, Any]) -> ServerGroup:
    """Return the group, reached through bastions."""
    estate.group["ssh"]["bastion"] = list(way)
    return ServerGroup.model_validate(estate.group)


def record_another(file: str, *, kind: str | None) -> Path:
    """Put another key into a file of known hosts, or none, and return its path."""
    known = Path(file)
    other = "" if kind is None else asyncssh.generate_private_key(kind).export_public_key().decode()
    known.write_text(f"{known.read_text().split()[0]} {other}" if other else "")
    return known


def write_key(way: dict[str, Any], key: bytes) -> None:
    """Put another private key in the place of a bastion's."""
    Path(way["key"]["file"]).write_bytes(key)


async def refused(group: ServerGroup) -> list[HostError]:
    """Return the errors of a command on every host, tried side by side."""
    async with open_group(group, "t") as transport:

        async def one(number: int) -> HostError:
            with pytest.raises(HostError) as caught:
                await transport.run(group.hosts[number], ["touch", f"{group.config}/ran"])
            return caught.value

        return list(await asyncio.gather(*map(one, range(len(group.hosts)))))


async def test_hosts_are_reached_through_one_connection_to_a_bastion(ssh_hosts: SshEstate, first: Bastion) -> None:
    """Each host gets a connection of its own through the same one to the bastion; all are closed at the end."""
    group = through(ssh_hosts, first.way)
    async with open_group(group, "t") as transport:
        done = await asyncio.gather(*(transport.run(host, ["cat", "current/app"]) for host in group.hosts))
        assert [finished.out for finished in done] == ["v2.4.0"] * 3
        assert first.open_connections() == 1
    assert sorted(first.asked) == sorted(f"{host.address}:{host.port}" for host in group.hosts)
    await asyncio.gather(*(made.wait_closed() for made in first.connections))
    assert [server.open_connections() for server in ssh_hosts.servers.values()] == [0, 0, 0]


async def test_a_chain_of_bastions_is_gone_through_in_its_order(
    one_ssh_host: SshEstate, first: Bastion, second: Bastion
) -> None:
    """The second bastion is reached through the first, and the host through the second, each with its own key."""
    group = through(one_ssh_host, first.way, second.way)
    (host,) = group.hosts
    async with open_group(group, "t") as transport:
        assert (await transport.run(host, ["true"])).ok
    assert first.asked == [f"127.0.2.2:{second.port}"]
    assert second.asked == [f"{host.address}:{host.port}"]


@pytest.mark.parametrize("estate", [SSHD], indirect=True)
async def test_a_real_sshd_is_a_bastion(estate: Estate) -> None:
    """A real sshd lets connections through to the sshd of the next host, a chain of them too."""
    ssh, hosts = estate.group["ssh"], estate.group["hosts"]
    way = [{**hosts[at], **{name: ssh[name] for name in ("user", "key", "known_hosts")}} for at in (0, 1)]
    for each in way:
        del each["name"]
    estate.group["hosts"] = hosts[2:]
    for group in (through(estate, way[0]), through(estate, *way)):
        async with open_group(group, "t") as transport:
            assert (await transport.run(group.hosts[0], ["pwd"])).out.strip().endswith("/app03")


async def test_a_bastion_that_is_down_is_told_once_for_all_hosts(ssh_hosts: SshEstate, first: Bastion) -> None:
    """The hop that failed is named, the same words for every host; no host is contacted past it."""
    away = {**first.way, "port": free_port()}
    errors = await refused(through(ssh_hosts, first.way, away))
    where = f"the bastion 127.0.2.1:{away['port']} (hop 2 of 2)"
    assert {type(error) for error in errors} == {HostUnreachableError}
    assert all(error.transient for error in errors)
    (what,) = {error.what for error in errors}
    assert what.startswith(f"{where} cannot be reached through the bastion 127.0.2.1:{first.port} (hop 1 of 2): ")
    assert [error.host for error in errors] == ["app01", "app02", "app03"]
    assert len(first.connections) == 1
    assert [server.connections for server in ssh_hosts.servers.values()] == [[], [], []]


async def test_a_first_bastion_that_is_down_is_told_without_a_number(
    one_ssh_host: SshEstate, first: Bastion
) -> None:
    """A single bastion is no chain, and is named by its address alone."""
    away = {**first.way, "port": free_port()}
    (error,) = await refused(through(one_ssh_host, away))
    assert error.what == f"the bastion 127.0.2.1:{away['port']} cannot be reached: Connection refused."


@pytest.mark.parametrize("kind", ["ssh-ed25519", None])
async def test_a_bastions_host_key_is_always_checked(
    one_ssh_host: SshEstate, first: Bastion, kind: str | None
) -> None:
    """A bastion whose key is another one, or not on record, gets no login; its own file of known hosts is named."""
    known = record_another(first.way["known_hosts"], kind=kind)
    (error,) = await refused(through(one_ssh_host, first.way))
    assert isinstance(error, HostKeyError)
    assert f"the bastion 127.0.2.1:{first.port}" in error.what
    assert str(known) in error.what
    assert first.asked == []


async def test_a_hosts_key_is_checked_behind_a_bastion_too(one_ssh_host: SshEstate, first: Bastion) -> None:
    """A bastion could lead to any machine: the host's own key decides."""
    record_another(one_ssh_host.group["ssh"]["known_hosts"], kind="ssh-ed25519")
    (error,) = await refused(through(one_ssh_host, first.way))
    assert isinstance(error, HostKeyError)
    assert error.what.startswith("the host key at 127.0.1.1:")
    assert not one_ssh_host.only.has("etc/ran")


async def test_a_bastion_that_refuses_the_login_names_its_own_key(one_ssh_host: SshEstate, first: Bastion) -> None:
    """The key that a bastion does not accept is told by its reference."""
    write_key(first.way, asyncssh.generate_private_key("ssh-ed25519").export_private_key())
    (error,) = await refused(through(one_ssh_host, first.way))
    assert isinstance(error, LoginRefusedError)
    assert error.what == f"the login as jump at the bastion 127.0.2.1:{first.port} is refused."
    assert first.way["key"]["file"] in error.resolution


async def test_a_bastion_that_lets_nothing_through_is_told(one_ssh_host: SshEstate, first: Bastion) -> None:
    """Forwarding that is not allowed is the bastion's doing, and will not pass by itself."""
    first.forwards = False
    (error,) = await refused(through(one_ssh_host, first.way))
    assert f"the bastion 127.0.2.1:{first.port} does not let connections through to 127.0.1.1:" in error.what
    assert "AllowTcpForwarding" in error.resolution
    assert not error.transient


async def test_a_host_that_is_down_behind_a_bastion_is_the_hosts_fault(
    one_ssh_host: SshEstate, first: Bastion
) -> None:
    """The bastion answers and the host does not: the words say which, and it may pass."""
    await one_ssh_host.servers["app01"].stop()
    (error,) = await refused(through(one_ssh_host, first.way))
    assert isinstance(error, HostUnreachableError)
    assert error.transient
    assert f"cannot be reached through the bastion 127.0.2.1:{first.port}: " in error.what


async def test_a_bastion_that_is_lost_is_told_and_taken_again(one_ssh_host: SshEstate, first: Bastion) -> None:
    """A command whose bastion goes away says so; the next command makes a new way."""
    group = through(one_ssh_host, first.way)
    (host,) = group.hosts
    async with open_group(group, "t") as transport:
        assert (await transport.run(host, ["true"])).ok
        async with asyncio.TaskGroup() as tasks:
            task = tasks.create_task(_lost(transport.run(host, ["sh", "-c", "touch etc/begun; exec sleep 100"])))
            while not one_ssh_host.only.has("etc/begun"):
                await transport.run(host, ["true"])
            first.cut()
        assert f"the connection to the bastion 127.0.2.1:{first.port} was lost while" in task.result()
        assert (await transport.run(host, ["true"])).ok
    assert len(first.connections) == 2


async def _lost(running: Any) -> str:
    with pytest.raises(HostUnreachableError) as caught:
        await running
    return caught.value.what


async def test_a_host_that_takes_no_commands_is_told(one_ssh_host: SshEstate, first: Bastion) -> None:
    """A server that lets the login in and runs nothing is asked once, not again and again."""
    login = {name: first.way[name] for name in ("user", "key", "known_hosts")}
    one_ssh_host.group["ssh"] |= login
    one_ssh_host.group["hosts"] = [{"name": "app01", "address": first.address, "port": first.port}]
    (error,) = await refused(ServerGroup.model_validate(one_ssh_host.group))
    assert "Session refused while `touch" in error.what
    assert len(first.connections) == 1


async def test_an_unusable_key_of_a_bastion_is_told_before_anything_is_contacted(
    one_ssh_host: SshEstate, first: Bastion
) -> None:
    """The key and the known hosts of every bastion are read first."""
    write_key(first.way, b"no key")
    with pytest.raises(ActuatorError, match="is no private key"):
        async with open_group(through(one_ssh_host, first.way), "t"):
            pass
    assert first.connections == []


def test_one_bastion_is_read_as_a_chain_of_one(one_ssh_host: SshEstate) -> None:
    """A single bastion stands without a list, and a group without one is written as it always was."""
    before = ServerGroup.model_validate(one_ssh_host.group).ssh
    assert before is not None
    assert "bastion" not in before.model_dump()
    way = {"address": "gw", "user": "jump", "key": {"env": "GW"}, "known_hosts": "/etc/known"}
    one_ssh_host.group["ssh"]["bastion"] = way
    read = ServerGroup.model_validate(one_ssh_host.group)
    assert read.ssh is not None
    assert [(each.address, each.port) for each in read.ssh.bastion] == [("gw", 22)]
    assert ServerGroup.model_validate(read.model_dump(mode="json")) == read
