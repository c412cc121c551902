"""Looking before a rollback whether something would deploy the failed version again."""

from __future__ import annotations

from collections.abc import Sequence

from actuators.kubernetes import objects
from actuators.kubernetes.api import Api, ApiError, Json
from actuators.kubernetes.connection import cluster_of
from actuators.kubernetes.owners import (
    DEFAULT_ARGO_NAMESPACE,
    Owner,
    Standing,
    owner_of,
    owners_of,
    standing,
)
from actuators.kubernetes.steps import Suspend
from bot.domain.actuation import Check, Context, Remedy, Verdict
from bot.domain.plan import Step

_APPLIED = "kubectl.kubernetes.io/last-applied-configuration"


async def check_owners(api: Api, step: Step, context: Context, obj: Json) -> tuple[Check, ...]:
    """Look for GitOps owners and other controllers of an object that a step changes.

    Args:
        api: The API server.
        step: The step that changes the object.
        context: Its run.
        obj: The object.
    """
    title = f"{obj.get('kind')} {objects.name(obj)}"
    checks = [await _check(api, step, context, owner) for owner in _owners(step, context, obj)]
    found = [check for check in checks if check is not None]
    # GitOps owners write this annotation too.
    by_hand = not found and _APPLIED in objects.notes(obj)
    reference = objects.controller(obj)
    if reference:
        words = f"It is controlled by {reference['kind']} {reference['name']}, which may undo the change"
        found.append(Check(title, Verdict.WARN, words, "Make sure that its controller wants the earlier version."))
    if by_hand:
        words = "It was applied by kubectl: the next apply of its manifest brings the failed version back"
        found.append(Check(title, Verdict.WARN, words, "Revert the manifest too, before anybody applies it."))
    return tuple(found) or (Check(title, Verdict.OK, "No GitOps owner deploys it"),)


async def check_parents(step: Step, context: Context, owner: Owner, obj: Json) -> tuple[Check, ...]:
    """Look whether a GitOps owner is itself deployed by another one, which may switch it on again.

    Args:
        step: The step that suspends the owner.
        context: Its run.
        owner: The owner.
        obj: Its object.
    """
    parents = [parent.words() for parent in _owners(step, context, obj)]
    reference = objects.controller(obj)
    if reference:
        parents.append(f"{reference['kind']} {reference['name']}")
    resolution = "Suspend that one before, if it sets back changes; see docs/actuators/kubernetes.md."
    return tuple(
        Check(
            f"GitOps owner {owner.title}",
            Verdict.WARN,
            f"It is itself deployed by {parent}, which may switch it on again",
            resolution,
        )
        for parent in parents
    )


async def active_owners(api: Api, step: Step, context: Context, obj: Json) -> list[Standing]:
    """Return the owners of an object that deploy by themselves now; those that cannot be read are left out."""
    found = []
    for owner in _owners(step, context, obj):
        try:
            now = await standing(api, owner)
        except ApiError:
            continue
        if now is not None and now.automatic:
            found.append(now)
    return found


def suspension(step: Step, now: Standing) -> Remedy:
    """Return the remedy that keeps an owner from undoing a step."""
    owner = now.owner
    return Remedy(
        id=f"suspend-{owner.kind}",
        title=f"Suspend {owner.title}"[:60],
        words=f"{owner.words()} {now.words()}. It is told to wait until it is resumed; nothing else changes.",
        step=Suspend(id=f"suspend-{owner.kind}", target=step.target, owner=owner.title, namespace=owner.namespace),
    )


def _owners(step: Step, context: Context, obj: Json) -> tuple[Owner, ...]:
    return owners_of(obj, argo_namespace=cluster_of(step, context).argocd or DEFAULT_ARGO_NAMESPACE)


async def _check(api: Api, step: Step, context: Context, owner: Owner) -> Check | None:
    subject = f"GitOps owner {owner.title}"
    try:
        now = await standing(api, owner)
    except ApiError as error:
        words = f"{owner.words()} deploys it, and whether it would undo the rollback is not known: {error.brief}"
        return Check(subject, Verdict.WARN, words, error.resolution)
    if now is None:
        return None
    if not now.automatic:
        return Check(subject, Verdict.OK, f"{owner.words()} {now.words()}")
    covered = _covered(step, context, owner)
    if covered is not None:
        return covered
    verdict = Verdict.FAIL if now.heals else Verdict.WARN
    untouched = " Nothing was changed." if verdict is Verdict.FAIL else ""
    return Check(
        subject,
        verdict,
        f"{owner.words()} {now.words()}: it would deploy the failed version again.{untouched}",
        f"Put a step before this one: kind: gitops.suspend, target: {step.target}, owner: {owner.title}, "
        f"namespace: {owner.namespace}.",
    )


def _covered(step: Step, context: Context, owner: Owner) -> Check | None:
    """Return the check of an owner that the plan suspends; None if it does not."""
    suspending = [
        each
        for each in context.plan.steps()
        if isinstance(each, Suspend) and each.target == step.target and _same(owner_of(each, context), owner)
    ]
    if not suspending:
        return None
    subject = f"GitOps owner {owner.title}"
    earlier = _before(step, context)
    if any(each.id in earlier for each in suspending):
        return Check(subject, Verdict.OK, f"{owner.words()} is suspended by step {suspending[0].id} before")
    return Check(
        subject,
        Verdict.FAIL,
        f"Step {suspending[0].id} suspends {owner.words()}, but not before step {step.id}. Nothing was changed.",
        f"Write `needs: [{suspending[0].id}]` into step {step.id}, or suspend it in an earlier phase.",
    )


def _same(one: Owner, other: Owner) -> bool:
    return (one.kind, one.name, one.namespace) == (other.kind, other.name, other.namespace)


def _before(step: Step, context: Context) -> frozenset[str]:
    """Return the ids of the steps that have ended when a step begins."""
    found: set[str] = set()
    for phase in context.plan.phases:
        steps: dict[str, Step] = {each.id: each for each in phase.steps}
        if step.id in steps:
            return frozenset(found | _needed(step.id, steps))
        found |= set(steps)
    return frozenset(found)


def _needed(step_id: str, steps: dict[str, Step], seen: Sequence[str] = ()) -> set[str]:
    direct = {need for need in steps[step_id].needs if need in steps and need not in seen}
    return direct.union(*(_needed(need, steps, (*seen, step_id)) for need in direct)) if direct else set()
