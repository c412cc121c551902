"""What a workload shall be: an earlier revision, or the same with recorded images."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from actuators.kubernetes import images, objects
from actuators.kubernetes.api import Json
from actuators.kubernetes.pods import Pod
from actuators.kubernetes.steps import Rollback, SetImage
from actuators.kubernetes.workload import (
    CHANGE_CAUSE,
    EARLIER,
    PINNED,
    REVISION,
    Revision,
    Workload,
    images_of,
    pinned,
)
from bot.domain.actuation import Context
from bot.domain.errors import ActuatorError

_OWN = frozenset(
    {
        REVISION,
        EARLIER,
        "deployment.kubernetes.io/desired-replicas",
        "deployment.kubernetes.io/max-replicas",
        "deprecated.deployment.rollback.to",
        "kubectl.kubernetes.io/last-applied-configuration",
    }
)
"""Annotations that belong to the Deployment and never come back with a revision, as kubectl has them:
https://github.com/kubernetes/kubernetes/blob/master/staging/src/k8s.io/kubectl/pkg/polymorphichelpers/rollback.go"""


class Pin(Protocol):
    """What a workload shall be."""

    def holds(self, workload: Workload) -> bool:
        """Whether its template is the wanted one."""
        ...

    def wanted(self, workload: Workload, pod: Pod) -> bool:
        """Whether a pod is of the wanted form."""
        ...

    def label(self, workload: Workload) -> str:
        """Return what such pods run, in a word."""
        ...

    def template(self, workload: Workload) -> Json:
        """Return the pods' template that it shall have, as far as it is known."""
        ...

    def patch(self, workload: Workload, context: Context) -> Json:
        """Return the strategic merge patch that brings it about, bound to the workload as it was read.

        Raises:
            ActuatorError: If it cannot be brought about.
        """
        ...

    def since(self, workload: Workload, context: Context) -> tuple[datetime, str]:
        """Return the moment from which configuration is newer than what comes back, and that moment in words."""
        ...


@dataclass(frozen=True)
class RevisionPin:
    """An earlier revision.

    Args:
        step: The step.
    """

    step: Rollback

    def revision(self, workload: Workload) -> Revision | None:
        """Return the revision, None if the cluster has forgotten it."""
        return workload.find(self.step.revision)

    def holds(self, workload: Workload) -> bool:
        """Whether the template is the revision's, or names the recorded images in place of a forgotten one."""
        revision = self.revision(workload)
        if revision is not None:
            return workload.is_at(revision)
        return bool(self.step.images) and _names(workload.template, self.step.images)

    def wanted(self, workload: Workload, pod: Pod) -> bool:
        """Whether a pod is of that revision."""
        revision = self.revision(workload) or workload.current()
        return revision is not None and pod.revision == revision.hash

    def label(self, workload: Workload) -> str:
        """Return the version of the revision."""
        return images.label(next(iter(images_of(self.template(workload)).values()), ""))

    def template(self, workload: Workload) -> Json:
        """Return the revision's template; of a forgotten one, the present template with the recorded images."""
        revision = self.revision(workload)
        return revision.template if revision else _with(workload.template, self.step.images)

    def patch(self, workload: Workload, context: Context) -> Json:
        """Return the patch that replaces the template as a whole."""
        del context
        revision = self.revision(workload)
        if revision is None:
            raise gone(self.step, workload)
        self.must_agree(revision, workload)
        metadata: Json = {"resourceVersion": objects.version(workload.obj)}
        metadata["annotations"] = (
            _annotations(revision) if workload.kind == "deployment" else _note(workload, self.step, revision)
        )
        return {"metadata": metadata, "spec": {"template": {"$patch": "replace", **revision.template}}}

    def must_agree(self, revision: Revision, workload: Workload) -> None:
        """Refuse a revision that does not hold the recorded images.

        Raises:
            ActuatorError: If it holds others.
        """
        found = images_of(revision.template)
        wrong = [
            f"container {name} is {found.get(name, 'not in it')}, recorded is {recorded}"
            for name, recorded in self.step.images.items()
            if not images.agree(recorded, found.get(name, ""))
        ]
        if wrong:
            raise ActuatorError(
                f"Revision {self.step.revision} of {workload.title} is not the recorded one: {'; '.join(wrong)}.",
                untouched="Nothing was changed.",
                resolution="Correct `revision` or `images` in the plan: one of them is wrong.",
            )

    def since(self, workload: Workload, context: Context) -> tuple[datetime, str]:
        """Return when the revision came into being."""
        revision = self.revision(workload)
        if revision is None:
            return context.plan.deployed_at, "the deployment"
        return revision.created, f"revision {self.step.revision} came into being"


