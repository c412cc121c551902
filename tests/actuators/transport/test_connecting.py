from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import asyncssh
import pytest

from actuators.transport import HostError, HostKeyError, HostUnreachableError, LoginRefusedError, open_group
from bot.domain.errors import ActuatorError
from bot.domain.inventory import ServerGroup
from tests.support.estates import ASYNCSSH, SSHD
from tests.support.hosts import Estate
from tests.support.ssh import SshEstate


async def refused(group: dict[str, Any]) -> HostError:
    """Return the error of the first command on the first host."""
    parsed = ServerGroup.model_validate(group)
    async with open_group(parsed, "t") as transport:
        with pytest.raises(HostError) as caught:
            await transport.run(parsed.hosts[0], ["touch", f"{parsed.config}/ran"])
    return caught.value


def record_other_keys(estate: Estate, *, kind: str | None) -> Path:
    """Put other keys into the file of known hosts, or none, and return its path."""
    known = Path(estate.group["ssh"]["known_hosts"])
    other = "" if kind is None else asyncssh.generate_private_key(kind).export_public_key().decode()
    lines = known.read_text().splitlines() if other else []
    known.write_text("".join(f"{line.split()[0]} {other}" for line in lines))
    return known


@pytest.mark.parametrize("estate", [ASYNCSSH, SSHD], indirect=True)
async def test_another_host_key_is_refused(estate: Estate) -> None:
    """A host whose key is not the recorded one gets neither a login nor a command."""
    known = record_other_keys(estate, kind="ssh-ed25519")
    error = await refused(estate.group)
    assert isinstance(error, HostKeyError)
    assert not error.transient
    assert f"is not the one in {known}: it may be another machine" in error.brief
    assert "closed before the login" in error.untouched
    assert "ssh-keygen -lf" in error.resolution
    assert not estate.only.has("etc/ran")


@pytest.mark.parametrize("estate", [ASYNCSSH, SSHD], indirect=True)
async def test_a_host_key_of_another_kind_is_refused(estate: Estate) -> None:
    """A host that only has a key of another algorithm than the recorded one is not trusted either."""
    record_other_keys(estate, kind="ecdsa-sha2-nistp256")
    error = await refused(estate.group)
    assert isinstance(error, HostKeyError)
    assert "is not the one in" in error.brief


@pytest.mark.parametrize("estate", [ASYNCSSH, SSHD], indirect=True)
async def test_an_unknown_host_is_refused(estate: Estate) -> None:
    """A host without a recorded key is not trusted at first sight."""
    known = record_other_keys(estate, kind=None)
    error = await refused(estate.group)
    assert isinstance(error, HostKeyError)
    assert f"there is no host key for 127.0.{error.brief.split('127.0.')[1].split(' ')[0]}" in error.brief
    assert f"add its line in {known}" in error.resolution


@pytest.mark.parametrize("estate", [ASYNCSSH, SSHD], indirect=True)
async def test_a_refused_login_says_which_key(estate: Estate, place: Path) -> None:
    """A key that the host does not accept is an error that names the reference of the key, not the key."""
    key = asyncssh.generate_private_key("ssh-ed25519")
    (place / "key").write_bytes(key.export_private_key())
    error = await refused(estate.group)
    assert isinstance(error, LoginRefusedError)
    assert not error.transient
    assert f"file {place}/key" in error.resolution
    assert "PRIVATE KEY" not in str(error)


async def test_a_host_that_is_down_is_unreachable(one_ssh_host: SshEstate) -> None:
    """A refused connection is a passing fault with the address in words."""
    await one_ssh_host.servers["app01"].stop()
    error = await refused(one_ssh_host.group)
    assert isinstance(error, HostUnreachableError)
    assert error.transient
    assert error.brief.startswith("app01: 127.0.1.1:")
    assert error.brief.endswith("cannot be reached: Connection refused.")
    assert error.untouched == "Nothing was run there."


async def test_a_name_that_does_not_resolve_is_unreachable(one_ssh_host: SshEstate) -> None:
    """A name without an address is told in the system's words."""
    one_ssh_host.group["hosts"][0]["address"] = "app01.invalid"
    error = await refused(one_ssh_host.group)
    assert isinstance(error, HostUnreachableError)
    assert "app01.invalid" in error.brief


async def test_a_silent_host_is_given_up_after_the_connect_timeout(one_ssh_host: SshEstate) -> None:
    """A host that accepts the connection and says nothing is unreachable after the configured time."""
    ended = asyncio.Event()

    async def silence(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()
        ended.set()

    server = await asyncio.start_server(silence, "127.0.1.9", 0)
    one_ssh_host.group["hosts"][0] |= {"address": "127.0.1.9", "port": server.sockets[0].getsockname()[1]}
    one_ssh_host.group["ssh"]["connect_timeout"] = "300ms"
    error = await refused(one_ssh_host.group)
    assert isinstance(error, HostUnreachableError)
    assert error.brief.endswith("gave no answer within 0.3 seconds.")
    await ended.wait()
    server.close()
    await server.wait_closed()


async def test_a_cancelled_connect_leaks_no_connection(one_ssh_host: SshEstate) -> None:
    """A caller that is cancelled while connecting leaves no socket open."""
    began, ended = asyncio.Event(), asyncio.Event()

    async def silence(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        began.set()
        await reader.read()
        writer.close()
        ended.set()

    server = await asyncio.start_server(silence, "127.0.1.9", 0)
    one_ssh_host.group["hosts"][0] |= {"address": "127.0.1.9", "port": server.sockets[0].getsockname()[1]}
    async with asyncio.TaskGroup() as tasks:
        task = tasks.create_task(refused(one_ssh_host.group))
        await began.wait()
        task.cancel()
    await ended.wait()
    server.close()
    await server.wait_closed()
    assert task.cancelled()


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda place: (place / "key").write_text("no key"), "is no private key"),
        (lambda place: (place / "key").chmod(0o644), "is open to group or others"),
        (lambda place: (place / "key").unlink(), "cannot be read: No such file"),
        (lambda place: (place / "known_hosts").unlink(), "known_hosts cannot be used: No such file"),
        (lambda place: (place / "known_hosts").write_text("@what x y z\n"), "known_hosts cannot be used: "),
        (
            lambda place: (place / "key").write_bytes(
                asyncssh.generate_private_key("ssh-ed25519").export_private_key("pkcs8-pem", passphrase="secret")
            ),
            "is locked by a passphrase",
        ),
    ],
)
async def test_an_unusable_key_or_known_hosts_is_told_before_any_host_is_contacted(
    one_ssh_host: SshEstate, place: Path, spoil: Any, words: str
) -> None:
    """Nothing is contacted when the key or the file of known hosts cannot be used, and the error says why."""
    spoil(place)
    with pytest.raises(ActuatorError) as caught:
        async with open_group(ServerGroup.model_validate(one_ssh_host.group), "t"):
            pass
    assert words in caught.value.brief
    assert caught.value.untouched
    assert caught.value.resolution
    assert one_ssh_host.servers["app01"].connections == []
