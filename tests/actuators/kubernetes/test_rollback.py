"""A workload goes back to the pinned revision, by the rules of kubectl, and running it twice changes nothing."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from actuators.kubernetes import Rollback, objects
from actuators.kubernetes.api import Api, Json, Patch, Resource
from actuators.kubernetes.resources import DEPLOYMENT
from actuators.kubernetes.workload import look
from bot.domain.actuation import Presence, Verdict
from tests.support.actuation import FakeClock
from tests.support.kubeapi.place import NEW, OLD, SOON, Place

KINDS = ("deployment/web", "statefulset/web", "daemonset/web")


def rollback(workload: str = "deployment/web", revision: int = 1, **more: Any) -> Rollback:
    """Return the step."""
    return Rollback(id="back", target="shop", workload=workload, revision=revision, **more)


async def two_releases(place: Place, workload: str) -> int:
    """Deploy a good release and the failed one after it, and return the number of pods."""
    await place.deploy(workload, OLD, cause="Deploy v2.3.1 - CHG0012340")
    return (await place.deploy(workload, NEW, cause="Deploy v2.4.0 - CHG0012345")).total


def of(count: int) -> str:
    """Return the words for so many pods."""
    return f"{count} pod{'s' if count != 1 else ''}"


@pytest.mark.parametrize("workload", KINDS)
async def test_pinned_revision_comes_back_on_every_pod(place: Place, workload: str) -> None:
    """The template is the pinned revision's, every pod runs it, and looking tells so before and after."""
    count = await two_releases(place, workload)
    step = rollback(workload)
    before = await place.observe(step)
    assert (before.presence, before.words) == (Presence.ABSENT, f"0 of {of(count)} on 1.36, {count} on 1.37")

    checks = await place.check(step)
    assert checks.verdict is Verdict.OK, list(checks)
    assert "Revision 1 is there: busybox:1.36 (Deploy v2.3.1 - CHG0012340)" in checks.of(f"History of {workload}")
    outcome = await place.apply(step)

    assert outcome.words.startswith(f"{workload}: {count} of {of(count)} on 1.36")
    assert outcome.facts["version"] == "1.36"
    assert outcome.facts["changed"] is True
    after = await place.observe(step)
    assert after.presence is Presence.PRESENT
    assert after.words.startswith(f"{count} of {of(count)} on 1.36")
    found = await look(place.api, workload)
    assert {pod.images["app"] for pod in found.pods if not pod.leaving} == {OLD}


@pytest.mark.parametrize("workload", KINDS)
async def test_running_it_twice_is_harmless(place: Place, workload: str) -> None:
    """The number that a plan has pinned means the same revision after the cluster has given it a new one."""
    await two_releases(place, workload)
    step = rollback(workload)
    await place.apply(step)
    first = await look(place.api, workload)
    assert {revision.number for revision in first.revisions} == {2, 3}

    again = await place.apply(step)

    second = await look(place.api, workload)
    assert again.facts["changed"] is False
    assert objects.meta(second.obj)["generation"] == objects.meta(first.obj)["generation"]
    assert second.find(1) == second.find(3) == second.current()
    checks = await place.check(step)
    assert "Revision 1, revision 3 now is there" in checks.of(f"History of {workload}")
    assert checks.of(f"Change of {workload}") == "ok: It is as wanted already"


@pytest.mark.parametrize("workload", KINDS)
async def test_every_number_that_a_revision_had_stays_good(place: Place, workload: str) -> None:
    """Forward and back again: numbers of earlier rollbacks still lead to the same revisions."""
    await two_releases(place, workload)
    await place.apply(rollback(workload, 1))
    await place.apply(rollback(workload, 2))
    assert (await look(place.api, workload)).version == "1.37"
    await place.apply(rollback(workload, 1))
    found = await look(place.api, workload)
    assert found.version == "1.36"
    assert found.find(2) != found.find(1) == found.current()


async def test_annotations_and_scale_are_kept(place: Place) -> None:
    """The revision's annotations come back; its own bookkeeping, its replicas and what came later stay."""
    applied = "kubectl.kubernetes.io/last-applied-configuration"
    await two_releases(place, "deployment/web")
    await place.change(
        "deployment/web", {"metadata": {"annotations": {applied: "{}", "team": "shop"}}, "spec": {"replicas": 3}}
    )
    await place.until("deployment/web", lambda w: w.total == 3 == sum(pod.ready for pod in w.pods))
    checks = await place.check(rollback())
    assert "the next apply of its manifest brings the failed version back" in checks.of("Deployment web")

    await place.apply(rollback())

    found = await look(place.api, "deployment/web")
    notes = objects.notes(found.obj)
    assert notes["kubernetes.io/change-cause"] == "Deploy v2.3.1 - CHG0012340"
    assert notes[applied] == "{}"
    assert notes["team"] == "shop"
    assert notes["deployment.kubernetes.io/revision"] == "3"
    assert "pod-template-hash" not in found.spec["template"]["metadata"]["labels"]
    assert found.total == 3


async def test_whole_template_comes_back(place: Place) -> None:
    """What the failed release added to the pods is gone afterwards: another container, variables."""
    await place.deploy("deployment/web", OLD)
    added = {"name": "proxy", "image": OLD, "command": ["sh", "-c", "sleep 3600"]}
    spec = {"template": {"spec": {"containers": [added]}}}
    await place.change("deployment/web", {"spec": spec})
    await place.deploy("deployment/web", NEW, env=[{"name": "SCHEMA", "value": "new"}])

    await place.apply(rollback())

    found = await look(place.api, "deployment/web")
    (container,) = found.template["spec"]["containers"]
    assert (container["name"], container["image"], container.get("env")) == ("app", OLD, None)


