"""A subset of a DestinationRule selects what is pinned."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import yaml

from actuators.kubernetes.api import Json, Resource
from actuators.mesh import Destination, MeshSubset, MeshWeights
from bot.domain.actuation import Presence, Verdict
from tests.support.kubeapi.place import OLD, Place

ISTIO = "networking.istio.io"
RULE = Resource(ISTIO, "v1", "destinationrules", "DestinationRule")
DOCUMENT = Path(__file__).parents[3] / "docs/actuators/mesh.md"
STABLE: Json = {
    "name": "stable",
    "labels": {"version": "new"},
    "trafficPolicy": {"loadBalancer": {"simple": "RANDOM"}},
}
OTHER: Json = {"name": "other", "labels": {"version": "other"}}


def subset(name: str = "stable", **labels: str) -> MeshSubset:
    """Return the step."""
    return MeshSubset(
        id="stable", target="shop", destination_rule="web", subset=name, labels=labels or {"app": "web"}
    )


async def rule(place: Place, **spec: Any) -> None:
    """Make a DestinationRule, a service and its pods."""
    await place.serves(ISTIO)
    await place.create("DestinationRule", {"metadata": {"name": "web"}, "spec": {"host": "web", **spec}})
    await place.create("Service", {"metadata": {"name": "web"}, "spec": {"selector": {"app": "web"}}})
    await place.deploy("deployment/web", OLD)


async def test_subset_is_pointed_at_the_earlier_version(place: Place) -> None:
    """Its labels are replaced, its traffic policy and the other subsets stay; twice changes nothing."""
    await rule(place, subsets=[STABLE, OTHER])
    step = subset()
    checks = await place.check(step)
    assert checks.verdict is Verdict.OK, list(checks)
    assert checks.of("Subset stable of web") == "ok: 2 of 2 pods are ready (1.36)"
    seen = await place.observe(step)
    assert (seen.presence, seen.words) == (
        Presence.ABSENT,
        "Subset stable of DestinationRule web selects version=new",
    )

    outcome = await place.apply(step)

    assert outcome.words == "Subset stable of DestinationRule web selects app=web"
    assert outcome.facts["before"] == {"labels": {"version": "new"}}
    found = await place.api.get(RULE, "web")
    assert found["spec"]["subsets"] == [{**STABLE, "labels": {"app": "web"}}, OTHER]
    assert (await place.observe(step)).presence is Presence.PRESENT
    again = await place.apply(step)
    assert again.facts == {"labels": {"app": "web"}, "changed": False}
    assert "is as wanted already" in (await place.check(step)).of("DestinationRule web")


async def test_subset_that_is_not_there_is_made(place: Place) -> None:
    """A rule without it gets it."""
    await rule(place)
    assert (await place.observe(subset("old"))).words == "Subset old of DestinationRule web is not there"
    assert "before" not in (await place.apply(subset("old"))).facts
    found = await place.api.get(RULE, "web")
    assert found["spec"]["subsets"] == [{"name": "old", "labels": {"app": "web"}}]


async def test_labels_that_no_pod_has_are_refused(place: Place) -> None:
    """Traffic would go nowhere."""
    await rule(place, subsets=[STABLE])
    words = (await place.check(subset(version="v0"))).of("Subset stable of web", Verdict.FAIL)
    assert "None of its 0 pods is ready" in words
    error = await place.fails(subset(version="v0"))
    assert "so no traffic was sent there. Subset stable of web: None of its 0 pods is ready" in error.brief
    assert (await place.observe(subset(version="new"))).presence is Presence.PRESENT


async def test_host_elsewhere_is_said_not_to_be_looked_at(place: Place) -> None:
    """A rule for a host of another namespace is a warning; one that is not there a failure."""
    await rule(place, host="web.elsewhere.svc.cluster.local")
    assert "was not looked at" in (await place.check(subset())).of("Subset stable of web", Verdict.WARN)
    missing = subset().model_copy(update={"destination_rule": "none"})
    assert '"none" not found' in (await place.check(missing)).of("shop", Verdict.FAIL)
    assert await place.remedies(missing) == {}
    assert await place.remedies(subset()) == {}


async def test_documented_role_is_enough(place: Place) -> None:
    """With exactly the role of the document, both steps of the mesh are checked and carried out."""
    await rule(place, subsets=[STABLE])
    http = [{"route": [{"destination": {"host": "web", "subset": "other"}}]}]
    await place.create("VirtualService", {"metadata": {"name": "web"}, "spec": {"hosts": ["web"], "http": http}})
    (shown,) = [b for b in re.findall(r"```yaml\n(.*?)```", DOCUMENT.read_text(), re.DOTALL) if "kind: Role" in b]
    kubeconfig = await place.account("bot", yaml.safe_load(shown)["rules"])
    destinations = (Destination(host="web", subset="stable", weight=100),)
    traffic = MeshWeights(id="traffic", target="shop", virtual_service="web", destinations=destinations)
    for step in (subset(), traffic):
        checks = await place.check(step, kubeconfig=kubeconfig)
        assert checks.verdict is Verdict.OK, list(checks)
        await place.apply(step, kubeconfig=kubeconfig)
        assert (await place.observe(step)).presence is Presence.PRESENT
        assert (await place.check(step, kubeconfig=kubeconfig)).verdict is Verdict.OK
