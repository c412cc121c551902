"""gitops.suspend and gitops.resume: a GitOps owner waits while the earlier version is to stay."""

from __future__ import annotations

import json

from actuators.kubernetes import objects
from actuators.kubernetes.access import Need, verify
from actuators.kubernetes.api import Api, Json
from actuators.kubernetes.connection import opened, seen
from actuators.kubernetes.editing import edit
from actuators.kubernetes.owner_checks import active_owners, check_parents, suspension
from actuators.kubernetes.owners import Owner, installed, judge, owner_of
from actuators.kubernetes.steps import GitopsStep, Resume, Suspend
from actuators.remedies import cannot_look
from bot.domain.actuation import (
    Check,
    Context,
    Fault,
    Observation,
    Outcome,
    Presence,
    Progress,
    Remedy,
    Verdict,
)
from bot.domain.errors import ActuatorError
from bot.domain.times import utc_second

SUSPENDED = "rollback-bot/suspended"
"""Annotation of an owner that the bot has suspended: by which rollback, when, and how it was before."""

_LONGEST_SYNC = 30
"""Seconds that a deployment under way is waited for; one that waits for the failed version may never end."""


class _GitopsActuator:
    """What both share: finding the owner, and the rights."""

    async def check(self, step: GitopsStep, context: Context) -> tuple[Check, ...]:
        """Look for the owner, what it does, whether it may be changed, and what else deploys it."""
        subject = f"GitOps owner {step.owner}"
        try:
            async with opened(step, context) as api:
                owner = owner_of(step, context)
                resource = await installed(api, owner)
                needs = [Need(verb, resource, owner.name, owner.namespace) for verb in ("get", "patch")]
                access = await verify(api, needs, subject=f"Access to {owner.title}")
                if access.verdict is Verdict.FAIL:
                    return (access,)
                obj = await api.get(resource, owner.name, namespace=owner.namespace)
                now = judge(owner, obj)
                found = Check(subject, Verdict.OK, f"{owner.words()} {now.words()}")
                return (access, found, *await check_parents(step, context, owner, obj))
        except ActuatorError as error:
            return (cannot_look(subject, error),)

    async def _read(self, api: Api, step: GitopsStep, context: Context) -> tuple[Owner, Json]:
        owner = owner_of(step, context)
        resource = await installed(api, owner)
        return owner, await api.get(resource, owner.name, namespace=owner.namespace)


class SuspendActuator(_GitopsActuator):
    """Switches the automatic deployment off."""

    async def observe(self, step: Suspend, context: Context) -> Observation:
        """Look whether the owner still deploys by itself."""
        return await seen(self._look(step, context))

    async def _look(self, step: Suspend, context: Context) -> Observation:
        async with opened(step, context) as api:
            owner, obj = await self._read(api, step, context)
        now = judge(owner, obj)
        presence = Presence.ABSENT if now.automatic else Presence.PRESENT
        return Observation(presence, f"{owner.words()} {now.words()}{_under_way(obj)}")

    async def apply(self, step: Suspend, context: Context) -> Outcome:
        """Note how the owner is and switch it off in one write, and let a deployment under way end."""
        owner = owner_of(step, context)
        async with opened(step, context) as api:
            resource = await installed(api, owner)
            edited = await edit(
                api,
                resource,
                owner.name,
                lambda found: _suspending(owner, found, context),
                namespace=owner.namespace,
            )
            obj = edited.after
            if judge(owner, obj).automatic:
                raise _not_taken(owner)
            for second in range(_LONGEST_SYNC):
                if not _under_way(obj):
                    break
                context.report(Progress(second, _LONGEST_SYNC, "seconds", "A deployment under way is waited for"))
                await context.clock.sleep(1)
                obj = await api.get(resource, owner.name, namespace=owner.namespace)
        did = "does not deploy by itself any more" if edited.changed else "did not deploy by itself already"
        return Outcome(f"{owner.words()} {did}{_under_way(obj)}", {"owner": owner.title, "changed": edited.changed})

    async def remedies(self, step: Suspend, fault: Fault, context: Context) -> tuple[Remedy, ...]:
        """Offer to suspend what deploys the owner itself and may switch it on again."""
        del fault
        try:
            async with opened(step, context) as api:
                _, obj = await self._read(api, step, context)
                return tuple(suspension(step, now) for now in await active_owners(api, step, context, obj))
        except ActuatorError:
            return ()


