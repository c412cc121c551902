"""What a check asks the API server for is what its step uses: an account with just that can carry it out."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import pytest

from actuators.kubernetes import DeletePods, PodRef, Resume, Suspend
from actuators.kubernetes.access import REASONS
from actuators.kubernetes.api import Json
from actuators.mesh import Destination
from bot.domain.actuation import Verdict
from bot.domain.plan import Step
from tests.actuators.kubernetes.worlds import WEB, WORKLOAD_STEPS, deploying, releases, suspended
from tests.actuators.mesh.test_subset import rule
from tests.actuators.mesh.test_weights import (
    gateway_says,
    gateway_weights,
    http_route,
    virtual_service,
    weights,
)
from tests.actuators.mesh.worlds import SUBSET, rules, virtual_services
from tests.support.kubeapi.place import MISSING, OLD, Place

Prepare = Callable[[Place], Awaitable[None]]
_WISHED = {(need.verb, need.resource.plural, need.subresource) for need in REASONS}


async def routed(place: Place) -> None:
    """An HTTPRoute whose gateway will have taken up the next change already."""
    await http_route(place, {"name": "web-green", "port": 80, "weight": 0}, {"name": "web-blue", "port": 80})
    await gateway_says(place, lag=-1)


async def subsets(place: Place) -> None:
    """A VirtualService that sends everything elsewhere, and a subset that stands by."""
    await virtual_service(place, {"route": [{"destination": {"host": "web-blue"}}]})
    await rule(place, subsets=[{"name": "stable", "labels": {"app": "web"}}])


async def asked_for(place: Place, step: Step, monkeypatch: pytest.MonkeyPatch) -> list[Json]:
    """Return the rights that the step's check asks for, as the rules of a role; wishes are left out."""
    if place.double is None:
        pytest.skip("what is asked for is only told by the double")
    server, asked = place.double.server, []
    review = server._review

    def noting(body: Json, token: str) -> Json:
        asked.append(body["spec"]["resourceAttributes"])
        return review(body, token)

    with monkeypatch.context() as patched:
        patched.setattr(server, "_review", noting)
        await place.check(step)
    return [
        {
            "apiGroups": [right["group"]],
            "resources": ["/".join(filter(None, (right["resource"], right["subresource"])))],
            "resourceNames": [right["name"]] if right["name"] else [],
            "verbs": [right["verb"]],
        }
        for right in asked
        if (right["verb"], right["resource"], right["subresource"]) not in _WISHED
    ]


@pytest.mark.parametrize(
    ("step", "prepare"),
    [
        *((step, releases) for step in WORKLOAD_STEPS),
        (Suspend(id="hold", target="shop", owner="application/web"), deploying),
        (Resume(id="resume", target="shop", owner="application/web"), suspended),
        (weights(), virtual_services),
        (weights(destinations=(Destination(host="web", subset="stable", weight=100),)), subsets),
        (SUBSET, rules),
        (gateway_weights(), routed),
    ],
    ids=lambda value: value.kind if isinstance(value, Step) else "",
)
async def test_rights_that_are_asked_for_are_enough(
    place: Place, step: Step, prepare: Prepare, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With nothing but these the step is carried out, and without any one of them the check fails."""
    await prepare(place)
    rights = await asked_for(place, step, monkeypatch)
    for number, right in enumerate(rights):
        rest = await place.account(f"lacking-{number}", [each for each in rights if each != right])
        checks = await place.check(step, kubeconfig=rest)
        assert checks.verdict is Verdict.FAIL, right
    bot = await place.account("bot", rights)
    await place.apply(step, kubeconfig=bot)


async def test_rights_to_delete_pods_are_enough(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """The pods that the step names, and no others."""
    await place.deploy(WEB, OLD)
    await place.deploy(WEB, MISSING, settled=False)
    found = await place.until(WEB, lambda workload: any(pod.trouble for pod in workload.pods))
    pods = tuple(PodRef(name=pod.name, uid=pod.uid) for pod in found.pods if pod.trouble)
    step = DeletePods(id="delete", target="shop", workload=WEB, pods=pods)
    rights = await asked_for(place, step, monkeypatch)
    assert {name for right in rights for name in right["resourceNames"]} == {pod.name for pod in pods}
    await place.apply(step, kubeconfig=await place.account("bot", rights))
