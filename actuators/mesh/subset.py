"""mesh.subset: a subset of a DestinationRule selects the pods of the earlier version."""

from __future__ import annotations

from actuators.kubernetes import objects
from actuators.kubernetes.access import Need, verify
from actuators.kubernetes.api import Api, ApiError, Json, Patch, Resource
from actuators.kubernetes.connection import opened, seen
from actuators.kubernetes.editing import edit
from actuators.kubernetes.owner_checks import active_owners, check_owners, suspension
from actuators.kubernetes.resources import POD, SERVICE
from actuators.mesh.backends import behind, must_take
from actuators.mesh.forms import ISTIO, host_of, kind_of
from actuators.mesh.steps import MeshSubset
from actuators.remedies import cannot_look
from bot.domain.actuation import Check, Context, Fault, Observation, Outcome, Presence, Remedy, Verdict
from bot.domain.errors import ActuatorError


class SubsetActuator:
    """Sets the labels, bound to the rule as it was read, and reads them back."""

    async def check(self, step: MeshSubset, context: Context) -> tuple[Check, ...]:
        """Look at access, the rule, the pods with these labels, and GitOps owners; the change is tried dry."""
        checks: list[Check] = []
        try:
            async with opened(step, context) as api:
                resource = await _resource(api)
                own = [Need(verb, resource, step.destination_rule) for verb in ("get", "patch")]
                needs = [*own, Need("get", SERVICE), Need("list", POD)]
                checks.append(await verify(api, needs, subject=f"Access to {step.destination_rule}"))
                if checks[-1].verdict is Verdict.FAIL:
                    return tuple(checks)
                obj = await api.get(resource, step.destination_rule)
                checks.append(await _dry(api, resource, step, obj))
                checks.append(await _pods(api, step, obj))
                checks += await check_owners(api, step, context, obj)
        except ActuatorError as error:
            checks.append(cannot_look(step.target, error))
        return tuple(checks)

    async def observe(self, step: MeshSubset, context: Context) -> Observation:
        """Look which labels the subset selects."""
        return await seen(self._look(step, context))

    async def _look(self, step: MeshSubset, context: Context) -> Observation:
        async with opened(step, context) as api:
            obj = await api.get(await _resource(api), step.destination_rule)
        presence = Presence.PRESENT if _change(step, obj) is None else Presence.ABSENT
        return Observation(presence, _words(step, obj), {"labels": _labels(step, obj)})

    async def apply(self, step: MeshSubset, context: Context) -> Outcome:
        """Set the labels unless they are set."""
        async with opened(step, context) as api:
            resource = await _resource(api)
            found = await api.get(resource, step.destination_rule)
            if _change(step, found) is not None:
                must_take(f"DestinationRule {step.destination_rule}", [await _pods(api, step, found)])
            edited = await edit(api, resource, step.destination_rule, lambda found: _change(step, found))
        if _change(step, edited.after) is not None:
            raise ActuatorError(
                f"DestinationRule {step.destination_rule} was changed, and when read back it was not as wanted.",
                resolution="Look who else writes it: a GitOps owner, a progressive delivery controller.",
            )
        words, facts = _words(step, edited.after), {"labels": step.labels, "changed": edited.changed}
        if not edited.changed:
            return Outcome(f"{words} (it was already)", facts)
        labels = _labels(step, edited.before)
        return Outcome(words, {**facts, "before": {"labels": labels}} if labels else facts)

    async def remedies(self, step: MeshSubset, fault: Fault, context: Context) -> tuple[Remedy, ...]:
        """Offer to suspend what would set the subset back."""
        del fault
        try:
            async with opened(step, context) as api:
                obj = await api.get(await _resource(api), step.destination_rule)
                return tuple(suspension(step, now) for now in await active_owners(api, step, context, obj))
        except ActuatorError:
            return ()


async def _resource(api: Api) -> Resource:
    return await kind_of(api, ISTIO, "destinationrules", "DestinationRule")


def _subsets(obj: Json) -> list[Json]:
    found: list[Json] = (obj.get("spec") or {}).get("subsets") or []
    return found


def _labels(step: MeshSubset, obj: Json) -> Json | None:
    """Return the labels that the subset selects now; None if there is no such subset."""
    return next((each.get("labels") or {} for each in _subsets(obj) if each.get("name") == step.subset), None)


def _change(step: MeshSubset, obj: Json) -> Json | None:
    """Return the merge patch that sets the subset's labels and keeps all else; None if they are set."""
    now = _labels(step, obj)
    if now == step.labels:
        return None
    if now is None:
        return {"spec": {"subsets": [*_subsets(obj), {"name": step.subset, "labels": step.labels}]}}
    changed = [
        {**each, "labels": step.labels} if each.get("name") == step.subset else each for each in _subsets(obj)
    ]
    return {"spec": {"subsets": changed}}


def _words(step: MeshSubset, obj: Json) -> str:
    labels = _labels(step, obj)
    title = f"Subset {step.subset} of DestinationRule {step.destination_rule}"
    if labels is None:
        return f"{title} is not there"
    return f"{title} selects {', '.join(f'{key}={value}' for key, value in sorted(labels.items()))}"


async def _dry(api: Api, resource: Resource, step: MeshSubset, obj: Json) -> Check:
    subject = f"DestinationRule {step.destination_rule}"
    body = _change(step, obj)
    if body is None:
        return Check(subject, Verdict.OK, f"It is as wanted already: {_words(step, obj)}")
    bound = {**body, "metadata": {"resourceVersion": objects.version(obj)}}
    try:
        await api.patch(resource, step.destination_rule, bound, how=Patch.MERGE, dry_run=True)
    except ApiError as error:
        return cannot_look(subject, error)
    return Check(subject, Verdict.OK, f"Now: {_words(step, obj)}; the API server would accept the change")


async def _pods(api: Api, step: MeshSubset, obj: Json) -> Check:
    host = host_of(str((obj.get("spec") or {}).get("host", "")), api.namespace)
    subject = f"Subset {step.subset} of {host.name}"
    if host.namespace != api.namespace:
        words = "Its host is not in the target's namespace: whether pods are ready was not looked at"
        return Check(subject, Verdict.WARN, words, "Look at it.")
    try:
        return await behind(api, host.name, step.labels, subject=subject)
    except ApiError as error:
        return Check(subject, Verdict.WARN, f"Whether pods are ready is not known: {error.brief}", error.resolution)
