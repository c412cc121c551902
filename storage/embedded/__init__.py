"""The default store: a PostgreSQL of the bot's own, in a folder of its own, with no configuration."""

from storage.embedded.binaries import find_binaries
from storage.embedded.errors import EmbeddedPostgresError, FolderInUseError
from storage.embedded.launcher import EmbeddedPostgres
from storage.embedded.postmaster import Server

__all__ = ["EmbeddedPostgres", "EmbeddedPostgresError", "FolderInUseError", "Server", "find_binaries"]
