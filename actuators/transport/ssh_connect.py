"""Making an SSH connection, with every way to fail in words."""

from __future__ import annotations

import asyncio
import ipaddress
import os
from dataclasses import dataclass
from pathlib import Path

import asyncssh

from actuators import secrets
from actuators.redact import redact
from actuators.transport.base import HostError, HostKeyError, HostUnreachableError, LoginRefusedError
from bot.domain.errors import ActuatorError
from bot.domain.inventory import Bastion, Host, SecretRef, Ssh

_KEEPALIVE = 5
"""Seconds between signs of life; after three without an answer the connection is given up."""
_KINDS = (
    "ssh-ed25519",
    "ecdsa-sha2-nistp256",
    "ecdsa-sha2-nistp384",
    "ecdsa-sha2-nistp521",
    "rsa-sha2-512",
    "rsa-sha2-256",
)


def private_key(ref: SecretRef, text: str) -> asyncssh.SSHKey:
    """Return the private key.

    Args:
        ref: Where it came from, for the message.
        text: The key in PEM or OpenSSH form.

    Raises:
        ActuatorError: If it is no private key, or is locked by a passphrase.
    """
    try:
        return asyncssh.import_private_key(text)
    except asyncssh.KeyImportError as error:
        # The library has one error for both, and only its words tell.
        locked = "passphrase" in str(error).lower()
    if locked:
        what, resolution = "is locked by a passphrase", "Give the bot a key of its own without a passphrase."
    else:
        what, resolution = "is no private key", "Put a private key there in OpenSSH or PEM form."
    raise ActuatorError(
        f"The SSH key in {secrets.describe(ref)} {what}.", untouched="No host was contacted.", resolution=resolution
    )


def known_hosts(path: str) -> asyncssh.SSHKnownHosts:
    """Return the file of known hosts.

    Raises:
        ActuatorError: If it cannot be read or understood. There is no way on without it.
    """
    try:
        return asyncssh.import_known_hosts(Path(path).read_text())
    except OSError as error:
        reason = error.strerror or str(error)
    except ValueError as error:
        reason = str(error)
    raise ActuatorError(
        f"The file of known hosts {path} cannot be used: {reason}.",
        untouched="No host was contacted, since none could be told from an impostor.",
        resolution="Write the hosts' public keys there as ssh-keyscan prints them, compared at the source.",
    )


@dataclass(frozen=True)
class Login:
    """With what a connection is made.

    Attributes:
        user: The login name.
        ref: Where the private key came from, for messages.
        key: The private key.
        known_file: The path of the file of known hosts, for messages.
        known: What stands in it.
    """

    user: str
    ref: SecretRef
    key: asyncssh.SSHKey
    known_file: str
    known: asyncssh.SSHKnownHosts


@dataclass(frozen=True)
class Hop:
    """Where a connection is made to: a host, or a bastion on the way to it.

    Attributes:
        address: Its address, as the hop before sees it.
        port: Where its sshd listens.
        login: With what.
        name: What it is called in messages.
    """

    address: str
    port: int
    login: Login
    name: str


def login(access: Ssh | Bastion) -> Login:
    """Read the private key and the known hosts.

    Raises:
        ActuatorError: If either cannot be used.
    """
    key = private_key(access.key, secrets.resolve(access.key))
    return Login(access.user, access.key, key, access.known_hosts, known_hosts(access.known_hosts))


def chain(access: Ssh) -> tuple[Hop, ...]:
    """Return the bastions on the way.

    Raises:
        ActuatorError: If the key or the known hosts of one cannot be used.
    """
    total = len(access.bastion)
    return tuple(
        Hop(
            each.address,
            each.port,
            login(each),
            f"the bastion {each.address}:{each.port}" + (f" (hop {number} of {total})" if total > 1 else ""),
        )
        for number, each in enumerate(access.bastion, start=1)
    )


