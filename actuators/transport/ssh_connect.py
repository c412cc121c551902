"""Making an SSH connection, with every way to fail in words."""

from __future__ import annotations

import asyncio
import ipaddress
import os
from pathlib import Path

import asyncssh

from actuators import secrets
from actuators.redact import redact
from actuators.transport.base import HostError, HostKeyError, HostUnreachableError, LoginRefusedError
from bot.domain.errors import ActuatorError
from bot.domain.inventory import Host, SecretRef, Ssh

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


async def connect(
    host: Host, access: Ssh, *, key: asyncssh.SSHKey, known: asyncssh.SSHKnownHosts
) -> asyncssh.SSHClientConnection:
    """Connect and log in.

    The user's own SSH configuration, agent and known hosts are left out: the inventory says everything.

    Raises:
        HostKeyError: If the host's key is unknown or another one.
        LoginRefusedError: If the key is not accepted.
        HostUnreachableError: If there is no answer in time.
    """
    try:
        async with asyncio.timeout(access.connect_timeout.total_seconds()):
            return await asyncssh.connect(
                host.address,
                host.port,
                username=access.user,
                client_keys=[key],
                known_hosts=known,
                server_host_key_algs=_algorithms(host, known),
                config=None,
                agent_path=None,
                password=None,
                preferred_auth="publickey",
                gss_host=None,
                keepalive_interval=_KEEPALIVE,
                keepalive_count_max=3,
            )
    except TimeoutError:
        seconds = access.connect_timeout.total_seconds()
        raise _unreachable(host, f"gave no answer within {seconds:g} seconds") from None
    except asyncssh.Error as error:
        raise _refusal(error, host, access, known=known) from None
    except OSError as error:
        raise _unreachable(host, f"cannot be reached: {_reason(error)}") from None


def _algorithms(host: Host, known: asyncssh.SSHKnownHosts) -> list[str] | tuple[()]:
    """Return the kinds of host keys to ask for: those on record, then all others.

    A server that has none of the kinds asked for hangs up without a word. Asked for any, it shows its key, and the
    refusal can say what is wrong.
    """
    keys, certified = _recorded(host, known)
    if certified or not keys:
        return ()
    recorded = [name.decode() for key in keys for name in key.sig_algorithms]
    return [*recorded, *(name for name in _KINDS if name not in recorded)]


def _refusal(error: asyncssh.Error, host: Host, access: Ssh, *, known: asyncssh.SSHKnownHosts) -> HostError:
    if isinstance(error, asyncssh.HostKeyNotVerifiable) or "host key" in str(error):
        return _wrong_key(host, access, known=known)
    if isinstance(error, asyncssh.PermissionDenied):
        return LoginRefusedError(
            host.name,
            f"the login as {access.user} at {_where(host)} is refused.",
            untouched="Nothing was run there.",
            resolution=(
                f"Put the public half of the key in {secrets.describe(access.key)} into the authorized_keys of"
                f" {access.user}."
            ),
        )
    return _unreachable(host, f"broke off: {redact(str(error))}")


def _wrong_key(host: Host, access: Ssh, *, known: asyncssh.SSHKnownHosts) -> HostKeyError:
    recorded = any(_recorded(host, known))
    what = (
        f"the host key at {_where(host)} is not the one in {access.known_hosts}: it may be another machine."
        if recorded
        else f"there is no host key for {_where(host)} in {access.known_hosts}."
    )
    return HostKeyError(
        host.name,
        what,
        untouched="The connection was closed before the login; nothing was run there.",
        resolution=(
            "Compare with `ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub` on the host's own console, then"
            f" {'correct' if recorded else 'add'} its line in {access.known_hosts}."
        ),
    )


def _recorded(host: Host, known: asyncssh.SSHKnownHosts) -> tuple[list[asyncssh.SSHKey], bool]:
    """Return the host's keys on record, and whether an authority for its certificates is."""
    try:
        address = str(ipaddress.ip_address(host.address))
    except ValueError:
        address = ""
    keys, authorities, *_ = known.match(host.address, address, host.port)
    return list(keys), bool(authorities)


def _unreachable(host: Host, what: str) -> HostUnreachableError:
    return HostUnreachableError(
        host.name,
        f"{_where(host)} {what}.",
        untouched="Nothing was run there.",
        resolution="Check that the host is up, that sshd listens there, and that the network lets the bot through.",
        transient=True,
    )


def _where(host: Host) -> str:
    return f"{host.address}:{host.port}"


def _reason(error: OSError) -> str:
    """Return the system's words; asyncio puts a sentence of its own with the address in their place."""
    if error.errno is not None and error.errno > 0:
        return os.strerror(error.errno)
    return error.strerror or str(error)
