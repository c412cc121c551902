"""A strict double of a Kubernetes API server with its controllers, for what rollbacks need of one.

It serves HTTPS on a free port of the loopback: resource versions and conflicts, strategic and JSON merge
patches, selectors, generations, field managers, watches with bookmarks and expiry, dry runs, roles and access
reviews. Deployments, StatefulSets and DaemonSets are rolled out by controllers that follow the real ones, known
weaknesses included; two nodes start the pods, from a registry that has busybox 1.36 and 1.37.
"""

from __future__ import annotations

import asyncio
import base64
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from datetime import timedelta
from typing import Any

from aiohttp import web

from tests.support.kubeapi import controllers, node, sets, tls
from tests.support.kubeapi.kinds import named
from tests.support.kubeapi.rights import Rights
from tests.support.kubeapi.server import Server
from tests.support.kubeapi.store import RefusedError, Store

__all__ = ["KubeApi", "running"]

_TICK = 0.2
"""Seconds; deadlines are looked at so often, changes at once."""


_POD_SECONDS = 0.01


class KubeApi:
    """The double.

    Args:
        pod_seconds: How long a pod takes to start, or to go.
        completed: Called with a Deployment whose rollout has just become complete, before anybody is told.

    Attributes:
        store: Its objects.
        rights: Its tokens and roles.
        server: Its HTTP face.
        url: Its address.
    """

    def __init__(
        self,
        *,
        pod_seconds: float = _POD_SECONDS,
        completed: Callable[[dict[str, Any]], None] = lambda _deployment: None,
    ) -> None:
        self.store = Store()
        self.rights = Rights(self.store)
        self.server = Server(self.store, self.rights)
        self.url = ""
        self.frozen = False
        loop = asyncio.get_running_loop()
        self._node = node.Node(self.store, self._later, seconds=pod_seconds)
        self._deployments = controllers.DeploymentController(self.store, loop.time, completed)
        self.server.logs = self._node.logs

    def kubeconfig(self) -> dict[str, Any]:
        """Return the administrator's kubeconfig."""
        authority = base64.b64encode(tls.certificates().authority).decode()
        cluster = {"server": self.url, "certificate-authority-data": authority}
        return {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "double", "cluster": cluster}],
            "users": [{"name": "admin", "user": {"token": self.rights.admin}}],
            "contexts": [{"name": "double", "context": {"cluster": "double", "user": "admin"}}],
            "current-context": "double",
        }

    def put_forward(self, seconds: float) -> None:
        """Let time go by for the times that objects hold."""
        self.store.ahead += timedelta(seconds=seconds)

    async def control(self) -> None:
        """Run the controllers until cancelled."""
        while True:
            seen = self.store.version
            if not self.frozen:
                self._sync()
            if self.store.version == seen:
                await self.store.news(_TICK)
            else:
                await asyncio.sleep(0)  # noqa: TID251 - gives requests their turn

    def _sync(self) -> None:
        for deployment in self.store.all(named("Deployment")):
            self._step(lambda obj=deployment: self._deployments.sync(obj))  # type: ignore[misc] # binds it now
        for each in self.store.all(named("StatefulSet")):
            self._step(lambda obj=each: sets.stateful_set(self.store, obj))  # type: ignore[misc] # binds it now
        for each in self.store.all(named("DaemonSet")):
            self._step(lambda obj=each: sets.daemon_set(self.store, obj, nodes=node.NODES))  # type: ignore[misc] # binds it now
        self._node.sync()

    def _step(self, act: Callable[[], None]) -> None:
        with suppress(RefusedError):  # it was changed or deleted meanwhile: the next round sees it
            act()

    def _later(self, seconds: float, act: Callable[[], None]) -> object:
        return asyncio.get_running_loop().call_later(seconds, act)


@asynccontextmanager
async def running(**how: Any) -> AsyncIterator[KubeApi]:
    """Yield a running double; the arguments are its own."""
    double = KubeApi(**how)
    runner = web.AppRunner(double.server.app(), shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0, ssl_context=tls.certificates().context())
    await site.start()
    double.url = f"https://127.0.0.1:{runner.addresses[0][1]}"
    try:
        async with asyncio.TaskGroup() as group:
            controlling = group.create_task(double.control())
            yield double
            double.server.drop_watches()
            controlling.cancel()
    finally:
        await runner.cleanup()
