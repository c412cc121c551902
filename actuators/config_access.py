"""Who the bot is on a host, and what keeps it from writing a path there. Read only."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from actuators.transport import SudoRefusedError, Transport
from bot.domain.inventory import Host

_WHO = """PATH=$PATH:/usr/sbin:/sbin
printf '@who %s\\n' "$(id)"
printf '@selinux %s\\n' "$(getenforce 2>/dev/null || echo none)"
printf '@domain %s\\n' "$(id -Z 2>/dev/null || echo none)"
printf '@apparmor %s\\n' "$(cat /sys/module/apparmor/parameters/enabled 2>/dev/null || echo none)"
said=$(sudo -n -l 2>&1)
printf '@sudo %s\\n' "$?"
printf '%s\\n' "$said" | head -n 25 | sed 's/^/  sudo: /'
"""
_PATHS = """PATH=$PATH:/usr/sbin:/sbin
LC_ALL=C
export LC_ALL
printf '@as %s\\n@uid %s\\n@groups %s\\n' "$(id -un)" "$(id -u)" "$(id -Gn)"
for path; do
  printf '@path %s\\n' "$path"
  if [ ! -e "$path" ] && [ ! -L "$path" ]; then
    printf '@missing %s\\n' "$(ls -ld -- "$path" 2>&1 | head -n 1)"
    continue
  fi
  may=
  if [ -r "$path" ]; then may=${may}r; fi
  if [ -w "$path" ]; then may=${may}w; fi
  if [ -x "$path" ]; then may=${may}x; fi
  kind=other
  if [ -d "$path" ]; then kind=folder; elif [ -f "$path" ]; then kind=file; fi
  printf '@may %s\\n@is %s\\n' "$may" "$kind"
  printf '@ls %s\\n' "$(ls -ld -- "$path")"
  printf '@context %s\\n' "$(ls -dZ -- "$path" 2>/dev/null | cut -d' ' -f1)"
  printf '@attributes %s\\n' "$(lsattr -d -- "$path" 2>/dev/null | cut -d' ' -f1)"
  printf '@mount %s\\n' "$(findmnt -n -o OPTIONS -T "$path" 2>/dev/null)"
  if command -v getfacl >/dev/null; then
    getfacl -c -p -- "$path" 2>/dev/null | grep -E '^(user|group|mask|default):' | grep -Ev '^(user|group)::' |
      sed 's/^/@acl /'
  fi
