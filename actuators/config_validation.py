"""The validation command of a group: whether a release would take a configuration file, asked before it counts."""

from __future__ import annotations

import posixpath
from collections.abc import Iterable, Mapping

from actuators.servers import LinkRelease
from actuators.servers_hosts import Finding, named
from actuators.transport import HostError, Transport
from bot.domain.actuation import Context, Verdict
from bot.domain.inventory import Host, ServerGroup

_TIMEOUT = 60.0
_FILE = "{file}"
_RELEASE = "{release}"
_NOTHING = "No file was replaced."
_MOST = 20
"""Files that stay and are judged; a folder with more of them holds other things than configuration."""


class Validation:
    """Lets the validation command of a group judge files, where they lie or as copies.

    Args:
        target: The group's name.
        group: The group.
        context: The run: the plan says which release comes back, which `{release}` in the command stands for.
    """

    def __init__(self, target: str, group: ServerGroup, context: Context) -> None:
        self._command = group.validate_config
        self._folder = str(group.config)
        self._release = ""
        self._lacks = ""
        if any(_RELEASE in word for word in self._command):
            self._find_release(target, group, context)

    async def of_backup(
        self, transport: Transport, host: Host, *, paths: Mapping[str, str], staying: Iterable[str]
    ) -> Finding:
        """Let the command judge the files where they lie in the backup, and those that would stay in place.

        Args:
            transport: The way to the host.
            host: Which.
            paths: Where the backup's files lie, by name.
            staying: Files in place that the backup does not know.

        Raises:
            HostError: If it refuses a file of the backup, or can judge none.
        """
        if not self._command:
            return Finding(
                "without a validation command", Verdict.WARN, "Set `validate_config` of the group in the inventory."
            )
        later = await self.possible(transport, host)
        if later is not None:
            return later
        await self.accepted(transport, host, paths)
        accepted = f"accept {len(paths)} {'file' if len(paths) == 1 else 'files'}"
        refused = await self.refused(transport, host, staying)
        if refused:
            return Finding(
                f"{accepted}; refuse what would stay in place: {named(refused)}",
                Verdict.WARN,
                "What comes back may not work with what the deployment brought. Look at these files first.",
            )
        return Finding(accepted)

    async def possible(self, transport: Transport, host: Host) -> Finding | None:
        """Return why the command cannot judge anything yet, None if it can.

        Raises:
            HostError: If it never can.
        """
        self._complete(host)
        if self._release and await transport.stat(host, self._release) is None:
            return Finding(
                f"cannot be judged before {self._release} is unpacked; the step itself asks it first",
                Verdict.WARN,
                "The step must come after the servers.link of the release. If it refuses, no file is replaced.",
            )
        return None

    async def accepted(self, transport: Transport, host: Host, paths: Mapping[str, str]) -> None:
        """Let the command judge files where they lie.

        Args:
            transport: The way to the host.
            host: Which.
            paths: By the file's name, where it lies.

        Raises:
            HostError: If it refuses one.
        """
        self._complete(host)
        for name, path in paths.items():
            argv = [word.replace(_FILE, path).replace(_RELEASE, self._release) for word in self._command]
            finished = await transport.run(host, argv, sudo=True, timeout=_TIMEOUT)
            if not finished.ok:
                raise HostError(
                    host.name,
                    f"the validation command refuses {name}: {finished.complaint().splitlines()[-1]}",
                    untouched=_NOTHING,
                    resolution="Find out whether the backup is the right one; correct it, or leave the file out.",
                    output=finished.complaint(),
                )

    async def refused(self, transport: Transport, host: Host, names: Iterable[str]) -> tuple[str, ...]:
        """Return those of the files in place that the command refuses."""
        found = []
        for name in list(names)[:_MOST]:
            try:
                await self.accepted(transport, host, {name: posixpath.join(self._folder, name)})
            except HostError:
                found.append(name)
        return tuple(found)

    async def try_copies(self, transport: Transport, host: Host, files: Mapping[str, bytes]) -> None:
        """Let the command judge copies of all files, under their names, beside their place.

        Raises:
            HostError: If it refuses one.
        """
        if not self._command:
            return
        trial = transport.temporary(host, posixpath.join(self._folder, "restore"))
        # A run that was killed may have left its copies.
        await transport.remove_folder(host, trial)
        try:
            for name, data in files.items():
                await transport.write_file_atomic(host, posixpath.join(trial, name), data, mode=0o600)
            await self.accepted(transport, host, {name: posixpath.join(trial, name) for name in files})
        finally:
            await transport.remove_folder(host, trial)

    def _find_release(self, target: str, group: ServerGroup, context: Context) -> None:
        links = [step for step in context.plan.steps() if isinstance(step, LinkRelease)]
        mine = {step.release for step in links if step.target == target}
        if len(mine) == 1:
            self._release = posixpath.join(str(group.releases), mine.pop())
        else:
            self._lacks = "no servers.link of the group" if not mine else "more than one servers.link of the group"

    def _complete(self, host: Host) -> None:
        """Raise unless the command can judge a file before it is in place, by the release that comes back."""
        if not any(_FILE in word for word in self._command):
            raise HostError(
                host.name,
                "the validation command has no {file}, so it cannot judge a file before it is in place.",
                untouched=_NOTHING,
                resolution="Write {file} into `validate_config` of the group where the file's path belongs.",
            )
        if self._lacks:
            raise HostError(
                host.name,
                f"the validation command asks for {_RELEASE}, and the plan has {self._lacks}.",
                untouched=_NOTHING,
                resolution="Correct the plan, or name a fixed program in `validate_config` of the group.",
            )
