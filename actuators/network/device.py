"""The way to a device: found in the inventory, its key checked, a shell with paging off."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

import asyncssh

from actuators import secrets, targets
from actuators.network import shell
from actuators.network.session import Line, Session
from actuators.network.values import complaint, masked
from actuators.transport.base import HostError, HostKeyError, HostUnreachableError, LoginRefusedError
from actuators.transport.ssh_connect import known_hosts, private_key
from bot.domain.actuation import Context
from bot.domain.errors import ActuatorError
from bot.domain.inventory import NetworkDevice
from bot.domain.plan import Step

_KEEPALIVE = 5
_GOODBYE = 2.0
_CISCO = re.compile(r"(?P<host>[A-Za-z0-9][\w.-]*)(?:\([^)\n]*\))?[>#]")
_JUNOS = re.compile(r"(?P<host>[\w.-]+@[\w.:-]+)[>#]")
_QUIET = {
    "cisco": ("terminal length 0", "terminal width 0"),
    "junos": ("set cli screen-length 0", "set cli screen-width 0"),
}
"""What stops paging and the folding of long lines, in this session alone."""
_TERMINAL = (511, 24)


def family(device: NetworkDevice) -> str:
    """Return whose language the device speaks: ``cisco``, ``junos`` or ``frr``."""
    return device.platform if device.platform in {"junos", "frr"} else "cisco"


def device_of(step: Step, context: Context, *, speaks: str = "") -> NetworkDevice:
    """Return the device that the step acts on.

    Args:
        step: The step.
        context: The run.
        speaks: The only language that the step can be said in; empty: any.

    Raises:
        ActuatorError: If the inventory has no such device.
    """
    target = targets.target_of(step, context, NetworkDevice, called="network device", section="devices")
    if speaks in {"", family(target)}:
        return target
    raise ActuatorError(
        f"Step {step.id} ({step.kind}): {step.target} is of the platform {target.platform}.",
        untouched="Nothing was contacted.",
        resolution="Name a fitting target of the inventory's section `devices`: network.replace is for ios and"
        " iosxe, network.rollback for junos, network.reload for frr.",
    )


def opened(name: str, device: NetworkDevice) -> AbstractAsyncContextManager[Line]:
    """Give a line to a device of any platform, from a login of its own, closed at the end.

    Raises:
        ActuatorError: If it cannot be reached, is not the one on record, refuses the login, or is no such device.
    """
    return shell.opened(name, device) if family(device) == "frr" else terminal(name, device)


@asynccontextmanager
async def terminal(name: str, device: NetworkDevice) -> AsyncIterator[Session]:
    """Give a session with a device that has a command line of its own, closed at the end.

    Args:
        name: The device's name in the inventory.
        device: The device.

    Raises:
        ActuatorError: If it cannot be reached, is not the one on record, refuses the login, or is no such device.
    """
    connection = await _connect(name, device)
    try:
        try:
            process = await connection.create_process(
                term_type="vt100", term_size=_TERMINAL, encoding="utf-8", errors="replace"
            )
        except (OSError, asyncssh.Error) as error:
            raise _unreachable(name, device, f"gives no shell: {masked(str(error))}") from None
        session = Session(name, process, _JUNOS if family(device) == "junos" else _CISCO)
        await session.begin()
        for command in _QUIET[family(device)]:
            refused = complaint(await session.run(command))
            if refused:
                raise _foreign(name, device, command, refused)
        yield session
    finally:
        connection.close()
        try:
            async with asyncio.timeout(_GOODBYE):
                await connection.wait_closed()
        except TimeoutError:
            connection.abort()


def way_in(device: NetworkDevice | None) -> str:
    """Return what to do where the network no longer leads to the device."""
    if device is None or device.out_of_band is None:
        return "Use the device's console; the inventory names no way to it (`out_of_band`)."
    what = {"console_server": "the console server", "ipmi": "IPMI"}[device.out_of_band.kind]
    return f"Reach its console by {what}: {device.out_of_band.words}"


async def _connect(name: str, device: NetworkDevice) -> asyncssh.SSHClientConnection:
    known = known_hosts(device.known_hosts)
    login: dict[str, Any] = {"client_keys": None, "password": None, "preferred_auth": "publickey"}
    if device.key is not None:
        login["client_keys"] = [private_key(device.key, secrets.resolve(device.key))]
    elif device.password is not None:
        login |= {"password": secrets.resolve(device.password), "preferred_auth": "password,keyboard-interactive"}
    try:
        async with asyncio.timeout(device.connect_timeout.total_seconds()):
            return await asyncssh.connect(
                device.address,
                device.port,
                username=device.user,
                known_hosts=known,
                config=None,
                agent_path=None,
                gss_host=None,
                keepalive_interval=_KEEPALIVE,
                keepalive_count_max=3,
                **login,
            )
    except TimeoutError:
        seconds = device.connect_timeout.total_seconds()
        raise _unreachable(name, device, f"gave no answer within {seconds:g} seconds") from None
    except asyncssh.Error as error:
        raise _refusal(name, device, error) from None
    except OSError as error:
        raise _unreachable(name, device, f"cannot be reached: {error.strerror or error}") from None


def _refusal(name: str, device: NetworkDevice, error: asyncssh.Error) -> HostError:
    if isinstance(error, asyncssh.HostKeyNotVerifiable | asyncssh.KeyExchangeFailed) or "host key" in str(error):
        return HostKeyError(
            name,
            f"the host key at {_where(device)} is not one in {device.known_hosts}: it may be another machine.",
            untouched="The connection was closed before the login; nothing was run there.",
            resolution="Compare the key on the device's own console (Cisco: `show ip ssh`; Junos: `file show"
            f" /etc/ssh/ssh_host_ed25519_key.pub`), then correct its line in {device.known_hosts}.",
        )
    if isinstance(error, asyncssh.PermissionDenied):
        credential = device.key or device.password
        where = secrets.describe(credential) if credential else "the inventory"
        return LoginRefusedError(
            name,
            f"the login as {device.user} at {_where(device)} is refused.",
            untouched="Nothing was run there.",
            resolution=f"Compare the device's user with the credential in {where}.",
        )
    return _unreachable(name, device, f"broke off: {masked(str(error))}")


def _unreachable(name: str, device: NetworkDevice, what: str) -> HostError:
    return HostUnreachableError(
        name,
        f"{_where(device)} {what}.",
        untouched="Nothing was run there.",
        resolution=f"Check the device and the network's way to it. {way_in(device)}",
        transient=True,
    )


def _foreign(name: str, device: NetworkDevice, command: str, refused: str) -> ActuatorError:
    return ActuatorError(
        f"{name} does not take {command!r}, which every {device.platform} device does: {refused}.",
        untouched="Nothing else was run there.",
        resolution="Correct `platform` of the device in the inventory, or allow its user the command.",
    )


def _where(device: NetworkDevice) -> str:
    return f"{device.address}:{device.port}"