class ResumeActuator(_GitopsActuator):
    """Switches the automatic deployment on as it was."""

    async def observe(self, step: Resume, context: Context) -> Observation:
        """Look whether the owner deploys by itself, and no note of a suspension is left."""
        return await seen(self._look(step, context))

    async def _look(self, step: Resume, context: Context) -> Observation:
        async with opened(step, context) as api:
            owner, obj = await self._read(api, step, context)
        now, noted = judge(owner, obj), _noted(obj) is not None
        presence = Presence.PRESENT if now.automatic and not noted else Presence.ABSENT
        return Observation(presence, f"{owner.words()} {now.words()}{_by(obj)}")

    async def apply(self, step: Resume, context: Context) -> Outcome:
        """Restore what was noted and remove the note in one write."""
        owner = owner_of(step, context)
        async with opened(step, context) as api:
            resource = await installed(api, owner)
            edited = await edit(
                api, resource, owner.name, lambda found: _resuming(owner, found), namespace=owner.namespace
            )
        if not judge(owner, edited.after).automatic:
            raise _not_taken(owner)
        did = "deploys by itself again" if edited.changed else "deployed by itself already"
        return Outcome(f"{owner.words()} {did}", {"owner": owner.title, "changed": edited.changed})


def _suspending(owner: Owner, obj: Json, context: Context) -> Json | None:
    if not judge(owner, obj).automatic:
        return None
    spec = obj.get("spec") or {}
    note = {"by": context.rollback_id, "change": context.plan.change, "at": utc_second(context.clock.now())}
    if owner.kind == "application":
        note_of = {**note, "was": (spec.get("syncPolicy") or {}).get("automated")}
        return _patch(note_of, {"syncPolicy": {"automated": None}})
    return _patch({**note, "was": spec.get("suspend")}, {"suspend": True})


def _resuming(owner: Owner, obj: Json) -> Json | None:
    note, automatic = _noted(obj), judge(owner, obj).automatic
    if note is None and automatic:
        return None
    if automatic:
        return _patch(None, {})
    if note is None:
        raise ActuatorError(
            f"{owner.words()} does not deploy by itself, and no rollback of this bot has suspended it.",
            untouched="Nothing was changed.",
            resolution="Ask whoever suspended it; how it was before is not known.",
        )
    if owner.kind == "application":
        return _patch(None, {"syncPolicy": {"automated": note.get("was")}})
    return _patch(None, {"suspend": note.get("was")})


def _patch(note: Json | None, spec: Json) -> Json:
    text = None if note is None else json.dumps(note, sort_keys=True)
    return {"metadata": {"annotations": {SUSPENDED: text}}, "spec": spec}


def _noted(obj: Json) -> Json | None:
    try:
        found = json.loads(objects.notes(obj)[SUSPENDED])
    except (KeyError, ValueError):
        return None
    return found if isinstance(found, dict) else None


def _by(obj: Json) -> str:
    note = _noted(obj)
    return f" (suspended by {note.get('by')} at {note.get('at')})" if note else ""


def _under_way(obj: Json) -> str:
    """Return words for a deployment that Argo CD has begun and not ended; empty if there is none."""
    phase = ((obj.get("status") or {}).get("operationState") or {}).get("phase")
    if obj.get("operation") or phase == "Running":
        return "; a synchronisation that began before is still under way"
    return ""


def _not_taken(owner: Owner) -> ActuatorError:
    return ActuatorError(
        f"{owner.words()} was changed, and when read back it was not as wanted.",
        resolution="Look who sets it back: an app of apps, an ApplicationSet, a parent Kustomization.",
    )
