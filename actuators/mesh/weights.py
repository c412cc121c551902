"""mesh.weights and gateway.weights: traffic is split as the plan has pinned it."""

from __future__ import annotations

import asyncio

from actuators.kubernetes import objects
from actuators.kubernetes.access import Need, verify
from actuators.kubernetes.api import Api, ApiError, Json, Patch, Query, Resource
from actuators.kubernetes.connection import opened, seen
from actuators.kubernetes.editing import Edited, edit
from actuators.kubernetes.owner_checks import active_owners, check_owners, suspension
from actuators.kubernetes.resources import POD, SERVICE
from actuators.kubernetes.waiting import patience
from actuators.kubernetes.watching import mirrored
from actuators.mesh.acceptance import Acceptance, acceptance
from actuators.mesh.backends import check_backends, must_take
from actuators.mesh.forms import ISTIO, form_of, kind_of, name_of, resource_of
from actuators.mesh.routes import Form
from actuators.mesh.steps import GatewayWeights, MeshWeights
from actuators.remedies import cannot_look
from bot.domain.actuation import Check, Context, Fault, Observation, Outcome, Presence, Progress, Remedy, Verdict
from bot.domain.errors import ActuatorError

WeightsStep = MeshWeights | GatewayWeights


class WeightsActuator:
    """Sets the weights, bound to the route as it was read, and reads them back."""

    async def check(self, step: WeightsStep, context: Context) -> tuple[Check, ...]:
        """Look at access, the route, the health of what gets traffic, and owners; the change is tried dry."""
        checks: list[Check] = []
        try:
            async with opened(step, context) as api:
                resource = await resource_of(api, step)
                rules = await _rules(api, step)
                needs = _needs(step, resource, rules)
                checks.append(await verify(api, needs, subject=f"Access to {name_of(step)}"))
                if checks[-1].verdict is Verdict.FAIL:
                    return tuple(checks)
                obj = await api.get(resource, name_of(step))
                form = form_of(step, api.namespace)
                checks.append(await _route(api, resource, form, obj))
                checks += await check_backends(api, step, rules)
                checks += await check_owners(api, step, context, obj)
        except ActuatorError as error:
            checks.append(cannot_look(step.target, error))
        return tuple(checks)

    async def observe(self, step: WeightsStep, context: Context) -> Observation:
        """Look how the traffic is split, and whether the gateways have taken it up."""
        return await seen(self._look(step, context))

    async def _look(self, step: WeightsStep, context: Context) -> Observation:
        async with opened(step, context) as api:
            obj = await api.get(await resource_of(api, step), name_of(step))
            return _observed(step, form_of(step, api.namespace), obj)

    async def apply(self, step: WeightsStep, context: Context) -> Outcome:
        """Set the weights once somebody is there to take the traffic, and wait until the gateways have them."""
        async with opened(step, context) as api:
            resource, form = await resource_of(api, step), form_of(step, api.namespace)
            if form.change(await api.get(resource, name_of(step))) is not None:
                must_take(form.title, await check_backends(api, step, await _rules(api, step)))
            edited = await edit(api, resource, name_of(step), form.change)
            obj = edited.after
            if isinstance(step, GatewayWeights):
                obj = await _taken_up(api, resource, step, context)
        seen = _observed(step, form, obj)
        if seen.presence is not Presence.PRESENT:
            raise ActuatorError(
                f"{form.title} was changed, and when read back it was not as wanted: {seen.words}.",
                resolution="Look who else writes it: a GitOps owner, a progressive delivery controller.",
            )
        return _outcome(step, form, seen, edited)

    async def remedies(self, step: WeightsStep, fault: Fault, context: Context) -> tuple[Remedy, ...]:
        """Offer to suspend what would set the weights back."""
        del fault
        try:
            async with opened(step, context) as api:
                obj = await api.get(await resource_of(api, step), name_of(step))
                return tuple(suspension(step, now) for now in await active_owners(api, step, context, obj))
        except ActuatorError:
            return ()


def _outcome(step: WeightsStep, form: Form, seen: Observation, edited: Edited) -> Outcome:
    facts = {**seen.facts, "changed": edited.changed}
    if not edited.changed:
        return Outcome(f"{seen.words} (it was already)", facts)
    parts = form.parts(edited.before)
    if parts is None:
        return Outcome(seen.words, facts)
    back = {"destinations" if isinstance(step, MeshWeights) else "backends": parts}
    return Outcome(f"{seen.words}; before: {form.words(edited.before)}", {**facts, "before": back})


def _needs(step: WeightsStep, resource: Resource, rules: Resource | None) -> list[Need]:
    own = [Need(verb, resource, name_of(step)) for verb in ("get", "patch")]
    if isinstance(step, GatewayWeights):
        own += [Need(verb, resource, name_of(step)) for verb in ("list", "watch")]
    own += [Need("list", rules)] if rules else []
    return [*own, Need("get", SERVICE), Need("list", POD)]


async def _rules(api: Api, step: WeightsStep) -> Resource | None:
    """Return the kind of DestinationRules, where the step names subsets."""
    if isinstance(step, MeshWeights) and any(destination.subset for destination in step.destinations):
        return await kind_of(api, ISTIO, "destinationrules", "DestinationRule")
    return None


async def _route(api: Api, resource: Resource, form: Form, obj: Json) -> Check:
    """Look at the route, and let the API server go through the change without keeping it."""
    body = form.change(obj)
    if body is None:
        return Check(form.title, Verdict.OK, f"It is as wanted already: {form.words(obj)}")
    bound = {**body, "metadata": {"resourceVersion": objects.version(obj)}}
    try:
        after = await api.patch(resource, objects.name(obj), bound, how=Patch.MERGE, dry_run=True)
    except ApiError as error:
        return cannot_look(form.title, error)
    return Check(form.title, Verdict.OK, f"Now {form.words(obj)}; it would become {form.words(after)}")


def _observed(step: WeightsStep, form: Form, obj: Json) -> Observation:
    words = f"{form.title}: {form.words(obj)}"
    facts = {"split": form.words(obj)}
    if not form.holds(obj):
        return Observation(Presence.ABSENT, words, facts)
    if isinstance(step, GatewayWeights):
        taken = acceptance(obj)
        words = f"{words}; {taken.words}"
        return Observation(Presence.PRESENT if taken.complete else Presence.ABSENT, words, facts)
    return Observation(Presence.PRESENT, words, facts)


async def _taken_up(api: Api, resource: Resource, step: GatewayWeights, context: Context) -> Json:
    """Wait until every gateway has taken the route up.

    Raises:
        ActuatorError: If one refuses it, or time is up.
    """
    taken = Acceptance(complete=False, words="it was not read")
    query = Query(resource, fields=f"metadata.name={step.route}")
    seconds = patience(step)
    try:
        async with asyncio.timeout(seconds), mirrored(api, query) as mirror:
            while True:
                for obj in mirror.objects(0):
                    taken = acceptance(obj)
                    context.report(Progress(taken.done, taken.total, "gateways", taken.words))
                    if taken.complete:
                        return obj
                    if taken.refused:
                        raise _not_in_force(step, taken)
                await mirror.changed()
    except TimeoutError:
        raise _not_in_force(step, taken) from None


def _not_in_force(step: GatewayWeights, taken: Acceptance) -> ActuatorError:
    return ActuatorError(
        f"The weights of HTTPRoute {step.route} are set and not in force: {taken.words}.",
        untouched="The route itself is as wanted; its gateways go on as before.",
        resolution="Look at the route's status and the gateway controller's log, then retry.",
    )
