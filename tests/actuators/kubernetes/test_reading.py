"""What is read from objects: troubles of pods, rollouts, selectors, references, owners. No server is asked."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from actuators.kubernetes import (
    DeletePods,
    History,
    PodRef,
    Pods,
    Resume,
    Rollback,
    SetImage,
    Suspend,
    Verify,
    objects,
    pods,
)
from actuators.kubernetes.drift import Reference, references
from actuators.kubernetes.owners import Owner, owners_of
from actuators.kubernetes.rollout import rollout
from actuators.kubernetes.workload import Workload, build, pinned
from bot.domain.plan import Step

Json = dict[str, Any]
CREATED = "2024-01-15T14:30:00Z"


def pod(state: Json | None = None, *, last: Json | None = None, name: str = "web-1", **status: Any) -> pods.Pod:
    """Return a pod whose only container is in a state."""
    container = {"name": "app", "ready": False, "restartCount": 4, "state": state or {}, "lastState": last or {}}
    document = {
        "metadata": {"name": name, "uid": name, "labels": {"hash": "abc"}},
        "spec": {"containers": [{"name": "app", "image": "web:v2.4.0"}]},
        "status": {"containerStatuses": [container] if state else [], **status},
    }
    return pods.read(document, revision="hash")


def waiting(reason: str, message: str = "") -> Json:
    """Return the state of a container that waits."""
    return {"waiting": {"reason": reason, "message": message}}


def ended(code: int, reason: str = "Error") -> Json:
    """Return the state of a container that has ended."""
    return {"terminated": {"exitCode": code, "reason": reason}}


@pytest.mark.parametrize(
    ("found", "trouble", "detail"),
    [
        (pod(waiting("ContainerCreating")), "", ""),
        (pod(waiting("ErrImagePull", "not found")), "ImagePullBackOff", "container app: not found"),
        (pod(waiting("InvalidImageName")), "InvalidImageName", "container app: InvalidImageName"),
        (
            pod(waiting("CrashLoopBackOff", "back-off"), last=ended(3)),
            "CrashLoopBackOff",
            "container app: ended with exit code 3, 4 restarts",
        ),
        (
            pod(waiting("CrashLoopBackOff", "back-off"), last=ended(137, "OOMKilled")),
            "OOMKilled",
            "container app: ended with exit code 137 (OOMKilled), 4 restarts",
        ),
        (pod(waiting("CrashLoopBackOff", "back-off")), "CrashLoopBackOff", "container app: back-off"),
        (pod(ended(1)), "CrashLoopBackOff", "container app: ended with exit code 1"),
        (pod(ended(137, "OOMKilled")), "OOMKilled", "container app: ended with exit code 137 (OOMKilled)"),
        (pod({"running": {}}), "not ready", "it runs and is not ready"),
        (pod(phase="Failed", reason="Evicted", message="low on memory"), "Evicted", "low on memory"),
        (pod(phase="Failed"), "Failed", ""),
        (
            pod(conditions=[{"type": "PodScheduled", "status": "False", "message": "no room"}]),
            "Unschedulable",
            "no room",
        ),
        (pod({"running": {}}, conditions=[{"type": "Ready", "status": "True"}]), "", ""),
    ],
)
def test_trouble_of_a_pod(found: pods.Pod, trouble: str, detail: str) -> None:
    """One or two words for the count, and particulars for those who look."""
    assert (found.trouble, found.detail) == (trouble, detail)


def test_pods_are_counted_by_what_ails_them() -> None:
    """The count of the good ones, then the rest, the most frequent first; other versions by their name."""
    ready: Json = {"conditions": [{"type": "Ready", "status": "True"}]}
    seen = [
        *(pod({"running": {}}, name=f"web-{n}", **ready) for n in range(3)),
        pod(waiting("ErrImagePull"), name="web-3"),
        pod(waiting("ContainerCreating"), name="web-4"),
        pod(phase="Failed", reason="Evicted", name="web-5"),
    ]
    words = pods.tally(seen, lambda found: found.name != "web-0", total=6, label="v2.3.1")
    assert words == "2 of 6 pods on v2.3.1, 1 Evicted, 1 ImagePullBackOff, 1 on v2.4.0, 1 starting"
    same = pods.tally(seen[:1], lambda _: False, total=1, label="v2.4.0")
    assert same == "0 of 1 pod on v2.4.0, 1 of another revision"


def workload(title: str, spec: Json, status: Json, *, generation: int = 2) -> Workload:
    """Return a workload without pods."""
    template = {"metadata": {}, "spec": {"containers": [{"name": "app", "image": "web:v1"}]}}
    document = {
        "metadata": {"name": "web", "uid": "1", "generation": generation},
        "spec": {"template": template, **spec},
        "status": {"observedGeneration": 2, **status},
    }
    return build(title, document, [], [])


@pytest.mark.parametrize(
    ("found", "complete", "words"),
    [
        (workload("deployment/web", {}, {}, generation=3), False, "its controller has not yet seen the change"),
        (
            workload("deployment/web", {"replicas": 3}, {"updatedReplicas": 1, "replicas": 3}),
            False,
            "1 of 3 new pods have been made",
        ),
        (
            workload(
                "deployment/web",
                {"replicas": 3},
                {"conditions": [{"type": "ReplicaFailure", "status": "True", "message": "exceeded quota"}]},
            ),
            False,
            "0 of 3 new pods have been made: exceeded quota",
        ),
        (
            workload("deployment/web", {"replicas": 3}, {"updatedReplicas": 3, "replicas": 4}),
            False,
            "1 earlier pods are still there",
        ),
        (
            workload(
                "deployment/web", {"replicas": 3}, {"updatedReplicas": 3, "replicas": 3, "availableReplicas": 2}
            ),
            False,
            "2 of 3 new pods are available",
        ),
        (
            workload(
                "deployment/web", {"replicas": 1}, {"updatedReplicas": 1, "replicas": 1, "availableReplicas": 1}
            ),
            True,
            "every pod is new and available",
        ),
        (workload("statefulset/web", {"replicas": 2}, {"readyReplicas": 1}), False, "1 of 2 pods are ready"),
        (
            workload(
                "statefulset/web",
                {"replicas": 2},
                {"readyReplicas": 2, "updatedReplicas": 1, "currentRevision": "a", "updateRevision": "b"},
            ),
            False,
            "1 of 2 pods have been replaced",
        ),
        (workload("statefulset/web", {"replicas": 0}, {}), True, "every pod is new and ready"),
        (
            workload("daemonset/web", {}, {"desiredNumberScheduled": 2, "updatedNumberScheduled": 1}),
            False,
            "1 of 2 pods have been replaced",
        ),
        (
            workload(
                "daemonset/web",
                {},
                {"desiredNumberScheduled": 2, "updatedNumberScheduled": 2, "numberAvailable": 1},
            ),
            False,
            "1 of 2 new pods are available",
        ),
    ],
)
def test_rollouts_are_judged_as_kubectl_judges_them(found: Workload, words: str, *, complete: bool) -> None:
    """The conditions of `kubectl rollout status`, in words."""
    judged = rollout(found)
    assert (judged.complete, judged.words) == (complete, words)


@pytest.mark.parametrize(
    ("document", "text"),
    [
        ({"matchLabels": {"b": "2", "a": "1"}}, "a=1,b=2"),
        ({"matchExpressions": [{"key": "a", "operator": "In", "values": ["1", "2"]}]}, "a in (1,2)"),
        ({"matchExpressions": [{"key": "a", "operator": "NotIn", "values": ["1"]}]}, "a notin (1)"),
        ({"matchExpressions": [{"key": "a", "operator": "Exists"}]}, "a"),
        ({"matchExpressions": [{"key": "a", "operator": "DoesNotExist"}]}, "!a"),
        ({}, ""),
    ],
)
def test_selectors_are_written_as_requests_take_them(document: Json, text: str) -> None:
    """Labels and expressions alike."""
    assert objects.selector(document) == text


def test_every_reference_of_a_template_is_found_once() -> None:
    """Volumes, projected sources, variables, pull secrets; what is needed anywhere is needed."""
    template = {
        "spec": {
            "volumes": [
                {"name": "a", "configMap": {"name": "settings", "optional": True}},
                {"name": "b", "secret": {"secretName": "password"}},
                {
                    "name": "c",
                    "projected": {"sources": [{"configMap": {"name": "ca"}}, {"secret": {"name": "tls"}}]},
                },
                {"name": "d", "emptyDir": {}},
            ],
            "initContainers": [{"name": "i", "envFrom": [{"configMapRef": {"name": "settings"}}]}],
            "containers": [
                {
                    "name": "app",
                    "envFrom": [{"secretRef": {"name": "extra", "optional": True}}],
                    "env": [
                        {"name": "A", "valueFrom": {"configMapKeyRef": {"name": "one", "key": "a"}}},
                        {"name": "B", "valueFrom": {"secretKeyRef": {"name": "two", "key": "b"}}},
                        {"name": "C", "value": "plain"},
                    ],
                }
            ],
            "imagePullSecrets": [{"name": "registry"}],
        }
    }
    assert references(template) == (
        Reference("ConfigMap", "ca"),
        Reference("ConfigMap", "one"),
        Reference("ConfigMap", "settings"),
        Reference("Secret", "extra", optional=True),
        Reference("Secret", "password"),
        Reference("Secret", "registry", optional=True),
        Reference("Secret", "tls"),
        Reference("Secret", "two"),
    )


def marked(kind: str = "Deployment", **metadata: Json) -> Json:
    """Return an object with an owner's marks."""
    return {"kind": kind, "metadata": {"name": "web", **metadata}}


