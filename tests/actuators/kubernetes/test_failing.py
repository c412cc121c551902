"""Pods that do not come up: the step ends in time and says why, and knows what may help."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from actuators.kubernetes import DeletePods, Pods, Rollback, objects
from actuators.kubernetes.resources import DEPLOYMENT
from actuators.kubernetes.workload import look
from bot.domain.actuation import Presence, Verdict
from tests.support.kubeapi.place import CRASHES, MISSING, NEW, OLD, SLEEPS, SOON, Place

WEB = "deployment/web"


def rollback(workload: str = WEB, **more: Any) -> Rollback:
    """Return the step."""
    return Rollback(id="back", target="shop", workload=workload, revision=1, timeout=SOON, **more)


async def ailing(place: Place, trouble: str, *, workload: str = WEB, image: str = OLD, **pod: Any) -> None:
    """Deploy a revision 1 whose pods do not come up, and another release after it."""
    await place.deploy(workload, image, settled=False, **pod)
    await place.until(workload, lambda w: any(p.trouble == trouble for p in w.pods))
    mended: dict[str, Any] = {**dict.fromkeys(pod), "command": SLEEPS}
    await place.deploy(workload, NEW, settled=False, **mended)


@pytest.mark.parametrize(
    ("trouble", "image", "pod", "advice", "shown"),
    [
        ("ImagePullBackOff", MISSING, {}, "still in its registry", "Failed to pull image"),
        ("CrashLoopBackOff", OLD, {"command": CRASHES}, "last lines of the log", "schema is too old"),
        (
            "CreateContainerConfigError",
            OLD,
            {"envFrom": [{"configMapRef": {"name": "gone"}}]},
            "restore it",
            'configmap "gone" not found',
        ),
        (
            "not ready",
            OLD,
            {"readinessProbe": {"exec": {"command": ["false"]}}},
            "readiness probe fails",
            "unready status: [app]",
        ),
    ],
)
async def test_reasons_of_failing_pods_are_told(
    place: Place, *, trouble: str, image: str, pod: dict[str, Any], advice: str, shown: str
) -> None:
    """The error counts the pods by what ails them, says what to do, and shows what people would look at."""
    await ailing(place, trouble, image=image, **pod)
    error = await place.fails(rollback())
    assert f" {trouble}" in error.brief
    assert "of 2 pods on" in error.brief
    assert "did not come to" in error.brief
    assert advice in error.resolution
    assert trouble in error.output
    assert shown in error.output
    seen = await place.observe(rollback())
    assert seen.presence is Presence.ABSENT
    assert trouble in seen.words


async def test_unschedulable_pods_are_told(place: Place) -> None:
    """Pods that fit on no node say so in the scheduler's words."""
    await place.deploy(WEB, OLD)
    spec = {"template": {"spec": {"nodeSelector": {"example.org/none": "yes"}}}}
    await place.change(WEB, {"spec": spec})
    await place.until(WEB, lambda w: any(p.trouble == "Unschedulable" for p in w.pods))
    step = Rollback(id="back", target="shop", workload=WEB, revision=2, timeout=SOON)
    error = await place.fails(step)
    assert "1 Unschedulable" in error.brief
    assert "nodes are available" in error.output


async def test_pods_and_their_ailments_can_be_asked_for(place: Place) -> None:
    """The diagnosis that is offered shows the same without waiting: pods, warnings, the end of the log."""
    await place.deploy(WEB, OLD, settled=False, command=CRASHES)
    await place.until(WEB, lambda w: sum(pod.trouble == "CrashLoopBackOff" for pod in w.pods) == w.total)
    found = (await place.remedies(rollback()))["pods"]
    assert found.step == Pods(id="pods", target="shop", workload=WEB)
    assert (await place.check(found.step)).verdict is Verdict.OK
    outcome = await place.apply(found.step)
    assert outcome.words.startswith("0 of 2 pods of deployment/web are ready. Read the last lines of the log")
    assert "exit code 3" in outcome.output
    assert "schema is too old" in outcome.output


