"""Kubernetes: workloads rolled back to what is pinned, verified pod by pod; GitOps owners suspended meanwhile."""

from __future__ import annotations

from typing import Any

from actuators.kubernetes.changing import ChangeActuator
from actuators.kubernetes.deleting import DeletePodsActuator
from actuators.kubernetes.gitops import ResumeActuator, SuspendActuator
from actuators.kubernetes.pins import ImagePin, RevisionPin
from actuators.kubernetes.probes import HistoryActuator, PodsActuator, VerifyActuator
from actuators.kubernetes.steps import (
    DeletePods,
    History,
    PodRef,
    Pods,
    Resume,
    Rollback,
    SetImage,
    Suspend,
    Verify,
)
from bot.domain.actuation import Registered

__all__ = [
    "DeletePods",
    "History",
    "PodRef",
    "Pods",
    "Resume",
    "Rollback",
    "SetImage",
    "Suspend",
    "Verify",
    "register",
]


def register() -> tuple[Registered[Any], ...]:
    """Return the steps of this actuator with what carries them out."""
    return (
        Registered(Rollback, ChangeActuator[Rollback](RevisionPin)),
        Registered(SetImage, ChangeActuator[SetImage](ImagePin)),
        Registered(Verify, VerifyActuator()),
        Registered(History, HistoryActuator()),
        Registered(Pods, PodsActuator()),
        Registered(DeletePods, DeletePodsActuator()),
        Registered(Suspend, SuspendActuator()),
        Registered(Resume, ResumeActuator()),
    )