async def connect(
    host: Host,
    hop: Hop,
    *,
    timeout: float,  # noqa: ASYNC109 - the end of the time becomes an error in words
    tunnel: asyncssh.SSHClientConnection | None = None,
    behind: str = "",
) -> asyncssh.SSHClientConnection:
    """Connect and log in.

    The user's own SSH configuration, agent and known hosts are left out: the inventory says everything.

    Args:
        host: The host that all this is for; its name stands in the errors.
        hop: Where.
        timeout: Seconds it may take.
        tunnel: The connection to the bastion before it, if there is one.
        behind: What that bastion is called.

    Raises:
        HostKeyError: If the hop's key is unknown or another one.
        LoginRefusedError: If the key is not accepted.
        HostUnreachableError: If there is no answer in time.
    """
    try:
        async with asyncio.timeout(timeout):
            return await asyncssh.connect(
                hop.address,
                hop.port,
                tunnel=tunnel or (),
                username=hop.login.user,
                client_keys=[hop.login.key],
                known_hosts=hop.login.known,
                server_host_key_algs=_algorithms(hop),
                config=None,
                agent_path=None,
                password=None,
                preferred_auth="publickey",
                gss_host=None,
                keepalive_interval=_KEEPALIVE,
                keepalive_count_max=3,
            )
    except TimeoutError:
        raise _unreachable(host, hop, f"gave no answer within {timeout:g} seconds{_from(behind)}") from None
    except asyncssh.ChannelOpenError as error:
        raise _not_let_through(error, host, hop, behind) from None
    except asyncssh.Error as error:
        raise _refusal(error, host, hop) from None
    except OSError as error:
        raise _unreachable(host, hop, f"cannot be reached{_from(behind)}: {_reason(error)}") from None


def _from(behind: str) -> str:
    return f" through {behind}" if behind else ""


def _algorithms(hop: Hop) -> list[str] | tuple[()]:
    """Return the kinds of host keys to ask for: those on record, then all others.

    A server that has none of the kinds asked for hangs up without a word. Asked for any, it shows its key, and the
    refusal can say what is wrong.
    """
    keys, certified = _recorded(hop)
    if certified or not keys:
        return ()
    recorded = [name.decode() for key in keys for name in key.sig_algorithms]
    return [*recorded, *(name for name in _KINDS if name not in recorded)]


def _not_let_through(error: asyncssh.ChannelOpenError, host: Host, hop: Hop, behind: str) -> HostError:
    """Tell a bastion that forwards nothing from a host that it cannot reach."""
    if error.code == asyncssh.OPEN_ADMINISTRATIVELY_PROHIBITED:
        return HostUnreachableError(
            host.name,
            f"{behind} does not let connections through to {hop.name}: {redact(error.reason)}.",
            untouched="Nothing was run there.",
            resolution="Let its sshd forward to the hosts for this login (AllowTcpForwarding, PermitOpen).",
        )
    return _unreachable(host, hop, f"cannot be reached{_from(behind)}: {redact(error.reason)}")


def _refusal(error: asyncssh.Error, host: Host, hop: Hop) -> HostError:
    if isinstance(error, asyncssh.HostKeyNotVerifiable) or "host key" in str(error):
        return _wrong_key(host, hop)
    if isinstance(error, asyncssh.PermissionDenied):
        user = hop.login.user
        return LoginRefusedError(
            host.name,
            f"the login as {user} at {hop.name} is refused.",
            untouched="Nothing was run there.",
            resolution=(
                f"Put the public half of the key in {secrets.describe(hop.login.ref)} into the authorized_keys of"
                f" {user}."
            ),
        )
    return _unreachable(host, hop, f"broke off: {redact(str(error))}")


def _wrong_key(host: Host, hop: Hop) -> HostKeyError:
    recorded, file = any(_recorded(hop)), hop.login.known_file
    what = (
        f"the host key at {hop.name} is not the one in {file}: it may be another machine."
        if recorded
        else f"there is no host key for {hop.name} in {file}."
    )
    return HostKeyError(
        host.name,
        what,
        untouched="The connection was closed before the login; nothing was run there.",
        resolution=(
            "Compare with `ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub` on the host's own console, then"
            f" {'correct' if recorded else 'add'} its line in {file}."
        ),
    )


def _recorded(hop: Hop) -> tuple[list[asyncssh.SSHKey], bool]:
    """Return the host's keys on record, and whether an authority for its certificates is."""
    try:
        address = str(ipaddress.ip_address(hop.address))
    except ValueError:
        address = ""
    keys, authorities, *_ = hop.login.known.match(hop.address, address, hop.port)
    return list(keys), bool(authorities)


def _unreachable(host: Host, hop: Hop, what: str) -> HostUnreachableError:
    return HostUnreachableError(
        host.name,
        f"{hop.name} {what}.",
        untouched="Nothing was run there.",
        resolution="Check that the host is up, that sshd listens there, and that the network lets the bot through.",
        transient=True,
    )


def _reason(error: OSError) -> str:
    """Return the system's words; asyncio puts a sentence of its own with the address in their place."""
    if error.errno is not None and error.errno > 0:
        return os.strerror(error.errno)
    return error.strerror or str(error)