async def test_deadline_of_the_deployment_ends_the_waiting(place: Place) -> None:
    """A controller that gives up is believed, long before the step's own time is over."""
    await place.deploy(WEB, OLD, readinessProbe={"exec": {"command": ["false"]}}, settled=False)
    await place.change(WEB, {"spec": {"progressDeadlineSeconds": 1}})
    await place.deploy(WEB, NEW, readinessProbe=None)
    error = await place.fails(rollback().model_copy(update={"timeout": SOON * 60}))
    assert "made no progress within its progressDeadlineSeconds" in error.brief


async def test_old_verdict_of_the_failed_release_does_not_count(place: Place) -> None:
    """The failed release has exceeded its own deadline: that says nothing about the rollback."""
    await place.deploy(WEB, OLD)
    await place.change(WEB, {"spec": {"progressDeadlineSeconds": 1}})
    await place.deploy(WEB, MISSING, settled=False)
    await place.until(WEB, lambda w: "Exceeded" in str(w.status.get("conditions")))
    step = rollback().model_copy(update={"timeout": SOON * 60})
    outcome = await place.apply(step)
    assert outcome.words.startswith("deployment/web: 2 of 2 pods on 1.36")


async def broken_set(place: Place) -> None:
    """Deploy a StatefulSet whose second release broke its last pod."""
    await place.deploy("statefulset/web", OLD)
    await place.deploy("statefulset/web", MISSING, settled=False)
    await place.until("statefulset/web", lambda w: any(p.trouble == "ImagePullBackOff" for p in w.pods))


async def test_stateful_set_that_waits_for_ever_is_foretold_and_helped_by_a_remedy(place: Place) -> None:
    """A broken pod holds a StatefulSet up although its template is right; deleting that very pod ends it."""
    await broken_set(place)
    step = rollback("statefulset/web")
    assert "waits for every pod in turn" in (await place.check(step)).of("statefulset/web", Verdict.WARN)

    error = await place.fails(step)
    assert "1 of 2 pods on 1.36, 1 on no-such-tag" in error.brief
    remedy = (await place.remedies(step))["delete-pods"]
    assert remedy.title == "Delete 1 pod that cannot start"
    assert isinstance(remedy.step, DeletePods)
    assert (await place.observe(remedy.step)).presence is Presence.ABSENT
    assert (await place.check(remedy.step)).verdict is Verdict.OK
    await place.apply(remedy.step)

    assert (await place.observe(remedy.step)).presence is Presence.PRESENT
    found = await place.until("statefulset/web", lambda w: sum(p.ready and p.label == "1.36" for p in w.pods) == 2)
    uids = {pod.uid for pod in found.pods}
    await place.apply(remedy.step)
    assert {pod.uid for pod in (await look(place.api, "statefulset/web")).pods} == uids
    assert (await place.observe(step)).presence is Presence.PRESENT


async def test_stateful_set_is_helped_along_where_the_plan_says_so(place: Place) -> None:
    """With replace_stuck the broken pod is deleted by the step itself."""
    await broken_set(place)
    step = rollback("statefulset/web", replace_stuck=True).model_copy(update={"timeout": SOON * 10})
    checks = await place.check(step)
    assert checks.of("statefulset/web", Verdict.WARN) == ""
    assert checks.of("Access to statefulset/web").startswith("ok: All 9 rights")
    outcome = await place.apply(step)
    assert outcome.words.startswith("statefulset/web: 2 of 2 pods on 1.36")


async def test_deployment_that_is_deleted_meanwhile_is_told(place: Place) -> None:
    """Waiting ends when there is nothing left to wait for."""
    await ailing(place, "ImagePullBackOff", image=MISSING)
    uid = objects.uid((await look(place.api, WEB)).obj)

    def delete(_: object) -> None:
        if not deleting:
            deleting.append(group.create_task(place.api.delete(DEPLOYMENT, "web", uid=uid)))

    deleting: list[asyncio.Task[None]] = []
    async with asyncio.TaskGroup() as group:
        place.reports.on_report = delete
        error = await place.fails(rollback())
    assert "deployment/web was deleted" in error.brief