@dataclass(frozen=True)
class ImagePin:
    """The present form with recorded images.

    Args:
        step: The step.
    """

    step: SetImage

    def holds(self, workload: Workload) -> bool:
        """Whether the template names exactly these images."""
        return _names(workload.template, self.step.images)

    def wanted(self, workload: Workload, pod: Pod) -> bool:
        """Whether a pod runs these images; a registry mirror may have changed what it calls them."""
        del workload
        return all(
            images.runs(image, reference=pod.images.get(name, ""), image_id=pod.image_ids.get(name, ""))
            for name, image in self.step.images.items()
        )

    def label(self, workload: Workload) -> str:
        """Return the version of the first image."""
        first = next((name for name in images_of(workload.template) if name in self.step.images), "")
        return images.label(self.step.images.get(first) or next(iter(self.step.images.values())))

    def template(self, workload: Workload) -> Json:
        """Return the present template with the images."""
        return _with(workload.template, self.step.images)

    def patch(self, workload: Workload, context: Context) -> Json:
        """Return the patch that sets each container's image."""
        spec = workload.template.get("spec") or {}
        unknown = sorted(set(self.step.images) - set(images_of(workload.template)))
        if unknown:
            raise ActuatorError(
                f"{workload.title} has no container {', '.join(unknown)}; "
                f"it has {', '.join(images_of(workload.template))}.",
                untouched="Nothing was changed.",
                resolution="Correct the containers' names in the plan.",
            )
        changed = {
            kind: [
                {"name": container["name"], "image": self.step.images[container["name"]]}
                for container in spec.get(kind) or []
                if container["name"] in self.step.images
            ]
            for kind in ("containers", "initContainers")
        }
        # Without a cause of its own the new revision would carry the one of the failed release.
        cause = f"Rollback {context.rollback_id} of {context.plan.change}: {self.label(workload)}"
        return {
            "metadata": {"resourceVersion": objects.version(workload.obj), "annotations": {CHANGE_CAUSE: cause}},
            "spec": {"template": {"spec": {kind: found for kind, found in changed.items() if found}}},
        }

    def since(self, workload: Workload, context: Context) -> tuple[datetime, str]:
        """Return when the failed release was deployed: when the image last ran is not known."""
        del workload
        return context.plan.deployed_at, "the deployment"


def gone(step: Rollback, workload: Workload) -> ActuatorError:
    """Say that the cluster has forgotten a revision, and what it holds."""
    held = "; ".join(revision.words() for revision in workload.revisions) or "nothing"
    return ActuatorError(
        f"Revision {step.revision} of {workload.title} is gone: its history holds {held}. "
        f"revisionHistoryLimit is {workload.limit}.",
        untouched="Nothing was changed.",
        resolution=(
            "Deploy the recorded image in its place."
            if step.images
            else "Deploy the earlier version explicitly: a kubernetes.set_image step with its image by digest. "
            "Record `images` in the next plan, and raise revisionHistoryLimit."
        ),
    )


def obstacle(workload: Workload) -> ActuatorError | None:
    """Return why the workload's controller would not carry out any change; None if it would."""
    if workload.spec.get("paused"):
        return ActuatorError(
            f"{workload.title} is paused: a change of it would not be rolled out.",
            untouched="Nothing was changed.",
            resolution=f"Find out why, run `kubectl rollout resume {workload.title}`, then retry.",
        )
    if workload.strategy == "OnDelete":
        return ActuatorError(
            f"{workload.title} has the update strategy OnDelete: its pods stay until somebody deletes them.",
            untouched="Nothing was changed.",
            resolution="Set the update strategy to RollingUpdate, or roll back by hand.",
        )
    return None


def _names(template: Json, wanted: dict[str, str]) -> bool:
    found = images_of(template)
    return all(images.same(image, found.get(name, "")) for name, image in wanted.items())


def _with(template: Json, wanted: dict[str, str]) -> Json:
    spec = dict(template.get("spec") or {})
    for kind in ("containers", "initContainers"):
        if spec.get(kind):
            spec[kind] = [{**c, "image": wanted.get(c["name"], c.get("image", ""))} for c in spec[kind]]
    return {**template, "spec": spec}


def _annotations(revision: Revision) -> Json:
    """Return what a Deployment's annotations become: those of the revision come back, its own stay."""
    own: Json = {key: value for key, value in revision.annotations.items() if key not in _OWN}
    return {CHANGE_CAUSE: None, **own}


def _note(workload: Workload, step: Rollback, revision: Revision) -> Json:
    """Return the annotation that says which ControllerRevision the plan's number means."""
    known = {revision.name for revision in workload.revisions}
    kept = {number: name for number, name in pinned(workload.obj).items() if name in known}
    return {PINNED: json.dumps({**kept, str(step.revision): revision.name}, sort_keys=True)}
