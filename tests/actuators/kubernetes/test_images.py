"""Images by digest, the verification of every pod, and the history."""

from __future__ import annotations

import re
from typing import Any

import pytest
from pydantic import ValidationError

from actuators.kubernetes import History, SetImage, Verify, images, objects
from actuators.kubernetes.resources import POD
from actuators.kubernetes.workload import look
from bot.domain.actuation import Presence, Verdict
from tests.support.kubeapi.place import MISSING, NEW, OLD, SLEEPS, SOON, Place

DIGEST = "sha256:" + "ab" * 32


def set_image(image: str, workload: str = "deployment/web", container: str = "app") -> SetImage:
    """Return the step."""
    return SetImage(id="image", target="shop", workload=workload, images={container: image})


@pytest.mark.parametrize("workload", ["deployment/web", "statefulset/web", "daemonset/web"])
async def test_recorded_image_is_deployed_by_digest(place: Place, workload: str) -> None:
    """Every pod runs the image of that digest; everything else of the template stays."""
    await place.deploy(workload, OLD)
    pinned = f"{OLD}@{await place.digest(workload)}"
    failed = await place.deploy(workload, NEW, cause="Deploy v2.4.0", env=[{"name": "KEPT", "value": "yes"}])
    step = set_image(pinned, workload)
    seen = await place.observe(step)
    assert seen.presence is Presence.ABSENT
    assert seen.words.endswith(f" on 1.36, {failed.total} on 1.37")
    checks = await place.check(step)
    assert checks.verdict is Verdict.OK, list(checks)

    await place.apply(step)

    found = await look(place.api, workload)
    (container,) = found.template["spec"]["containers"]
    assert (container["image"], container["env"]) == (pinned, [{"name": "KEPT", "value": "yes"}])
    cause = objects.notes(found.obj)["kubernetes.io/change-cause"]
    assert cause == "Rollback rb-0004 of CHG0012345: 1.36"
    assert (await place.observe(step)).presence is Presence.PRESENT
    again = await place.apply(step)
    assert again.facts["changed"] is False


async def test_sidecars_are_left_alone(place: Place) -> None:
    """Only the containers that the step names get another image."""
    await place.deploy("deployment/web", OLD)
    pinned = f"{OLD}@{await place.digest('deployment/web')}"
    sidecar = {"name": "proxy", "image": OLD, "command": SLEEPS}
    await place.change("deployment/web", {"spec": {"template": {"spec": {"containers": [sidecar]}}}})
    await place.deploy("deployment/web", NEW)
    await place.apply(set_image(pinned))
    found = await look(place.api, "deployment/web")
    named = {container["name"]: container["image"] for container in found.template["spec"]["containers"]}
    assert named == {"app": pinned, "proxy": OLD}


async def test_unknown_container_is_refused(place: Place) -> None:
    """A container of that name would be added by a patch; it is refused and those that are there are named."""
    await place.deploy("deployment/web", OLD)
    step = set_image(f"{OLD}@{DIGEST}", container="aap")
    checks = await place.check(step)
    words = "deployment/web has no container aap; it has app"
    assert words in checks.of("Change of deployment/web", Verdict.FAIL)
    assert words in (await place.fails(step)).brief


@pytest.mark.parametrize("image", ["busybox:1.36", "busybox@sha256:abc", "", f"busybox {DIGEST}"])
def test_image_without_a_digest_is_no_pinned_image(image: str) -> None:
    """A tag can be moved: a plan must name the digest."""
    with pytest.raises(ValidationError):
        set_image(image)


async def test_verification_looks_at_every_pod(place: Place) -> None:
    """It passes by reference and by digest, and names what the pods run."""
    await place.deploy("deployment/web", OLD)
    pinned = f"registry.example.org/mirror@{await place.digest('deployment/web')}"
    for image in (OLD, pinned):
        step = Verify(id="look", target="shop", workload="deployment/web", images={"app": image})
        assert (await place.check(step)).verdict is Verdict.OK
        outcome = await place.apply(step)
        assert outcome.facts == {"version": "1.36", "images": [OLD], "pods": 2}
    assert (await place.observe(step)).presence is Presence.ABSENT


async def test_verification_fails_with_what_the_pods_run(place: Place) -> None:
    """Pods of the failed version are counted, and the probe only asked."""
    await place.deploy("deployment/web", NEW)
    step = Verify(id="look", target="shop", workload="deployment/web", images={"app": OLD}, within=SOON)
    error = await place.fails(step)
    assert "deployment/web did not come to 1.36 within" in error.brief
    assert "0 of 2 pods on 1.36, 2 on 1.37" in error.brief
    assert list(await place.remedies(step)) == ["pods", "history"]


async def with_init(place: Place, image: str = OLD, **init: Any) -> None:
    """Deploy pods whose container ``app`` runs the old release, after an init container of some image."""
    await place.deploy("deployment/web", OLD)
    container = {"name": "migrate", "image": image, "command": ["true"], **init}
    await place.change("deployment/web", {"spec": {"template": {"spec": {"initContainers": [container]}}}})


