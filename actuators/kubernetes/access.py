"""Whether the bot may do what it will do: every verb is asked for, none is tried."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from actuators.kubernetes.api import Api, Json, Resource
from actuators.kubernetes.resources import EVENT, POD
from actuators.together import together
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
        subresource: On which part of it, e.g. ``log``.
    """

    verb: str
    resource: Resource
    name: str = ""
    namespace: str = ""
    subresource: str = ""

    def words(self) -> str:
        """Return it as ``patch deployments/payments`` or, for a part of all, ``get pods/log``."""
        where = f" in {self.namespace}" if self.namespace else ""
        what = "/".join(filter(None, (self.resource.plural, self.name, self.subresource)))
        return f"{self.verb} {what}{where}"


REASONS = (Need("list", EVENT), Need("get", POD, subresource="log"))
"""Rights that nothing depends on; with them the reasons of failing pods are told."""


async def allowed(api: Api, need: Need) -> bool:
    """Ask the API server whether the bot has a right, by a SelfSubjectAccessReview."""
    attributes: Json = {
        "verb": need.verb,
        "group": need.resource.group,
        "version": need.resource.version,
        "resource": need.resource.plural,
        "namespace": need.namespace or api.namespace,
        "name": need.name,
        "subresource": need.subresource,
    }
    review = {
        "apiVersion": "authorization.k8s.io/v1",
        "kind": "SelfSubjectAccessReview",
        "spec": {"resourceAttributes": attributes},
    }
    answer = await api.create(_REVIEWS, review, doing="say what the bot may do")
    return bool((answer.get("status") or {}).get("allowed"))


async def verify(api: Api, needs: Iterable[Need], *, subject: str, wished: Sequence[Need] = ()) -> Check:
    """Return the check that the bot has all these rights; a lack of one is named with the rest.

    Args:
        api: The API server.
        needs: Without one of these the step fails.
        subject: What the check is called.
        wished: Without these it only explains less.
    """
    wanted = tuple(needs)
    answers = await together(allowed(api, need) for need in (*wanted, *wished))
    refused = [need for need, granted in zip((*wanted, *wished), answers, strict=True) if not granted]
    lacking = [need.words() for need in refused if need in wanted]
    where = f"namespace {api.namespace}"
    if not lacking:
        missed = ", ".join(need.words() for need in refused)
        less = f"; without {missed} it tells less of why pods fail" if missed else ""
        return Check(
            subject, Verdict.OK, f"All {len(wanted)} rights that the step needs are there in {where}{less}"
        )
    return Check(
        subject,
        Verdict.FAIL,
        f"The bot may not {', '.join(lacking)} in {where}. Nothing was changed.",
        "Grant it the role of docs/actuators for this step.",
    )
