"""The versions of a state that the backend ``s3`` keeps, read through boto3."""

from __future__ import annotations

import asyncio
import importlib
from dataclasses import dataclass
from typing import Any

from actuators.redact import redact
from actuators.terraform.core import Core
from bot.domain.errors import ActuatorError

_CONNECT_SECONDS = 3
_READ_SECONDS = 15
_MOST = 20
"""Versions that are shown, the newest ones."""


@dataclass(frozen=True)
class Version:
    """One version of the state's object.

    Attributes:
        id: Its id.
        written: When, as S3 tells it.
        size: In bytes.
        latest: Whether it is the present one.
    """

    id: str
    written: str
    size: int
    latest: bool


def kept_by(tool: Core) -> bool:
    """Return whether the state is an object whose place the inventory tells."""
    return {"bucket", "key"} <= tool.stack.backend.keys()


def object_key(tool: Core) -> str:
    """Return the exact key: other workspaces and locks lie beside it."""
    backend, workspace = tool.stack.backend, tool.stack.workspace
    if workspace == "default":
        return backend["key"]
    return f"{backend.get('workspace_key_prefix', 'env:')}/{workspace}/{backend['key']}"


async def versions(tool: Core) -> list[Version]:
    """Return the latest versions of the state, the newest first.

    Raises:
        ActuatorError: If they cannot be read.
    """
    return await asyncio.to_thread(_asked, tool, _versions)


async def content(tool: Core, version: str) -> bytes:
    """Return one version of the state.

    Raises:
        ActuatorError: If it cannot be read.
    """
    return await asyncio.to_thread(_asked, tool, lambda client, place: _content(client, place, version))


def _versions(client: Any, place: dict[str, str]) -> list[Version]:
    found: list[Version] = []
    pages = client.get_paginator("list_object_versions").paginate(Bucket=place["Bucket"], Prefix=place["Key"])
    for page in pages:
        for entry in page.get("Versions", ()):
            # The prefix also fits what lies beside it: locks, backups, other stacks.
            if entry["Key"] == place["Key"]:
                written = entry["LastModified"].strftime("%Y-%m-%d %H:%M:%S UTC")
                found.append(Version(entry["VersionId"], written, entry["Size"], entry["IsLatest"]))
        if len(found) >= _MOST:
            break
    return found[:_MOST]


def _content(client: Any, place: dict[str, str], version: str) -> bytes:
    data: bytes = client.get_object(**place, VersionId=version)["Body"].read()
    return data


def _asked(tool: Core, ask: Any) -> Any:
    if not kept_by(tool):
        raise ActuatorError(
            f"The inventory does not tell in which S3 object the state of {tool.target} is.",
            untouched="Nothing was asked.",
            resolution="Name `bucket` and `key` in `backend` of the stack, or restore from a file.",
        )
    # boto3 costs a third of a second and 20 MB, which only those pay who use it.
    exceptions = importlib.import_module("botocore.exceptions")
    place = {"Bucket": tool.stack.backend["bucket"], "Key": object_key(tool)}
    try:
        client = _client(tool)
        try:
            return ask(client, place)
        finally:
            client.close()
    except (exceptions.BotoCoreError, exceptions.ClientError, OSError) as error:
        said = redact(str(error), secrets=tool.secrets).rstrip(".")
        raise ActuatorError(
            f"S3 cannot be asked for {place['Key']} in {place['Bucket']}: {said}.",
            untouched="Nothing was changed.",
            resolution="Check version, bucket and key, and the role: s3:ListBucketVersions, s3:GetObjectVersion.",
            transient=not isinstance(error, exceptions.ClientError),
        ) from None


def _client(tool: Core) -> Any:
    # The same credentials as the tool's; without any, both look in the same files and roles.
    session = importlib.import_module("boto3").Session(
        aws_access_key_id=tool.env.get("AWS_ACCESS_KEY_ID"),
        aws_secret_access_key=tool.env.get("AWS_SECRET_ACCESS_KEY"),
        aws_session_token=tool.env.get("AWS_SESSION_TOKEN"),
        profile_name=tool.stack.backend.get("profile") or tool.env.get("AWS_PROFILE"),
        region_name=tool.stack.backend.get("region") or tool.env.get("AWS_REGION"),
    )
    config = importlib.import_module("botocore.config").Config(
        connect_timeout=_CONNECT_SECONDS,
        read_timeout=_READ_SECONDS,
        retries={"mode": "standard", "total_max_attempts": 2},
        s3={"addressing_style": "path"} if tool.stack.backend.get("use_path_style") == "true" else {},
    )
    return session.client("s3", endpoint_url=tool.env.get("AWS_ENDPOINT_URL_S3"), config=config)