@pytest.mark.parametrize(
    ("obj", "owners"),
    [
        (marked(), ()),
        (
            marked(annotations={"argocd.argoproj.io/tracking-id": "shop:apps/Deployment:prod/web"}),
            (Owner("application", "shop", "argocd"),),
        ),
        (
            marked(annotations={"argocd.argoproj.io/tracking-id": "team_shop:apps/Deployment:prod/web"}),
            (Owner("application", "shop", "team"),),
        ),
        (
            marked(labels={"argocd.argoproj.io/instance": "shop", "app.kubernetes.io/instance": "other"}),
            (Owner("application", "shop", "argocd"),),
        ),
        (
            marked(labels={"app.kubernetes.io/instance": "shop"}),
            (Owner("application", "shop", "argocd", certain=False),),
        ),
        (
            marked(
                labels={
                    "kustomize.toolkit.fluxcd.io/name": "apps",
                    "kustomize.toolkit.fluxcd.io/namespace": "flux-system",
                    "helm.toolkit.fluxcd.io/name": "web",
                    "helm.toolkit.fluxcd.io/namespace": "prod",
                }
            ),
            (Owner("kustomization", "apps", "flux-system"), Owner("helmrelease", "web", "prod")),
        ),
    ],
)
def test_owners_are_known_by_their_marks(obj: Json, owners: tuple[Owner, ...]) -> None:
    """Argo CD's tracking id or instance label, and Flux's labels."""
    assert owners_of(obj, argo_namespace="argocd") == owners


