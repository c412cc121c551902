"""What restoring would change on every host, put together for the person who approves it."""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from actuators.config_diff import LARGEST_SHOWN, Difference, difference, told_by_size
from actuators.config_files import Configuration, Pair, Pairs, digests_of
from actuators.remedies import shown
from actuators.servers_hosts import Results, across, named, told
from actuators.transport import FileStat, Transport
from bot.domain.actuation import Check, Verdict
from bot.domain.inventory import Host

_LINES = 600
"""Lines of all differences that are shown; the engine keeps what of them fits the journal."""
_UNLIKE = "Find out why first: on a host that is unlike the others the same release may do something else."

_Key = tuple[str, Pair]
"""A file with what is in place and what comes back: hosts with the same one have the same difference."""


@dataclass
class HostChanges:
    """What restoring does to one host.

    Attributes:
        pairs: The backup's files against those in place.
        unknown: Files in place that the backup does not know; they stay.
        notes: What is to be known of mode and owner, by file that changes.
        differences: What the contents become, by file that changes.
    """

    pairs: Pairs
    unknown: tuple[str, ...] = ()
    notes: dict[str, str] = field(default_factory=dict)
    differences: dict[str, Difference] = field(default_factory=dict)

    def texts(self) -> dict[str, str]:
        """Return what changes line by line, by file."""
        return {
            name: "\n".join(part for part in (self.notes[name], found.text) if part)
            for name, found in self.differences.items()
        }


async def gather(
    configuration: Configuration, transport: Transport, hosts: Sequence[Host], *, limit: int
) -> Results[HostChanges]:
    """Compare every file on every host. Contents are read from one of the hosts that are alike.

    Args:
        configuration: The backup and its place.
        transport: The way to the hosts.
        hosts: Where.
        limit: Hosts that are asked at once.
    """
    found = await across(hosts, lambda host: _compared(configuration, transport, host), limit=limit)
    first: dict[_Key, str] = {}
    for name, host in found.good.items():
        for key in _differing(host.pairs):
            first.setdefault(key, name)
    asked = [host for host in hosts if host.name in first.values()]

    async def read(host: Host) -> dict[_Key, Difference]:
        keys = [key for key, name in first.items() if name == host.name]
        return {key: await _difference(configuration, transport, host, key) for key in keys}

    differences = await across(asked, read, limit=limit)
    known = {key: made for each in differences.good.values() for key, made in each.items()}
    for host in found.good.values():
        host.differences = {key[0]: known[key] for key in _differing(host.pairs) if key in known}
    bad = {**found.bad, **differences.bad}
    return Results({name: host for name, host in found.good.items() if name not in bad}, bad)


def merged(found: Mapping[str, HostChanges]) -> Iterator[tuple[str, tuple[str, ...], str]]:
    """Yield what changes with the hosts where it is just so: file, hosts, text."""
    hosts: dict[tuple[str, str], list[str]] = {}
    for host, changes in found.items():
        for file, text in changes.texts().items():
            hosts.setdefault((file, text), []).append(host)
    for (file, text), names in sorted(hosts.items()):
        yield file, tuple(names), text


def check(subject: str, found: Results[HostChanges], *, pinned: bool) -> Check:
    """Return what restoring would change, for the approver.

    Args:
        subject: The subject of the check.
        found: What was gathered.
        pinned: Whether the plan itself says by a digest what comes back; else the approval binds to what was found.
    """
    if found.bad:
        resolution = next(iter(found.bad.values())).resolution or "Repair it and ask again."
        return Check(subject, Verdict.FAIL, f"{told(found.bad)} Nothing was changed.", resolution)
    hosts = found.good
    alike = _alike(hosts)
    words, verdict, resolution = _words(hosts), Verdict.OK, ""
    if len(alike) > 1:
        words = f"{words}; the hosts are not alike now: {' | '.join(map(named, alike))}"
        verdict, resolution = Verdict.WARN, _UNLIKE
    detail = shown(_detail(hosts), most=_LINES)
    pairs = {name: changes.pairs for name, changes in hosts.items()}
    return Check(subject, verdict, words, resolution, detail=detail, seal="" if pinned else seal(pairs))


def seal(pairs: Mapping[str, Pairs]) -> str:
    """Return a digest of what comes back on every host, whatever is in place there."""
    document = json.dumps({host: digests_of(files) for host, files in pairs.items()}, sort_keys=True)
    return hashlib.sha256(document.encode()).hexdigest()


