"""The double is as strict as the real server, and kubectl takes it for one."""

from __future__ import annotations

import asyncio
import os
import shutil
from typing import Any

import pytest

from actuators.kubernetes import Rollback, objects
from actuators.kubernetes.api import ApiError, Json, Patch, Resource
from actuators.kubernetes.resources import DEPLOYMENT
from actuators.kubernetes.workload import look
from tests.support.kubeapi import patches
from tests.support.kubeapi.place import NEW, OLD, Place

WEB = "deployment/web"


async def kubectl(place: Place, *arguments: str) -> str:
    """Run kubectl in the namespace, and return what it prints."""
    program = shutil.which("kubectl")
    if program is None:
        pytest.skip("there is no kubectl on this machine")
    environment = {**os.environ, "KUBECONFIG": str(place.kubeconfig), "KUBECACHEDIR": str(place.folder / "cache")}
    process = await asyncio.create_subprocess_exec(
        program, "-n", place.namespace, *arguments,
        env=environment, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
    )  # fmt: skip
    out, _ = await process.communicate()
    assert process.returncode == 0, out.decode()
    return out.decode()


async def two_releases(place: Place, workload: str) -> None:
    """Deploy a good release and the failed one after it, with what bookkeeping people leave."""
    await place.deploy(workload, OLD, cause="Deploy v2.3.1 - CHG0012340")
    await place.deploy(workload, NEW, cause="Deploy v2.4.0 - CHG0012345", env=[{"name": "A", "value": "1"}])
    applied = {"annotations": {"kubectl.kubernetes.io/last-applied-configuration": "{}"}}
    await place.change(workload, {"metadata": applied})


def comparable(obj: Json) -> Json:
    """Return what two rollbacks of the same workload must have in common."""
    notes = {key: value for key, value in objects.notes(obj).items() if not key.startswith("rollback-bot/")}
    template = objects.without_none(obj["spec"]["template"])
    return {"spec": {**obj["spec"], "template": template}, "annotations": notes}


@pytest.mark.real
@pytest.mark.parametrize("kind", ["deployment", "statefulset", "daemonset"])
async def test_rollback_leaves_what_kubectl_leaves(place: Place, kind: str) -> None:
    """`kubectl rollout undo --to-revision` and the step lead to the same object, annotations included."""
    workload = f"{kind}/web"
    await two_releases(place, workload)
    assert "Deploy v2.3.1 - CHG0012340" in await kubectl(place, "rollout", "history", workload)
    await kubectl(place, "rollout", "undo", workload, "--to-revision=1")
    await kubectl(place, "rollout", "status", workload, "--timeout=60s")
    theirs = comparable((await look(place.api, workload)).obj)
    await place.deploy(workload, NEW, cause="Deploy v2.4.0 - CHG0012345", env=[{"name": "A", "value": "1"}])

    number = (await place.until(workload, lambda w: w.current() is not None)).revisions
    back = next(revision.number for revision in number if "env" not in revision.template["spec"]["containers"][0])
    await place.apply(Rollback(id="back", target="shop", workload=workload, revision=back))

    ours = comparable((await look(place.api, workload)).obj)
    for found in (theirs, ours):
        found["annotations"].pop("deployment.kubernetes.io/revision", None)
    assert ours == theirs


@pytest.mark.real
async def test_kubectl_finds_the_rollback_complete(place: Place) -> None:
    """What the step calls done, `kubectl rollout status` calls done."""
    await two_releases(place, WEB)
    await place.apply(Rollback(id="back", target="shop", workload=WEB, revision=1))
    assert "successfully rolled out" in await kubectl(place, "rollout", "status", WEB, "--timeout=5s")
    paths = "jsonpath={.items[*].spec.containers[0].image}"
    assert set((await kubectl(place, "get", "pods", "-l", "app=web", "-o", paths)).split()) == {OLD}


async def refused(place: Place, body: Any, *, how: Patch = Patch.STRATEGIC) -> ApiError:
    """Patch the Deployment and return the refusal."""
    with pytest.raises(ApiError) as caught:
        await place.api.patch(DEPLOYMENT, "web", body, how=how)
    return caught.value


