"""terraform.state_restore on the real core: from a file, and from a version of an object in S3."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import boto3  # type: ignore[import-untyped]  # boto3 has no types of its own
import pytest

from actuators.terraform import TerraformStateRestore, TerraformStateVersions, s3
from actuators.terraform.core import Core
from actuators.terraform.places import digest
from actuators.terraform.restore import StateRestoreActuator, StateVersionsActuator
from bot.domain.actuation import Presence, Verdict
from bot.domain.errors import ActuatorError
from bot.domain.inventory import TerraformStack
from tests.support.actuation import fails
from tests.support.aws import REGION, moto_server
from tests.support.terraform import Stack, commit_code, git, kept

ACTUATOR = StateRestoreActuator()
VERSIONS = StateVersionsActuator()
KEY = "payments/terraform.tfstate"
LOOK = TerraformStateVersions(id="look", target="payments-infra", commit="a" * 40)


def from_file(stack: Stack, place: Path, /, **fields: Any) -> TerraformStateRestore:
    """Return the step that restores the state after the deployment from a file."""
    place.write_bytes(stack.code.state)
    document = {
        "id": "state",
        "target": "payments-infra",
        "commit": stack.code.good,
        "lineage": json.loads(stack.code.state)["lineage"],
        "file": str(place),
        "sha256": digest(stack.code.state),
    }
    return TerraformStateRestore.model_validate({**document, **fields})


def emptied(state: bytes, serial: int = 40) -> bytes:
    """Return a state that somebody has damaged: its resources are lost."""
    return json.dumps({**json.loads(state), "serial": serial, "resources": []}).encode()


async def test_a_damaged_state_comes_back_from_a_file(stack: Stack, tmp_path: Path) -> None:
    """The earlier record is there again under a higher serial, and the damaged one is kept."""
    step = from_file(stack, tmp_path / "good.tfstate")
    context = stack.context(step)
    stack.server.state = emptied(stack.code.state)
    assert (await ACTUATOR.observe(step, context)).presence is Presence.ABSENT
    (found,) = await ACTUATOR.check(step, context)
    assert (found.verdict, "now: serial 40" in found.words) == (Verdict.OK, True)
    outcome = await ACTUATOR.apply(step, context)
    assert sorted(stack.server.names()) == ["app", "extra"]
    assert stack.server.document()["serial"] == outcome.facts["serial"] > 40
    assert kept(outcome.facts)[0]["resources"] == []
    assert (await ACTUATOR.observe(step, context)).presence is Presence.PRESENT
    look = TerraformStateVersions(id="look", target="payments-infra", commit=step.commit)
    listed = await VERSIONS.apply(look, context)
    assert listed.output == f"file {outcome.facts['kept_state']}  sha256 {outcome.facts['kept_sha256']}"
    before = stack.everything()
    assert "already" in (await ACTUATOR.apply(step, context)).words
    assert stack.everything() == before


async def test_a_lost_state_comes_back(stack: Stack, tmp_path: Path) -> None:
    """Where there is none any more, the earlier one is pushed."""
    step = from_file(stack, tmp_path / "good.tfstate")
    stack.server.state = b""
    assert (await ACTUATOR.observe(step, stack.context(step))).presence is Presence.ABSENT
    await ACTUATOR.apply(step, stack.context(step))
    assert sorted(stack.server.names()) == ["app", "extra"]


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ({"lineage": "another"}, "the step's is another"),
        ({"sha256": "0" * 64}, "is not the file that was pinned"),
        ({"file": "/nowhere/good.tfstate"}, "cannot be read: No such file"),
        ({"file": None, "sha256": None, "version": "v1"}, "does not tell in which S3 object"),
    ],
)
async def test_another_state_is_not_pushed(stack: Stack, tmp_path: Path, fields: dict[str, Any], told: str) -> None:
    """Another lineage, another file, or a place that is not known is refused, and nothing is written."""
    step = from_file(stack, tmp_path / "good.tfstate", **fields)
    stack.server.state = emptied(stack.code.state)
    before = stack.everything()
    assert told in fails(await ACTUATOR.check(step, stack.context(step)))
    with pytest.raises(ActuatorError, match=told):
        await ACTUATOR.apply(step, stack.context(step))
    assert stack.everything() == before


async def test_a_state_that_is_in_use_is_told(stack: Stack, tmp_path: Path) -> None:
    """A lock is a warning beforehand, and nothing is pushed over it."""
    step = from_file(stack, tmp_path / "good.tfstate")
    stack.server.state = emptied(stack.code.state)
    stack.server.left_locked()
    assert "Locked by deploy@ci-7" in (await ACTUATOR.check(step, stack.context(step)))[0].words
    with pytest.raises(ActuatorError, match="is locked: deploy@ci-7") as locked:
        await ACTUATOR.apply(step, stack.context(step))
    assert locked.value.transient


@dataclass(frozen=True)
class Bucket:
    """A bucket with versions."""

    client: Any
    name: str = "terraform-state"

    def put(self, key: str, body: bytes) -> str:
        """Write an object, and return its version."""
        version: str = self.client.put_object(Bucket=self.name, Key=key, Body=body)["VersionId"]
        return version


@pytest.fixture
def bucket(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Bucket]:
    """A bucket on moto, and the credentials for it in the bot's environment."""
    with moto_server(tmp_path / "moto.log") as port:
        url = f"http://127.0.0.1:{port}"
        for name, value in {"TEST_KEY": "AKIA-test", "TEST_SECRET": "not-secret", "TEST_URL": url}.items():
            monkeypatch.setenv(name, value)
        client = boto3.client(
            "s3", region_name=REGION, endpoint_url=url, aws_access_key_id="a", aws_secret_access_key="b"
        )
        found = Bucket(client)
        client.create_bucket(Bucket=found.name, CreateBucketConfiguration={"LocationConstraint": REGION})
        client.put_bucket_versioning(Bucket=found.name, VersioningConfiguration={"Status": "Enabled"})
        yield found
        client.close()