async def _compared(configuration: Configuration, transport: Transport, host: Host) -> HostChanges:
    pairs = await configuration.compared(transport, host)
    found = HostChanges(pairs, await configuration.unknown(transport, host, files=pairs))
    for name, pair in _differing(pairs):
        comes = await transport.stat(host, pair.path)
        there = await transport.stat(host, configuration.place(name))
        model = there or await configuration.model(transport, host, name)
        found.notes[name] = _note(comes, there, model)
    return found


async def _difference(configuration: Configuration, transport: Transport, host: Host, key: _Key) -> Difference:
    name, pair = key
    place = configuration.place(name)
    comes, there = await transport.stat(host, pair.path), await transport.stat(host, place)
    if max(state.size for state in (comes, there) if state is not None) > LARGEST_SHOWN:
        now = None if there is None or pair.now is None else (there.size, pair.now)
        told_so = told_by_size(now, (comes.size if comes else 0, pair.backup))
        return Difference(f"{name} is too long to be compared line by line: {told_so}.")
    data = await transport.read_file(host, pair.path)
    lies = None if pair.now is None else await transport.read_file(host, place)
    # Long files take a while, and others want to be heard meanwhile.
    made = await asyncio.to_thread(difference, name, now=lies, backup=data)
    return made or Difference(f"{name} became as in the backup while it was read.")


def _differing(pairs: Pairs) -> list[_Key]:
    return [(name, pair) for name, pair in pairs.items() if pair.differs]


def _note(comes: FileStat | None, there: FileStat | None, model: FileStat | None) -> str:
    """Return what is to be known of mode and owner: they stay those of the file that is replaced."""
    if comes is None:
        return ""
    if there is None:
        owner = f" and owner {model.uid}:{model.gid} (its folder's)" if model else ""
        return f"There is no such file; it is made with mode {comes.permissions:04o} (the backup's){owner}."
    stays, differs = [], []
    if there.permissions != comes.permissions:
        stays.append(f"mode {there.permissions:04o}")
        differs.append(f"mode {comes.permissions:04o}")
    if (there.uid, there.gid) != (comes.uid, comes.gid):
        stays.append(f"owner {there.uid}:{there.gid}")
        differs.append(f"owner {comes.uid}:{comes.gid}")
    if not stays:
        return ""
    return f"Stays with {' and '.join(stays)}; the backup has {' and '.join(differs)}."


def _words(hosts: Mapping[str, HostChanges]) -> str:
    files = {name for changes in hosts.values() for name in changes.pairs}
    changing = {name for changes in hosts.values() for name in changes.differences}
    touched = sum(bool(changes.differences) for changes in hosts.values())
    everywhere = f"{len(hosts)} {'host' if len(hosts) == 1 else 'hosts'}"
    if not changing:
        return f"nothing would change on {everywhere}"
    distinct = {(key, made) for changes in hosts.values() for key, made in changes.differences.items()}
    added, removed = sum(made.added for _, made in distinct), sum(made.removed for _, made in distinct)
    where = everywhere if touched == len(hosts) else f"{touched} of {everywhere}"
    words = f"{len(changing)} of {len(files)} {'file' if len(files) == 1 else 'files'} would change on {where}"
    if not (added or removed):
        return words
    return f"{words}, {added} {'line' if added == 1 else 'lines'} added, {removed} removed"


def _alike(hosts: Mapping[str, HostChanges]) -> list[list[str]]:
    """Return the hosts in groups that are alike, the largest first."""
    groups: dict[tuple[object, ...], list[str]] = {}
    for name, changes in hosts.items():
        groups.setdefault((tuple(sorted(changes.texts().items())), changes.unknown), []).append(name)
    return sorted(groups.values(), key=len, reverse=True)


def _detail(hosts: Mapping[str, HostChanges]) -> Iterable[str]:
    """Yield what changes, then what stays."""
    unchanged = [name for name, changes in hosts.items() if not changes.differences]
    if len(unchanged) == len(hosts) and not any(changes.unknown for changes in hosts.values()):
        return
    for file, names, text in merged(hosts):
        made = next(hosts[name].differences[file] for name in names)
        count = f": {made.added} added, {made.removed} removed" if made.added or made.removed else ""
        yield f"{file} on {named(names)}{count}"
        yield text
    stays: dict[str, list[str]] = {}
    for name, changes in hosts.items():
        for file in changes.unknown:
            stays.setdefault(file, []).append(name)
    for file, keeping in stays.items():
        yield f"{file} on {named(keeping)}: not in the backup, and stays as it is"
    if unchanged:
        yield f"{named(unchanged)}: nothing changes"
