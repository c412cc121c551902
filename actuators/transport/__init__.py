"""How the hosts of a server group are reached: on the bot's own machine, or over SSH."""

from actuators.transport.base import (
    FileStat,
    HostError,
    HostKeyError,
    HostUnreachableError,
    LoginRefusedError,
    SudoRefusedError,
    Transport,
)
from actuators.transport.opening import open_group

__all__ = [
    "FileStat",
    "HostError",
    "HostKeyError",
    "HostUnreachableError",
    "LoginRefusedError",
    "SudoRefusedError",
    "Transport",
    "open_group",
]