async def test_a_version_of_the_object_comes_back(stack: Stack, bucket: Bucket, tmp_path: Path) -> None:
    """The pinned version of exactly the state's object is pushed by the tool's own backend ``s3``."""
    good = bucket.put(KEY, stack.code.state)
    bucket.put(f"{KEY}.tflock.old", b"{}")
    bucket.put(KEY, emptied(stack.code.state))
    repository = tmp_path / "repository"
    (repository / "infra").mkdir(parents=True)
    git(repository, "init", "--quiet")
    commit = commit_code(repository, "", backend="s3")
    backend = {
        "bucket": bucket.name, "key": KEY, "region": REGION, "use_path_style": "true", "use_lockfile": "true",
        **dict.fromkeys(("skip_credentials_validation", "skip_requesting_account_id", "skip_s3_checksum"), "true"),
    }  # fmt: skip
    names = {"AWS_ACCESS_KEY_ID": "KEY", "AWS_SECRET_ACCESS_KEY": "SECRET", "AWS_ENDPOINT_URL_S3": "URL"}
    env = {name: {"env": f"TEST_{place}"} for name, place in names.items()}
    other = stack.but(repository=str(repository), backend=backend, env=env)
    step = from_file(other, tmp_path / "unused", commit=commit, file=None, sha256=None, version=good)
    context = other.context(step)
    assert (await ACTUATOR.observe(step, context)).presence is Presence.ABSENT
    outcome = await ACTUATOR.apply(step, context)
    written = json.loads(bucket.client.get_object(Bucket=bucket.name, Key=KEY)["Body"].read())
    assert written["serial"] == outcome.facts["serial"] > 40
    assert written["resources"] == json.loads(stack.code.state)["resources"]
    assert (await ACTUATOR.observe(step, context)).presence is Presence.PRESENT
    missing = step.model_copy(update={"version": "00000000-0000-0000-0000-000000000000"})
    assert "S3 cannot be asked for payments/terraform.tfstate" in fails(await ACTUATOR.check(missing, context))
    look = TerraformStateVersions(id="look", target="payments-infra", commit=commit)
    listed = await VERSIONS.apply(look, context)
    assert listed.facts == {"versions": 3, "kept": 1}
    first, *_, last = (line for line in listed.output.splitlines() if line.startswith("version "))
    assert "(now)" in first
    assert last.startswith(f"version {good} ")


async def test_versions_are_those_of_exactly_one_object(stack: Stack, bucket: Bucket) -> None:
    """Locks, other workspaces and deletions lie beside the state; of its versions the newest ones are shown."""
    for name in (KEY, f"env:/live/{KEY}", f"live-states/live/{KEY}"):
        bucket.put(f"{name}.tflock", b"{}")
        bucket.put(name, name.encode())
    deleted = bucket.client.delete_object(Bucket=bucket.name, Key=KEY)
    assert deleted["DeleteMarker"]
    for number in range(25):
        bucket.put(KEY, b"x" * number)
    backend = {"bucket": bucket.name, "key": KEY, "region": REGION, "use_path_style": "true"}
    names = {"AWS_ACCESS_KEY_ID": "KEY", "AWS_SECRET_ACCESS_KEY": "SECRET", "AWS_ENDPOINT_URL_S3": "URL"}
    env = {name: os.environ[f"TEST_{place}"] for name, place in names.items()}

    def tool(**fields: Any) -> Core:
        target = stack.but(backend={**backend, **fields.pop("more", {})}, **fields).context(LOOK).inventory
        found = target.find("payments-infra")
        assert isinstance(found, TerraformStack)
        return Core("payments-infra", stack.code.good, found, stack.folder, stack.folder, env, ())

    sizes = [version.size for version in await s3.versions(tool())]
    assert (len(sizes), sizes[0], sizes[-1]) == (20, 24, 5)
    for more in ({}, {"workspace_key_prefix": "live-states"}):
        chosen = tool(workspace="live", more=more)
        (version,) = await s3.versions(chosen)
        assert version.latest
        assert await s3.content(chosen, version.id) == s3.object_key(chosen).encode()
