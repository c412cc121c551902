"""A host with a service after a failed deployment: its service, its release and its configuration."""

from __future__ import annotations

import asyncio
import hashlib
import subprocess
import sys
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from functools import partial

import pytest

from actuators.config import RestoreConfiguration
from actuators.config_drift import ShowDrift
from actuators.config_permissions import RestoreContext, ShowPermissions
from actuators.servers import LinkRelease, StartServers, StopServers
from actuators.servers_health import HostsHealthy
from actuators.servers_roll import RollRelease
from actuators.servers_unpack import UnpackArtifact
from actuators.servers_versions import ShowVersions
from bot.domain.plan import Step
from tests.actuators.servers.faces import faces
from tests.support import selinux
from tests.support.contract import Case, Cases, Ground
from tests.support.hosts import Estate, Folder, artifact, sha256
from tests.support.pgserver import free_port
from tests.support.ssh import ssh_estate

GROUP = "payments-app"
STEPS: tuple[Step, ...] = (
    StopServers(id="stop", target=GROUP),
    StartServers(id="start", target=GROUP),
    LinkRelease(id="link", target=GROUP, release="v2.3.1"),
    ShowVersions(id="versions", target=GROUP),
    HostsHealthy(id="health", target=GROUP),
    UnpackArtifact(id="unpack", target=GROUP, backup="build", strip=1),
    RollRelease(id="roll", target=GROUP, release="v2.3.1", version="v2.3.1"),
    RestoreConfiguration(id="config", target=GROUP, backup="cfg"),
    ShowDrift(id="drift", target=GROUP),
    ShowPermissions(id="permissions", target=GROUP, paths=("/proc/self/cwd/etc/app.conf",)),
    RestoreContext(id="restorecon", target=GROUP, paths=("/proc/self/cwd/etc/app.conf",)),
)


def contents(folder: Folder) -> dict[str, str]:
    """Return everything that lies on a host: modes, links, digests. What sudo notes of its use is left out."""
    found = {}
    for path in sorted(folder.root.rglob("*")):
        name = str(path.relative_to(folder.root))
        if path.is_symlink():
            found[name] = f"-> {path.readlink()}"
        elif path.is_file() and name != "sudo.log":
            found[name] = f"{path.stat().st_mode:o} {hashlib.sha256(path.read_bytes()).hexdigest()}"
        elif path.is_dir():
            found[name] = f"{path.stat().st_mode:o}"
    return found


def folder_instead_of_link(estate: Estate) -> None:
    """Let the service be a folder that holds the release itself."""
    estate.group["current"] = f"{estate.only.base}/app"
    (estate.only.root / "app").mkdir()
    estate.only.write("app/app", "v2.4.0")


@asynccontextmanager
async def host(ground: Ground, *, step: Step) -> Cases:
    """One host over SSH."""
    if sys.platform != "linux":
        pytest.skip("hosts over SSH are Linux hosts; this machine is not")
    async with ssh_estate(ground.folder, hosts=1) as estate, faces(estate):
        if isinstance(step, StopServers):
            command = [str(estate.only.root / "bin/service"), "start"]
            await asyncio.to_thread(subprocess.run, command, check=True, timeout=10)
        if isinstance(step, RestoreContext):
            selinux.enforce(estate.only, "app.conf")
        if isinstance(step, UnpackArtifact):
            folder_instead_of_link(estate)
        pinned = {"build": sha256(artifact())}
        near = estate.context(step, digests=pinned)
        (where,) = estate.group["hosts"]
        estate.group["hosts"] = [{**where, "port": free_port()}]
        if isinstance(step, HostsHealthy):
            estate.group["health"] = {"port": free_port()}
        away = estate.context(step, digests=pinned)
        denied = "app01: cannot write /proc/self/cwd/etc/app.conf: Permission denied."
        yield Case(step, near, away, state=lambda: contents(estate.only), faults=(denied,))


WORLDS: dict[str, Callable[[Ground], AbstractAsyncContextManager[Case]]] = {
    step.kind: partial(host, step=step) for step in STEPS
}
