"""How a cluster is reached: by a kubeconfig, or from within by the pod's service account."""

from __future__ import annotations

import asyncio
import base64
import binascii
import importlib
import os
from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from types import ModuleType
from typing import Any

import yaml

from actuators import secrets
from actuators.kubernetes.api import Api
from actuators.targets import target_of
from bot.domain.actuation import Context, Observation, Presence
from bot.domain.errors import ActuatorError
from bot.domain.inventory import Cluster, SecretRef
from bot.domain.plan import Step

SERVICE_ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")
"""Where a pod finds its token and the cluster's certificate authority."""

_UNTOUCHED = "Nothing was contacted."
_FILES = {
    "certificate-authority": "certificate-authority-data",
    "client-certificate": "client-certificate-data",
    "client-key": "client-key-data",
}


def cluster_of(step: Step, context: Context) -> Cluster:
    """Return the step's target.

    Raises:
        ActuatorError: If it is no cluster.
    """
    return target_of(step, context, Cluster, called="cluster", section="clusters", untouched=_UNTOUCHED)


@asynccontextmanager
async def opened(step: Step, context: Context) -> AsyncIterator[Api]:
    """Yield the API server of the step's target.

    Raises:
        ActuatorError: If the credentials cannot be used. The server itself is asked only later.
    """
    target = cluster_of(step, context)
    # The client takes 0.7 s and 50 MB to import: only a bot that acts on a cluster pays for it, beside its loop.
    library = await asyncio.to_thread(importlib.import_module, "kubernetes.aio.client")
    configuration = library.Configuration()
    with TemporaryDirectory(prefix="rollback-") as folder:
        await _load(target, configuration, Path(folder))
        # Keys are read here; the files that held them go with the folder.
        client = library.ApiClient(configuration=configuration)
    try:
        yield Api(client, server=configuration.host, namespace=target.namespace, clock=context.clock)
    finally:
        await client.close()


async def seen(looking: Awaitable[Observation]) -> Observation:
    """Return what was seen; a target that cannot be looked at is UNKNOWN, with the reason."""
    try:
        return await looking
    except ActuatorError as error:
        return Observation(Presence.UNKNOWN, error.brief)


async def _load(target: Cluster, configuration: Any, folder: Path) -> None:
    config = await asyncio.to_thread(importlib.import_module, "kubernetes.aio.config")
    try:
        if target.kubeconfig is None:
            _in_cluster(configuration)
            return
        document = _kubeconfig(target.kubeconfig, folder)
        context = target.context
        await config.load_kube_config_from_dict(document, context=context, client_configuration=configuration)
    except config.ConfigException as error:
        raise _unusable(target, str(error)) from None
    except yaml.YAMLError:
        raise _unusable(target, "it is no YAML") from None
    except (AttributeError, KeyError, TypeError, ValueError, OSError):
        raise _unusable(target, "it is no kubeconfig, or a file that it names cannot be read") from None
    if _plugin(document, target.context) and not (configuration.api_key or configuration.cert_file):
        raise _unusable(target, "its credential plugin gave neither a token nor a certificate")


def _in_cluster(configuration: Any) -> None:
    module: ModuleType = importlib.import_module("kubernetes.aio.config.incluster_config")
    loader = module.InClusterConfigLoader(
        token_filename=str(SERVICE_ACCOUNT / "token"),
        cert_filename=str(SERVICE_ACCOUNT / "ca.crt"),
        environ=os.environ,
    )
    loader.load_and_set(configuration)


def _kubeconfig(ref: SecretRef, folder: Path) -> dict[str, Any]:
    """Return the kubeconfig with every path absolute, and the keys that stand in it as files of `folder`.

    The client would write such keys into files of its own, which stay until the process has ended well.
    """
    document = yaml.safe_load(secrets.resolve(ref))
    if not isinstance(document, dict):
        raise TypeError
    base = Path(ref.file).resolve().parent if ref.file else Path.cwd()
    for section, entry in (("clusters", "cluster"), ("users", "user")):
        for number, named in enumerate(document.get(section) or []):
            settings = named.get(entry) or {}
            for key, inline in _FILES.items():
                if settings.get(inline):
                    path = folder / f"{section}-{number}-{key}"
                    _write(path, settings.pop(inline))
                    settings[key] = str(path)
            for key in (*_FILES, "tokenFile"):
                if settings.get(key):
                    settings[key] = str(base / settings[key])
            plugin = settings.get("exec") or {}
            if "/" in str(plugin.get("command", "")):
                plugin["command"] = str(base / plugin["command"])
    return document


def _write(path: Path, encoded: str) -> None:
    try:
        data = base64.b64decode(encoded, validate=True)
    except binascii.Error:
        raise ValueError from None
    path.touch(mode=0o600)
    path.write_bytes(data)


def _plugin(document: dict[str, Any], context: str | None) -> bool:
    """Whether the context's user has a credential plugin."""
    wanted = context or document.get("current-context")
    named: dict[str, Any] = next((c for c in document.get("contexts") or [] if c.get("name") == wanted), {})
    user = (named.get("context") or {}).get("user")
    return any(u.get("name") == user and "exec" in (u.get("user") or {}) for u in document.get("users") or [])


def _unusable(target: Cluster, why: str) -> ActuatorError:
    place = secrets.describe(target.kubeconfig) if target.kubeconfig else "the pod's service account"
    return ActuatorError(
        f"The cluster's credentials from {place} cannot be used: {why.rstrip('.')}.",
        untouched=_UNTOUCHED,
        resolution=(
            "Correct the kubeconfig, or `context` of the target in the inventory."
            if target.kubeconfig
            else "Name a `kubeconfig` for the target in the inventory, or run the bot in the cluster."
        ),
    )