done
"""


@dataclass
class Place:
    """One path on a host.

    Attributes:
        path: Which.
        known: What was read of it, by key.
        acl: The entries of its access control list beyond the mode.
    """

    path: str
    known: dict[str, str] = field(default_factory=dict)
    acl: list[str] = field(default_factory=list)

    @property
    def regular(self) -> bool:
        """Whether it is a regular file itself, and no link to one."""
        return self.known.get("ls", "").startswith("-")

    @property
    def missing(self) -> bool:
        """Whether there is nothing, or the way to it is closed."""
        return "missing" in self.known

    def may(self, right: str) -> bool:
        """Return whether the bot has a right to it: ``r``, ``w`` or ``x``."""
        return right in self.known.get("may", "")

    def owners(self) -> tuple[str, str]:
        """Return the names (or numbers) of user and group; empty where they are not known."""
        words = self.known.get("ls", "").split()
        return (words[2], words[3]) if len(words) > 3 else ("", "")  # noqa: PLR2004 - mode, links, user, group

    def owner(self) -> str:
        """Return mode and owner in words: ``drwxr-xr-x root root``."""
        words = self.known.get("ls", "").split()
        return " ".join((words[0], *words[2:4])) if len(words) > 3 else "mode not known"  # noqa: PLR2004 - mode, links, user, group

    def obstacle(self) -> str:
        """Return why it cannot be written, in words."""
        if "i" in self.known.get("attributes", ""):
            return "immutable (chattr +i)"
        if "ro" in self.known.get("mount", "").split(","):
            return "on a read-only file system"
        return self.owner()

    def line(self) -> str:
        """Return all that is known of it in a line."""
        if self.missing:
            return f"  {self.known['missing']}"
        parts = [self.known.get("ls", self.path), f"the bot: {self.known.get('may') or 'nothing'}"]
        if not self.known.get("context", "?").startswith("?"):
            parts.append(f"context {self.known['context']}")
        parts += [f"ACL {entry}" for entry in self.acl]
        if set("ia") & set(self.known.get("attributes", "")):
            parts.append("immutable or append-only (lsattr)")
        return f"  {'; '.join(parts)}"


@dataclass(frozen=True)
class Standing:
    """How the user of a group's commands stands with some paths.

    Attributes:
        acts_as: The user that the group's commands run as.
        is_root: Whether that is the superuser, who may give files to anybody.
        groups: Its groups.
        places: The paths and the folders above, by path.
    """

    acts_as: str
    is_root: bool
    groups: frozenset[str]
    places: dict[str, Place]


@dataclass(frozen=True)
class Access:
    """Who the bot is on a host, and how it stands with some paths.

    Attributes:
        login: The user that it logs in as.
        acts_as: The user that the group's commands run as.
        sudo: Whether sudo lets the login do anything without a password.
        sudo_refused: What sudo said to a command of the group; empty if it let it pass, or was not asked.
        selinux: ``Enforcing``, ``Permissive``, ``Disabled`` or ``none``.
        apparmor: Whether AppArmor is on.
        places: The paths and the folders above, by path.
        head: What was read of the host itself, line by line.
    """

    login: str
    acts_as: str
    sudo: bool
    sudo_refused: str
    selinux: str
    apparmor: bool
    places: dict[str, Place]
    head: tuple[str, ...]

    def lines(self) -> Iterator[str]:
        """Yield everything, for people who look closely."""
        yield from self.head
        for place in self.places.values():
            yield place.line()


async def look(transport: Transport, host: Host, paths: Iterable[str]) -> Access:
    """Look at a host.

    Args:
        transport: The way to it.
        host: Which.
        paths: Absolute paths; the folders above them are looked at as well.

    Raises:
        HostError: If the host cannot be asked.
    """
    every = with_folders(paths)
    about = (await transport.run(host, ["sh", "-c", _WHO, "sh"])).out
    refused = ""
    try:
        listing = (await transport.run(host, ["sh", "-c", _PATHS, "sh", *every], sudo=True)).out
    except SudoRefusedError as error:
        refused = error.what
        listing = (await transport.run(host, ["sh", "-c", _PATHS, "sh", *every])).out
    head = dict(re.findall(r"^@(\w+) (.*)$", about, re.MULTILINE))
    standing = _standing(listing)
    user = re.search(r"uid=\d+\(([^)]*)\)", head.get("who", ""))
    return Access(
        login=user[1] if user else "the login",
        acts_as=standing.acts_as,
        sudo=head.get("sudo") == "0",
        sudo_refused=refused,
        selinux=head.get("selinux", "none"),
        apparmor=head.get("apparmor") == "Y",
        places=standing.places,
        head=tuple(re.sub(r"^@(\w+)", r"  \1:", line) for line in about.splitlines()),
    )


async def stand(transport: Transport, host: Host, paths: Iterable[str]) -> Standing:
    """Look how the user of the group's commands stands with some paths; nothing else of the host is asked.

    Args:
        transport: The way to it.
        host: Which.
        paths: Absolute paths; the folders above them are looked at as well.

    Raises:
        HostError: If the host cannot be asked.
    """
    return _standing((await transport.run(host, ["sh", "-c", _PATHS, "sh", *with_folders(paths)], sudo=True)).out)


def with_folders(paths: Iterable[str]) -> list[str]:
    """Return the paths with all folders above them, from the root down, each once."""
    every: dict[str, None] = {}
    for path in map(posixpath.normpath, paths):
        above = [path]
        while above[-1] not in {"/", ""}:
            above.append(posixpath.dirname(above[-1]))
        every |= dict.fromkeys(reversed(above))
    return [path for path in every if path]


def obstacle(access: Access, paths: Sequence[str], *, written: Sequence[str]) -> str:
    """Return in words what keeps the bot from reading or replacing one of these files.

    Args:
        access: What was found on the host.
        paths: Files and folders.
        written: Folders below which the bot writes; elsewhere it only reads.
    """
    if access.sudo_refused:
        return access.sudo_refused.rstrip(".")
    roots = [posixpath.normpath(root) for root in written]
    for path in map(posixpath.normpath, paths):
        writes = any(path == root or path.startswith(f"{root}/") for root in roots)
        found = in_the_way(access.places, path, acts_as=access.acts_as, writes=writes)
        if found:
            return found
    if access.selinux == "Enforcing":
        return f"the modes let {access.acts_as} write; SELinux is enforcing, so look at the contexts"
    if access.apparmor:
        return f"the modes let {access.acts_as} write; AppArmor is on, so look at its profiles (aa-status)"
    return f"nothing that was looked at keeps {access.acts_as} from writing"


def in_the_way(places: Mapping[str, Place], path: str, *, acts_as: str, writes: bool) -> str:
    """Return in words what keeps a user from reading or replacing a path; empty if nothing is known to.

    Args:
        places: What was found, by path.
        path: The file or folder.
        acts_as: The user.
        writes: Whether it is to be replaced, or only read.
    """
    chain = [places[each] for each in with_folders([path]) if each in places]
    for place in chain[:-1]:
        if place.missing:
            return f"there is no folder {place.path}, or {acts_as} may not see it"
        if not place.may("x"):
            return f"{acts_as} may not pass through {place.path} ({place.owner()})"
    last = chain[-1]
    # A file is replaced by a rename, so its folder must be writable, whatever the mode of the file.
    folder = last if last.known.get("is") == "folder" else chain[max(0, len(chain) - 2)]
    if writes and not folder.may("w"):
        return f"{acts_as} may not write to {folder.path} ({folder.obstacle()})"
    if writes and "i" in last.known.get("attributes", ""):
        return f"{last.path} is {last.obstacle()}"
    if not last.missing and not last.may("r"):
        return f"{acts_as} may not read {last.path} ({last.owner()})"
    return ""


def _standing(listing: str) -> Standing:
    head, place = {"as": "the login"}, Place("")
    places: dict[str, Place] = {}
    for line in listing.splitlines():
        key, _, value = line.partition(" ")
        match key:
            case "@as" | "@uid" | "@groups":
                head[key[1:]] = value
            case "@path":
                place = places.setdefault(value, Place(value))
            case "@acl":
                place.acl.append(value)
            case _ if key.startswith("@"):
                place.known[key[1:]] = value
    groups = frozenset(head.get("groups", "").split())
    return Standing(head["as"], head.get("uid") == "0", groups, places)
