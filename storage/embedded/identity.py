"""The account under which the server runs. PostgreSQL refuses to run as root, so as root it gets another one."""

from __future__ import annotations

import os
import pwd
import stat
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import TypedDict

from storage.embedded.errors import EmbeddedPostgresError


class Switch(TypedDict, total=False):
    """Arguments for `subprocess` that change the account of the child."""

    user: int
    group: int
    extra_groups: tuple[int, ...]


@dataclass(frozen=True)
class Identity:
    """An account.

    Attributes:
        uid: Its number.
        gid: The number of its own group.
        name: Its name, for messages.
        switched: Whether it is another one than the bot's.
    """

    uid: int
    gid: int
    name: str
    switched: bool

    def switch(self) -> Switch:
        """Return the arguments for `subprocess` that start a child under this account."""
        return Switch(user=self.uid, group=self.gid, extra_groups=()) if self.switched else Switch()

    def give(self, path: Path) -> None:
        """Make the account the owner of a file or of a whole folder, unless it is already. Links are not followed.

        Raises:
            EmbeddedPostgresError: If it belongs to somebody else and the bot may not change that.
        """
        owner = path.lstat().st_uid
        if owner == self.uid:
            return
        if not self.switched:
            raise EmbeddedPostgresError(
                f"{path} belongs to the user {_name_of(owner)}, but the bot runs as {self.name}.",
                untouched="Nothing was changed or started.",
                resolution=f"Start the bot as {_name_of(owner)}, or give it another data folder.",
            )
        os.chown(path, self.uid, self.gid, follow_symlinks=False)
        for base, folders, files in os.walk(path):
            for name in (*folders, *files):
                os.chown(Path(base) / name, self.uid, self.gid, follow_symlinks=False)


def choose_identity(folder: Path, data: Path) -> Identity:
    """Decide under which account the server of a data folder runs.

    A user's bot runs it as that user. As root it is, in this order: who owns the existing data, who owns the
    folder, the system's ``postgres``, ``nobody``; root never.

    Args:
        folder: The bot's folder; it exists.
        data: The database's files in it; they may not exist yet.

    Raises:
        EmbeddedPostgresError: If the bot is root and there is no such account.
    """
    me = os.geteuid()
    if me != 0:
        return Identity(uid=me, gid=os.getegid(), name=_name_of(me), switched=False)
    for path in (data, folder):
        uid = path.stat().st_uid if path.exists() else 0
        if uid != 0:
            return Identity(uid=uid, gid=_group_of(uid, path), name=_name_of(uid), switched=True)
    for name in ("postgres", "nobody"):
        try:
            known = pwd.getpwnam(name)
        except KeyError:
            continue
        return Identity(uid=known.pw_uid, gid=known.pw_gid, name=name, switched=True)
    raise EmbeddedPostgresError(
        "PostgreSQL does not run as root, and this system has neither the user postgres nor nobody.",
        untouched="Nothing was started.",
        resolution="Start the bot as an ordinary user, or create the user postgres.",
    )


def require_passage(folder: Path, identity: Identity) -> None:
    """Make sure that the account can enter the folder. No parent folder is opened for it.

    The account itself tries, because access lists and mounts decide beyond the mode bits.

    Raises:
        EmbeddedPostgresError: If it cannot; names the folder that is in the way.
    """
    if not identity.switched:
        return
    tried = subprocess.run(
        ["/bin/sh", "-c", 'cd -- "$1"', "sh", folder],
        cwd="/",
        check=False,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        **identity.switch(),
    )
    if tried.returncode != 0:
        closed = next((p for p in (*reversed(folder.parents), folder) if _closed(p, identity)), folder)
        raise EmbeddedPostgresError(
            f"The bot runs as root; its PostgreSQL would run as {identity.name}, who cannot enter {closed}.",
            untouched=f"Nothing was started, and the rights of {closed} were not changed.",
            resolution="Give the bot a data folder that every user can reach, for example /var/lib/rollback-bot, "
            "or start it as an ordinary user.",
        )


def _closed(path: Path, identity: Identity) -> bool:
    seen = path.stat()
    if seen.st_uid == identity.uid:
        return not seen.st_mode & stat.S_IXUSR
    if seen.st_gid == identity.gid:
        return not seen.st_mode & stat.S_IXGRP
    return not seen.st_mode & stat.S_IXOTH


def _name_of(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"number {uid}"


def _group_of(uid: int, path: Path) -> int:
    try:
        return pwd.getpwuid(uid).pw_gid
    except KeyError:
        return path.stat().st_gid