async def test_writes_are_refused_as_the_real_server_refuses_them(place: Place) -> None:
    """Old versions, other selectors, images that are missing, and patches of a kind that the object has not."""
    await place.deploy(WEB, OLD)
    stale = await refused(place, {"metadata": {"resourceVersion": "1"}, "spec": {"replicas": 3}})
    assert (stale.status, stale.reason, stale.transient) == (409, "Conflict", True)
    other = await refused(place, {"spec": {"selector": {"matchLabels": {"app": "other"}}}})
    assert (other.status, "immutable" in other.brief) == (422, True)
    empty = await refused(place, {"spec": {"template": {"spec": {"containers": [{"name": "x"}]}}}})
    assert (empty.status, "image: Required value" in empty.brief) == (422, True)
    nothing = Resource("apps", "v1", "nothings", "Nothing")
    with pytest.raises(ApiError) as caught:
        await place.api.get(nothing, "web")
    assert caught.value.status == 404


async def test_strategic_merge_is_none_for_custom_resources(place: Place) -> None:
    """The server knows no merge keys of theirs."""
    await place.serves("argoproj.io")
    spec = {"project": "default", "destination": {}, "source": {"repoURL": "https://git.example.org/web"}}
    await place.create("Application", {"metadata": {"name": "web"}, "spec": spec})
    resource = Resource("argoproj.io", "v1alpha1", "applications", "Application")
    with pytest.raises(ApiError) as caught:
        await place.api.patch(resource, "web", {"spec": {"project": "x"}}, how=Patch.STRATEGIC)
    assert caught.value.status == 415


async def test_dry_run_is_validated_and_not_kept(place: Place) -> None:
    """A dry run answers with what would be, bumps nothing, and refuses what a real one refuses."""
    before = await place.deploy(WEB, OLD)
    body: Json = {"spec": {"template": {"spec": {"containers": [{"name": "app", "image": NEW}]}}}}
    answer = await place.api.patch(DEPLOYMENT, "web", body, how=Patch.STRATEGIC, dry_run=True)
    assert answer["spec"]["template"]["spec"]["containers"][0]["image"] == NEW
    after = await place.api.get(DEPLOYMENT, "web")
    assert objects.version(after) == objects.version(before.obj)
    assert objects.meta(after)["generation"] == objects.meta(before.obj)["generation"]
    body["spec"]["template"]["spec"]["containers"] = [{"name": "other"}]
    with pytest.raises(ApiError) as caught:
        await place.api.patch(DEPLOYMENT, "web", body, how=Patch.STRATEGIC, dry_run=True)
    assert caught.value.status == 422


async def test_generation_counts_the_specification_alone(place: Place) -> None:
    """Annotations and status leave it as it is."""
    before = (await place.deploy(WEB, OLD)).obj
    noted = await place.change(WEB, {"metadata": {"annotations": {"a": "b"}}})
    scaled = await place.change(WEB, {"spec": {"replicas": 3}})
    counts = [objects.meta(obj)["generation"] for obj in (before, noted, scaled)]
    assert counts == [counts[0], counts[0], counts[0] + 1]


@pytest.mark.parametrize(
    ("target", "patch", "result"),
    [
        ({"a": 1, "b": {"c": 2, "d": 3}}, {"b": {"c": None}}, {"a": 1, "b": {"d": 3}}),
        ({"http": [1, 2]}, {"http": [3]}, {"http": [3]}),
        ({"a": 1}, {"b": {"c": None, "d": 1}}, {"a": 1, "b": {"d": 1}}),
    ],
)
def test_json_merge(target: Json, patch: Json, result: Json) -> None:
    """RFC 7386: null removes, lists are replaced."""
    assert patches.json_merge(target, patch) == result


@pytest.mark.parametrize(
    ("target", "patch", "result"),
    [
        (
            {"containers": [{"name": "a", "image": "1", "env": [{"name": "X", "value": "1"}]}, {"name": "b"}]},
            {"containers": [{"name": "a", "image": "2"}]},
            {"containers": [{"name": "a", "image": "2", "env": [{"name": "X", "value": "1"}]}, {"name": "b"}]},
        ),
        (
            {"containers": [{"name": "a"}, {"name": "b"}]},
            {"containers": [{"name": "b", "$patch": "delete"}]},
            {"containers": [{"name": "a"}]},
        ),
        ({"command": ["a", "b"]}, {"command": ["c"]}, {"command": ["c"]}),
        ({"t": {"a": 1, "b": 2}}, {"t": {"$patch": "replace", "c": 3, "d": None}}, {"t": {"c": 3}}),
        (
            {"containers": []},
            {"containers": [{"name": "a", "image": "1"}]},
            {"containers": [{"name": "a", "image": "1"}]},
        ),
    ],
)
def test_strategic_merge(target: Json, patch: Json, result: Json) -> None:
    """Containers and variables are found by name, other lists are replaced, maps on demand."""
    assert patches.strategic_merge(target, patch) == result