async def test_paused_deployment_is_refused(place: Place) -> None:
    """A paused Deployment would not roll out: the check fails, and nothing is changed."""
    await two_releases(place, "deployment/web")
    await place.change("deployment/web", {"spec": {"paused": True}})
    checks = await place.check(rollback())
    assert "fail: deployment/web is paused" in checks.of("deployment/web", Verdict.FAIL)
    error = await place.fails(rollback())
    assert "is paused" in error.brief
    assert "kubectl rollout resume deployment/web" in error.resolution
    assert (await look(place.api, "deployment/web")).version == "1.37"


async def test_pods_that_nobody_replaces_are_refused(place: Place) -> None:
    """With the update strategy OnDelete the pods would stay as they are."""
    await two_releases(place, "statefulset/web")
    strategy = {"updateStrategy": {"type": "OnDelete", "rollingUpdate": None}}
    await place.change("statefulset/web", {"spec": strategy})
    checks = await place.check(rollback("statefulset/web"))
    assert "OnDelete" in checks.of("statefulset/web", Verdict.FAIL)
    assert "OnDelete" in (await place.fails(rollback("statefulset/web"))).brief


async def test_conflict_is_answered_by_reading_again(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """A change between reading and writing is seen: the workload is judged anew, and nothing of it is lost."""
    await two_releases(place, "deployment/web")
    send = Api.patch
    meddled: list[str] = []

    async def meddle(api: Api, resource: Resource, name: str, body: Json, **more: Any) -> Json:
        if len(meddled) < 2:
            meddled.append(body["metadata"]["resourceVersion"])
            notes = {"metadata": {"annotations": {"touched": str(len(meddled))}}}
            await send(api, resource, name, notes, how=Patch.MERGE)
        return await send(api, resource, name, body, **more)

    monkeypatch.setattr(Api, "patch", meddle)
    await place.apply(rollback())
    found = await look(place.api, "deployment/web")
    assert len(set(meddled)) == 2
    assert (found.version, objects.notes(found.obj)["touched"]) == ("1.36", "2")


async def test_endless_conflict_gives_up(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """After eight conflicts it stops with a passing fault, and has changed nothing."""
    await two_releases(place, "deployment/web")
    send, place.clock = Api.patch, FakeClock()

    async def meddle(api: Api, resource: Resource, name: str, body: Json, **more: Any) -> Json:
        notes = {"metadata": {"annotations": {"touched": body["metadata"]["resourceVersion"]}}}
        await send(api, resource, name, notes, how=Patch.MERGE)
        return await send(api, resource, name, body, **more)

    monkeypatch.setattr(Api, "patch", meddle)
    error = await place.fails(rollback())
    assert error.transient
    assert "each of 8 times" in error.brief
    assert (await look(place.api, "deployment/web")).version == "1.37"


async def test_somebody_who_deploys_meanwhile_is_named(place: Place) -> None:
    """If another template is set while the rollout goes on, the step stops and says by whom."""
    await place.deploy("deployment/web", OLD, readinessProbe={"exec": {"command": ["false"]}}, settled=False)
    await place.deploy("deployment/web", NEW, settled=False)
    path = DEPLOYMENT.path(place.namespace, "web")

    def redeploy(_: object) -> None:
        if not redeployed:
            body = {"spec": {"template": {"spec": {"containers": [{"name": "app", "image": "busybox:1.37"}]}}}}
            redeployed.append(group.create_task(place.send_as("argocd-controller", path, body)))

    redeployed: list[asyncio.Task[None]] = []
    async with asyncio.TaskGroup() as group:
        place.reports.on_report = redeploy
        error = await place.fails(rollback(timeout=SOON * 5))
    assert "was set to another template (1.37) by argocd-controller at " in error.brief
    assert "Suspend what deploys it" in error.resolution


async def test_revision_that_is_not_the_recorded_one_is_refused(place: Place) -> None:
    """Number and recorded image must agree, else one of them is wrong: nothing is changed."""
    await two_releases(place, "deployment/web")
    digest = "sha256:" + "0" * 64
    step = rollback(revision=1, images={"app": f"{NEW}@{digest}"})
    checks = await place.check(step)
    assert f"container app is {OLD}, recorded is {NEW}" in checks.of("History of deployment/web", Verdict.FAIL)
    assert "is not the recorded one" in (await place.fails(step)).brief
    assert (await look(place.api, "deployment/web")).version == "1.37"


async def test_workload_that_is_not_there(place: Place) -> None:
    """A wrong name is a failed check and an absent effect, in words."""
    step = rollback("deployment/none")
    checks = await place.check(step)
    assert 'deployments.apps "none" not found' in checks.of("deployment/none", Verdict.FAIL)
    seen = await place.observe(step)
    assert (seen.presence, seen.words) == (Presence.ABSENT, f"There is no deployment/none in {place.namespace}")


async def test_cancelled_waiting_leaves_what_a_second_worker_can_end(place: Place) -> None:
    """A worker that is stopped while pods are replaced leaves ABSENT; the next one only waits for the rest."""
    await two_releases(place, "deployment/web")
    step = rollback()
    async with asyncio.TaskGroup() as group:
        doing = group.create_task(place.apply(step))

        def stop(_: object) -> None:
            doing.cancel()

        place.reports.on_report = stop
        with pytest.raises(asyncio.CancelledError):
            await doing
    place.reports.on_report = None
    assert (await look(place.api, "deployment/web")).version == "1.36"
    outcome = await place.apply(step)
    assert outcome.facts["changed"] is False
    assert (await place.observe(step)).presence is Presence.PRESENT