async def test_init_containers_are_verified_alike(place: Place) -> None:
    """Every container that a step names counts, init containers too; the error names pod, container and image."""
    await with_init(place, NEW)
    await place.apply(Verify(id="look", target="shop", workload="deployment/web", images={"migrate": NEW}))
    found = await place.until("deployment/web", lambda w: all(p.ready and not p.leaving for p in w.pods))
    sha = found.pods[0].image_ids["migrate"].partition("@")[2]
    images_of = {"app": OLD, "migrate": f"registry.example.org/mirror@{sha}"}
    await place.apply(Verify(id="look", target="shop", workload="deployment/web", images=images_of))
    wrong = {"app": OLD, "migrate": OLD, "proxy": OLD}
    error = await place.fails(
        Verify(id="look", target="shop", workload="deployment/web", images=wrong, within=SOON)
    )
    assert "0 of 2 pods on 1.36, 2 with another image" in error.brief
    first = found.pods[0].name
    assert re.search(
        rf"^{first}: container migrate is {NEW} \(\S+@{sha}\), expected {OLD}$", error.output, re.MULTILINE
    )
    assert f"{first}: container proxy is not in it, expected {OLD}" in error.output


async def test_init_container_that_cannot_be_pulled_is_told(place: Place) -> None:
    """What keeps a pod from starting is told of its init containers too."""
    await with_init(place, MISSING)
    step = Verify(id="look", target="shop", workload="deployment/web", images={"app": OLD}, within=SOON)
    error = await place.fails(step)
    assert "1 ImagePullBackOff" in error.brief
    assert "container migrate: " in error.output


async def test_debug_containers_are_no_part_of_the_release(place: Place) -> None:
    """An ephemeral container that somebody attached with ``kubectl debug`` neither counts nor disturbs."""
    found = await place.deploy("deployment/web", OLD)
    debug = {"name": "debugger", "image": NEW, "command": SLEEPS, "targetContainerName": "app"}
    path = POD.path(place.namespace, found.pods[0].name, subresource="ephemeralcontainers")
    await place.send_as("kubectl", path, {"spec": {"ephemeralContainers": [debug]}})
    outcome = await place.apply(Verify(id="look", target="shop", workload="deployment/web", images={"app": OLD}))
    assert outcome.facts == {"version": "1.36", "images": [OLD], "pods": 2}


async def test_verification_without_images_waits_for_the_rollout(place: Place) -> None:
    """It ends when the rollout that is under way has ended."""
    await place.deploy("deployment/web", OLD)
    await place.deploy("deployment/web", NEW, settled=False)
    outcome = await place.apply(Verify(id="look", target="shop", workload="deployment/web"))
    assert outcome.words.startswith("deployment/web: 2 of 2 pods on 1.37")


@pytest.mark.parametrize("workload", ["deployment/web", "statefulset/web", "daemonset/web"])
async def test_history_shows_causes_and_images(place: Place, workload: str) -> None:
    """Every revision with its number, image and cause; the present one is marked."""
    await place.deploy(workload, OLD, cause="Deploy v2.3.1 - CHG0012340")
    await place.deploy(workload, NEW, cause="Deploy v2.4.0 - CHG0012345")
    step = History(id="history", target="shop", workload=workload)
    assert (await place.check(step)).verdict is Verdict.OK
    outcome = await place.apply(step)
    assert outcome.words == f"{workload} holds revisions 1, 2; revisionHistoryLimit is 10"
    first, second = outcome.output.splitlines()
    assert first.startswith("1  ")
    assert first.endswith(f"{OLD}  Deploy v2.3.1 - CHG0012340")
    assert second.startswith("2*  ")


@pytest.mark.parametrize(
    ("reference", "parts", "label"),
    [
        ("busybox", ("busybox", "", ""), "latest"),
        ("busybox:1.36", ("busybox", "1.36", ""), "1.36"),
        ("reg.example.org:5000/a/b:v1", ("reg.example.org:5000/a/b", "v1", ""), "v1"),
        ("reg.example.org:5000/a/b", ("reg.example.org:5000/a/b", "", ""), "latest"),
        (f"a/b@{DIGEST}", ("a/b", "", DIGEST), "sha256:abababababab"),
        (f"a/b:v1@{DIGEST}", ("a/b", "v1", DIGEST), "v1"),
    ],
)
def test_references_are_read(reference: str, parts: tuple[str, str, str], label: str) -> None:
    """Repository, tag and digest of an image, and what people call it."""
    assert images.split(reference) == parts
    assert images.label(reference) == label


@pytest.mark.parametrize(
    ("recorded", "found", "agrees"),
    [
        (f"a/b:v1@{DIGEST}", f"other/b@{DIGEST}", True),
        (f"a/b:v1@{DIGEST}", "a/b:v1", True),
        (f"a/b@{DIGEST}", "a/b:v1", True),
        (f"a/b:v1@{DIGEST}", "a/b:v2", False),
        (f"a/b:v1@{DIGEST}", "a/c:v1", False),
        (f"a/b:v1@{DIGEST}", f"a/b:v1@sha256:{'cd' * 32}", False),
    ],
)
def test_recorded_image_is_compared_as_far_as_both_tell(recorded: str, found: str, *, agrees: bool) -> None:
    """Two digests decide; else repository and tag, as far as they are named."""
    assert images.agree(recorded, found) is agrees


@pytest.mark.parametrize(
    ("expected", "seen", "runs"),
    [
        ("a/b:v1", {"reference": "a/b:v1", "image_id": ""}, True),
        ("a/b:v1", {"reference": "a/b:v2", "image_id": ""}, False),
        (f"a/b:v1@{DIGEST}", {"reference": "mirror/b:v1", "image_id": f"mirror/b@{DIGEST}"}, True),
        (f"a/b:v1@{DIGEST}", {"reference": "a/b:v1", "image_id": ""}, False),
        (f"a/b:v1@{DIGEST}", {"reference": "x", "image_id": DIGEST}, True),
    ],
)
def test_digest_that_runs_counts(expected: str, seen: dict[str, Any], *, runs: bool) -> None:
    """With a digest, what the node reports decides; without one, the reference as it is written."""
    assert images.runs(expected, **seen) is runs
