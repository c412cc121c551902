"""Whether the bot may do what it will do: every verb is asked for, none is tried."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from actuators.kubernetes.api import Api, Json, Resource
from actuators.kubernetes.together import together
from bot.domain.actuation import Check, Verdict

_REVIEWS = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews"


@dataclass(frozen=True)
class Need:
    """A right that a step needs.

    Attributes:
        verb: E.g. ``patch``.
        resource: On what.
        name: Only on the object of that name; empty: on all.
        namespace: Where, if not in the target's namespace.
    """

    verb: str
    resource: Resource
    name: str = ""
    namespace: str = ""

    def words(self) -> str:
        """Return it as ``patch deployments/payments``."""
        where = f" in {self.namespace}" if self.namespace else ""
        return f"{self.verb} {self.resource.plural}{f'/{self.name}' if self.name else ''}{where}"


async def allowed(api: Api, need: Need) -> bool:
    """Ask the API server whether the bot has a right, by a SelfSubjectAccessReview."""
    attributes: Json = {
        "verb": need.verb,
        "group": need.resource.group,
        "version": need.resource.version,
        "resource": need.resource.plural,
        "namespace": need.namespace or api.namespace,
        "name": need.name,
    }
    review = {
        "apiVersion": "authorization.k8s.io/v1",
        "kind": "SelfSubjectAccessReview",
        "spec": {"resourceAttributes": attributes},
    }
    answer = await api.create(_REVIEWS, review, doing="say what the bot may do")
    return bool((answer.get("status") or {}).get("allowed"))


async def verify(api: Api, needs: Iterable[Need], *, subject: str) -> Check:
    """Return the check that the bot has all these rights; a lack of one is named with the rest."""
    wanted = tuple(needs)
    answers = await together(allowed(api, need) for need in wanted)
    lacking = [need.words() for need, granted in zip(wanted, answers, strict=True) if not granted]
    where = f"namespace {api.namespace}"
    if not lacking:
        return Check(subject, Verdict.OK, f"All {len(wanted)} rights that the step needs are there in {where}")
    return Check(
        subject,
        Verdict.FAIL,
        f"The bot may not {', '.join(lacking)} in {where}. Nothing was changed.",
        "Grant it the role of docs/actuators for this step.",
    )