@pytest.mark.parametrize("note", ["", "no json", "[]", '{"1": "web-abc"}'])
def test_note_of_pinned_numbers_that_somebody_broke_is_ignored(note: str) -> None:
    """Only an object of names counts."""
    found = pinned({"metadata": {"annotations": {"rollback-bot/revisions": note}}})
    assert found == ({"1": "web-abc"} if "abc" in note else {})


def test_last_writer_is_the_latest_of_those_who_wrote_the_part() -> None:
    """Status, metadata and a manager that is not meant do not count."""

    def entry(manager: str, hour: int, part: str = "f:spec", **more: str) -> Json:
        return {"manager": manager, "time": f"2024-01-15T{hour}:00:00Z", "fieldsV1": {part: {}}, **more}

    entries = [
        entry("argocd", 14),
        entry("helm", 13),
        entry("bot", 15),
        entry("kubelet", 16, subresource="status"),
        entry("labeller", 17, "f:metadata"),
    ]
    obj = {"metadata": {"managedFields": entries}}
    assert objects.last_writer(obj, "spec", besides="bot") == ("argocd", datetime(2024, 1, 15, 14, tzinfo=UTC))
    assert objects.last_writer({"metadata": {}}, "spec") == ("", None)


PINNED_IMAGE = {"app": f"web@sha256:{'0' * 64}"}


@pytest.mark.parametrize(
    ("step", "words"),
    [
        (
            Rollback(id="a", target="c", workload="deployment/web", revision=3),
            "Roll deployment/web back to revision 3",
        ),
        (
            SetImage(id="a", target="c", workload="deployment/web", images=PINNED_IMAGE),
            "Deploy the recorded image of",
        ),
        (Verify(id="a", target="c", workload="deployment/web"), "Every pod of deployment/web runs the right image"),
        (History(id="a", target="c", workload="deployment/web"), "Revisions of deployment/web"),
        (Pods(id="a", target="c", workload="deployment/web"), "Pods of deployment/web"),
        (
            DeletePods(id="a", target="c", workload="deployment/web", pods=(PodRef(name="p", uid="1"),)),
            "Delete 1 stuck pod of deployment/web",
        ),
        (
            Suspend(id="a", target="c", owner="application/web"),
            "Suspend the automatic deployment by application/web",
        ),
        (Resume(id="a", target="c", owner="application/web"), "Resume the automatic deployment by application/web"),
    ],
    ids=lambda value: value.kind if isinstance(value, Step) else "",
)
def test_steps_speak_for_themselves(step: Step, words: str) -> None:
    """Each has words for the card, and takes those of the plan instead."""
    assert step.words().startswith(words)
    assert step.model_copy(update={"title": "Own words"}).words() == "Own words"
