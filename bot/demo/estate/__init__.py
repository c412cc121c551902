"""A small estate on loopback: something real for the demo and the end-to-end tests to roll back."""

from bot.demo.estate.estate import Estate
from bot.demo.estate.facts import (
    NEW_SCHEMA,
    NEW_VERSION,
    OLD_SCHEMA,
    OLD_VERSION,
    BackedUpFile,
    Backup,
    EstateError,
    Facts,
    Layout,
    PgServer,
)
from bot.demo.estate.observations import Measured, measure

__all__ = [
    "NEW_SCHEMA",
    "NEW_VERSION",
    "OLD_SCHEMA",
    "OLD_VERSION",
    "BackedUpFile",
    "Backup",
    "Estate",
    "EstateError",
    "Facts",
    "Layout",
    "Measured",
    "PgServer",
    "measure",
]
