"""The steps on Kubernetes workloads, as plans write them."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from bot.domain.inventory import Model
from bot.domain.plan import Step
from bot.domain.times import Duration, parse_duration

_OBJECT = r"[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?"

ObjectName = Annotated[str, Field(pattern=rf"^{_OBJECT}$")]
"""The name of an object in a cluster."""

WorkloadName = Annotated[
    str,
    Field(pattern=rf"^(deployment|statefulset|daemonset)/{_OBJECT}$", examples=["deployment/payments"]),
]
"""A workload as ``deployment/NAME``, ``statefulset/NAME`` or ``daemonset/NAME``, in the target's namespace."""

PinnedImage = Annotated[
    str,
    Field(
        pattern=r"^[A-Za-z0-9][A-Za-z0-9._:/-]{0,400}@sha256:[0-9a-f]{64}$",
        examples=["registry.example.org/payments:v2.3.1@sha256:" + "0123456789abcdef" * 4],
    ),
]
"""An image by its digest, so that it is the same one whenever it is pulled; a tag before it is for people."""

Images = dict[ObjectName, PinnedImage]
"""Images by container, init containers included."""

OwnerName = Annotated[
    str,
    Field(pattern=rf"^(application|kustomization|helmrelease)/{_OBJECT}$", examples=["application/payments"]),
]
"""A GitOps owner: an Argo CD Application, a Flux Kustomization or a Flux HelmRelease."""


class WorkloadStep(Step):
    """What the steps on a workload share.

    Attributes:
        workload: Which one.
    """

    workload: WorkloadName


class Rollback(WorkloadStep):
    """The workload's pods are of an earlier revision, by the rules of ``kubectl rollout undo --to-revision``.

    Attributes:
        revision: The number of the revision that comes back, as ``kubectl rollout history`` shows it. It stays the
            same revision after the cluster has given it a new number.
        images: The images of that revision by container, by digest: compared with it, and deployed in its place
            when a person says so, if the cluster has forgotten it.
        replace_stuck: Whether pods of a StatefulSet that never become ready are deleted, so that it goes on:
            it would wait for them for ever otherwise.
    """

    kind: Literal["kubernetes.rollback"] = "kubernetes.rollback"
    revision: int = Field(ge=1)
    images: Images = Field(default_factory=dict)
    replace_stuck: bool = False

    def words(self) -> str:
        """Return the step in words, for people."""
        return self.title or f"Roll {self.workload} back to revision {self.revision}"


class SetImage(WorkloadStep):
    """The workload's pods run these images; everything else of it stays as it is.

    Attributes:
        images: Images by container, by digest.
        replace_stuck: As in ``kubernetes.rollback``.
    """

    kind: Literal["kubernetes.set_image"] = "kubernetes.set_image"
    images: Images = Field(min_length=1)
    replace_stuck: bool = False

    def words(self) -> str:
        """Return the step in words, for people."""
        return self.title or f"Deploy the recorded image of {self.workload}"


class Verify(WorkloadStep):
    """The rollout is complete, and every pod runs these images.

    Attributes:
        images: References by container. With a digest, the digest that runs counts; else the reference as written.
            Empty: only the rollout is looked at.
        within: Time until it must be so.
    """

    reads_only: ClassVar[bool] = True

    kind: Literal["kubernetes.verify"] = "kubernetes.verify"
    images: dict[ObjectName, Annotated[str, Field(min_length=1, max_length=500)]] = Field(default_factory=dict)
    within: Duration = parse_duration("1m")

    def words(self) -> str:
        """Return the step in words, for people."""
        return self.title or f"Every pod of {self.workload} runs the right image"


class History(WorkloadStep):
    """Shows the revisions that the cluster holds, with their causes and images, and how many it keeps."""

    reads_only: ClassVar[bool] = True

    kind: Literal["kubernetes.history"] = "kubernetes.history"

    def words(self) -> str:
        """Return the step in words, for people."""
        return self.title or f"Revisions of {self.workload}"


class Pods(WorkloadStep):
    """Shows the pods with what keeps them from being ready, their events and the last lines of their logs."""

    reads_only: ClassVar[bool] = True

    kind: Literal["kubernetes.pods"] = "kubernetes.pods"

    def words(self) -> str:
        """Return the step in words, for people."""
        return self.title or f"Pods of {self.workload}"


class PodRef(Model):
    """One pod, and no later one of the same name."""

    name: ObjectName
    uid: str = Field(min_length=1, max_length=64)


class DeletePods(WorkloadStep):
    """These very pods are gone; their workload makes new ones of its current revision.

    Attributes:
        pods: At least one.
    """

    kind: Literal["kubernetes.delete_pods"] = "kubernetes.delete_pods"
    pods: tuple[PodRef, ...] = Field(min_length=1, max_length=100)

    def words(self) -> str:
        """Return the step in words, for people."""
        return self.title or f"Delete {len(self.pods)} stuck pod{'s' * (len(self.pods) > 1)} of {self.workload}"


class GitopsStep(Step):
    """What the steps on a GitOps owner share.

    Attributes:
        owner: The Application, Kustomization or HelmRelease.
        namespace: Its namespace. Default: `argocd` of the target for an Application, ``flux-system`` for a
            Kustomization, the target's own for a HelmRelease.
    """

    owner: OwnerName
    namespace: ObjectName | None = None


class Suspend(GitopsStep):
    """The owner deploys nothing by itself any more. How it was before is noted on it, for ``gitops.resume``."""

    kind: Literal["gitops.suspend"] = "gitops.suspend"

    def words(self) -> str:
        """Return the step in words, for people."""
        return self.title or f"Suspend the automatic deployment by {self.owner}"


class Resume(GitopsStep):
    """The owner deploys by itself again, as it did before ``gitops.suspend``."""

    kind: Literal["gitops.resume"] = "gitops.resume"

    def words(self) -> str:
        """Return the step in words, for people."""
        return self.title or f"Resume the automatic deployment by {self.owner}"
