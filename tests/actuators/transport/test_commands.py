from __future__ import annotations

import asyncio
import os
import signal

import pytest

from actuators.transport import HostError, HostUnreachableError, SudoRefusedError, open_group
from bot.domain.inventory import Host, ServerGroup
from tests.support.estates import LOCAL, SSHD, SUDO
from tests.support.hosts import Estate, Folder, Signal, gone
from tests.support.ssh import SshEstate


def opened(estate: Estate) -> tuple[ServerGroup, Host, Folder]:
    """Return the group, its first host and what lies there."""
    group = ServerGroup.model_validate(estate.group)
    return group, group.hosts[0], estate.only


async def test_arguments_arrive_unchanged(estate: Estate) -> None:
    """Whatever an argument holds, the program gets just that, through quoting, sudo and watcher alike."""
    group, host, _ = opened(estate)
    nasty = ["$(id)", "a b", "'", '"', "*", "", "; exit 9", "back\\slash", "line\nend", "-n", "ü"]
    async with open_group(group, "t") as transport:
        finished = await transport.run(host, ["printf", "%s|", *nasty], sudo=True)
        plain = await transport.run(host, ["printf", "%s|", *nasty], sudo=True, leashed=False)
    assert finished.out == plain.out == "".join(f"{word}|" for word in nasty)


async def test_exit_code_output_and_messages_come_back(estate: Estate) -> None:
    """A command's end is told whatever its exit code is."""
    group, host, _ = opened(estate)
    async with open_group(group, "t") as transport:
        finished = await transport.run(host, ["sh", "-c", "echo out; echo err >&2; exit 7"])
        fed = await transport.run(host, ["cat"], stdin=b"data")
    assert (finished.returncode, finished.out, finished.err) == (7, "out\n", "err\n")
    assert fed.stdout == b"data"


async def test_cancelling_ends_the_command_on_the_host(estate: Estate) -> None:
    """A cancelled caller leaves neither the command nor its children running, and the connection closes."""
    group, host, folder = opened(estate)
    pipe = Signal(folder.root / "pids")
    script = f"sleep 100 & echo $$ $! > {folder.root}/pids; wait"

    async def run() -> None:
        async with open_group(group, "t") as transport:
            await transport.run(host, ["sh", "-c", script], sudo=True, timeout=60)

    async with asyncio.TaskGroup() as tasks:
        task = tasks.create_task(run())
        pids = [int(pid) for pid in (await pipe.line()).split()]
        task.cancel()
    pipe.close()
    assert task.cancelled()
    assert len(pids) == 2
    assert all([await gone(pid) for pid in pids])


async def test_the_time_limit_ends_the_command_on_the_host(estate: Estate) -> None:
    """A command over its time is told so with the host's name, and does not go on."""
    group, host, folder = opened(estate)
    pid = folder.root / "pid"
    async with open_group(group, "t") as transport:
        with pytest.raises(HostError) as caught:
            await transport.run(host, ["sh", "-c", f"echo $$ > {pid}; exec sleep 100"], timeout=1)
        assert (await transport.run(host, ["true"])).ok
    assert caught.value.brief.startswith("app01: ")
    assert "ran longer than 1 seconds and was stopped" in caught.value.brief
    assert caught.value.transient
    assert await gone(int(pid.read_text()))
    pid.unlink()


@pytest.mark.parametrize("estate", [LOCAL, SSHD], indirect=True)
async def test_a_daemon_left_behind_holds_nobody_up(estate: Estate) -> None:
    """A command that leaves a daemon with its output open has ended when it exits, and the daemon lives on."""
    group, host, folder = opened(estate)
    pid = folder.root / "daemon"
    async with open_group(group, "t") as transport:
        finished = await transport.run(host, ["sh", "-c", f"sleep 100 & echo $! > {pid}; echo started"], timeout=10)
    assert finished.out == "started\n"
    os.kill(int(pid.read_text()), 0)
    os.kill(int(pid.read_text()), signal.SIGKILL)


async def test_a_cut_connection_ends_the_command_on_the_host(one_ssh_host: SshEstate) -> None:
    """A connection that breaks is told as such, the command ends on the host, and the next command reconnects."""
    group, host, folder = opened(one_ssh_host)
    pipe = Signal(folder.root / "begun")
    script = f"echo $$ > {folder.root}/begun; exec sleep 100"
    async with open_group(group, "t") as transport:

        async def run() -> str:
            with pytest.raises(HostUnreachableError) as caught:
                await transport.run(host, ["sh", "-c", script], timeout=60)
            assert caught.value.transient
            return caught.value.brief

        async with asyncio.TaskGroup() as tasks:
            task = tasks.create_task(run())
            pid = int(await pipe.line())
            one_ssh_host.servers["app01"].cut()
        assert "while `sh" in task.result()
        assert await gone(pid)
        assert (await transport.run(host, ["true"])).ok
    pipe.close()


async def test_a_group_uses_one_connection_a_host_and_closes_it(one_ssh_host: SshEstate) -> None:
    """Commands at the same time share one connection, which is closed at the end of the step."""
    group, host, _ = opened(one_ssh_host)
    server = one_ssh_host.servers["app01"]
    async with open_group(group, "t") as transport:
        async with asyncio.TaskGroup() as tasks:
            for _ in range(5):
                tasks.create_task(transport.run(host, ["true"]))
        assert len(server.connections) == 1
        await transport.run(host, ["true"])
        assert len(server.connections) == 1
    await server.connections[0].wait_closed()
    assert server.open_connections() == 0


@pytest.mark.parametrize("estate", [SUDO], indirect=True)
async def test_a_refusal_of_sudo_is_told_apart_from_a_failing_command(estate: Estate) -> None:
    """Sudo that wants a password is an error that says what to allow; a command's own failure is its exit code."""
    group, host, folder = opened(estate)
    async with open_group(group, "t") as transport:
        assert (await transport.run(host, ["false"], sudo=True)).returncode == 1
        folder.write("sudo-refuses", "")
        assert (await transport.run(host, ["true"])).ok
        with pytest.raises(SudoRefusedError) as caught:
            await transport.run(host, ["true"], sudo=True)
    assert "app01: sudo without a password is refused to deploy: sudo: a password is required" in caught.value.brief
    assert "NOPASSWD" in caught.value.resolution
