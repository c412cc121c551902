"""Traffic is split as pinned; everything else of the route stays, and nobody's change is lost."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from pydantic import ValidationError

from actuators.kubernetes import Suspend
from actuators.kubernetes.api import Api, Json, Patch, Resource
from actuators.mesh import Backend, Destination, GatewayWeights, MeshWeights
from bot.domain.actuation import Presence, Verdict
from tests.support.kubeapi.place import NEW, OLD, SOON, Place
from tests.support.kubeapi.store import RefusedError

ISTIO, GATEWAY = "networking.istio.io", "gateway.networking.k8s.io"
VIRTUAL_SERVICE = Resource(ISTIO, "v1", "virtualservices", "VirtualService")
HTTP_ROUTE = Resource(GATEWAY, "v1", "httproutes", "HTTPRoute")
CHECKOUT: Json = {
    "name": "checkout",
    "match": [{"uri": {"prefix": "/checkout"}}],
    "timeout": "5s",
    "retries": {"attempts": 2},
    "route": [
        {"destination": {"host": "web-green", "port": {"number": 80}}, "weight": 0},
        {"destination": {"host": "web-blue", "port": {"number": 80}}, "weight": 100, "headers": {"request": {}}},
    ],
}
OTHER: Json = {"name": "static", "route": [{"destination": {"host": "assets"}}]}


def weights(*routes: str, green: int = 100, **more: Any) -> MeshWeights:
    """Return the step that sends traffic to green."""
    destinations = (Destination(host="web-green", weight=green), Destination(host="web-blue", weight=100 - green))
    return MeshWeights(
        **{
            "id": "traffic",
            "target": "shop",
            "virtual_service": "web",
            "routes": routes,
            "destinations": destinations,
        }
        | more
    )


async def virtual_service(place: Place, *http: Json, **metadata: Any) -> None:
    """Make a VirtualService."""
    await place.serves(ISTIO)
    spec = {"hosts": ["web.example.org"], "http": list(http)}
    await place.create("VirtualService", {"metadata": {"name": "web", **metadata}, "spec": spec})


async def service(place: Place, name: str, image: str = OLD, **pod: Any) -> None:
    """Make a service with pods of its own."""
    await place.deploy(f"deployment/{name}", image, settled=not pod, **pod)
    spec = {"selector": {"app": name}, "ports": [{"port": 80}]}
    await place.create("Service", {"metadata": {"name": name}, "spec": spec})


async def test_traffic_goes_back_and_all_else_stays(place: Place) -> None:
    """Only the weights of the named route change: matches, retries, headers and other routes are as they were."""
    await virtual_service(place, CHECKOUT, OTHER)
    await service(place, "web-green")
    step = weights("checkout")
    before = await place.observe(step)
    assert before.presence is Presence.ABSENT
    assert before.words == "VirtualService web: web-green 0%, web-blue 100%"
    checks = await place.check(step)
    assert checks.verdict is Verdict.OK, list(checks)
    assert "it would become web-green 100%, web-blue 0%" in checks.of("VirtualService web")
    assert checks.of("Backend web-green") == "ok: 2 of 2 pods are ready (1.36)"
    assert (await place.observe(step)).presence is Presence.ABSENT

    outcome = await place.apply(step)

    split = "VirtualService web: web-green 100%, web-blue 0%"
    assert outcome.words == f"{split}; before: web-green 0%, web-blue 100%"
    found = await place.api.get(VIRTUAL_SERVICE, "web")
    green, blue = CHECKOUT["route"]
    wanted = {**CHECKOUT, "route": [{**green, "weight": 100}, {**blue, "weight": 0}]}
    assert found["spec"] == {"hosts": ["web.example.org"], "http": [wanted, OTHER]}
    assert (await place.observe(step)).presence is Presence.PRESENT
    again = await place.apply(step)
    assert again.words == f"{split} (it was already)"
    assert "before" not in again.facts
    assert (await place.api.get(VIRTUAL_SERVICE, "web"))["metadata"]["generation"] == 2


async def test_the_way_back_is_recorded(place: Place) -> None:
    """The outcome holds those fields of the step that bring the earlier split back, whatever it was."""
    blue = {"destination": {"host": "web-blue.other", "subset": "new", "port": {"number": 80}}, "weight": 90}
    await virtual_service(place, {"route": [blue, {"destination": {"host": "web-canary"}, "weight": 10}]})
    for name in ("web-green", "web-canary"):
        await service(place, name)
    step = weights()
    outcome = await place.apply(step)
    back = MeshWeights.model_validate({**step.model_dump(mode="json"), **outcome.facts["before"]})
    assert [(part.host, part.subset, part.port, part.weight) for part in back.destinations] == [
        ("web-blue.other", "new", 80, 90),
        ("web-canary", None, None, 10),
    ]
    await place.apply(back)
    assert (await place.observe(back)).presence is Presence.PRESENT
    assert (await place.observe(step)).presence is Presence.ABSENT


async def test_split_that_steps_cannot_name_is_no_way_back(place: Place) -> None:
    """Rules that differed, or a backend that is no Service, leave nothing to go back to."""
    other: Json = {"name": "static", "route": [{"destination": {"host": "web-green"}}]}
    await virtual_service(place, CHECKOUT, other)
    await service(place, "web-green")
    assert "before" not in (await place.apply(weights("checkout", "static"))).facts
    bucket = {"group": "example.org", "kind": "Bucket", "name": "files", "weight": 5}
    await http_route(place, bucket, {"name": "web-green", "port": 80, "weight": 0}, standby=False)
    await gateway_says(place, lag=-1)
    assert "before" not in (await place.apply(gateway_weights())).facts


async def test_what_is_set_back_at_once_is_told(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """The route is read anew after the change: another writer's split in the same moment is no success."""
    await virtual_service(place, CHECKOUT)
    await service(place, "web-green")
    send = Api.patch

    async def set_back(api: Api, resource: Resource, name: str, body: Json, **more: Any) -> Json:
        answer = await send(api, resource, name, body, **more)
        await send(api, resource, name, {"spec": {"http": [CHECKOUT]}}, how=Patch.MERGE)
        return answer

    monkeypatch.setattr(Api, "patch", set_back)
    error = await place.fails(weights())
    assert "when read back it was not as wanted: VirtualService web: web-green 0%, web-blue 100%" in error.brief


async def test_destination_that_was_taken_out_comes_back(place: Place) -> None:
    """A route that only knows the failed version gets the earlier one again; others get nothing."""
    only = {"route": [{"destination": {"host": f"web-blue.{place.namespace}.svc.cluster.local"}}]}
    await virtual_service(place, only)
    await service(place, "web-green")
    await place.apply(weights())
    found = await place.api.get(VIRTUAL_SERVICE, "web")
    (route,) = found["spec"]["http"]
    assert [(entry["destination"]["host"].split(".")[0], entry["weight"]) for entry in route["route"]] == [
        ("web-blue", 0),
        ("web-green", 100),
    ]


async def test_part_of_the_traffic(place: Place) -> None:
    """Any split can be pinned, by subset as well; a single destination without a weight has all."""
    subsets = [{"destination": {"host": "web", "subset": name}} for name in ("stable", "canary")]
    await virtual_service(place, {"route": subsets[:1]})
    await service(place, "web")
    defined = [{"name": name, "labels": {"app": "web"}} for name in ("stable", "canary")]
    await place.create(
        "DestinationRule", {"metadata": {"name": "web"}, "spec": {"host": "web", "subsets": defined}}
    )
    stable, canary = (Destination(host="web", subset=name, weight=0) for name in ("stable", "canary"))
    whole = weights(destinations=(stable.model_copy(update={"weight": 100}), canary))
    assert (await place.observe(whole)).presence is Presence.PRESENT
    part = weights(
        destinations=(stable.model_copy(update={"weight": 90}), canary.model_copy(update={"weight": 10}))
    )
    await place.apply(part)
    assert (await place.observe(part)).words == "VirtualService web: stable 90%, canary 10%"
    assert (await place.observe(whole)).presence is Presence.ABSENT


async def test_unclear_routes_are_refused(place: Place) -> None:
    """Which of several routes is meant must be said, by a name that is there."""
    await virtual_service(place, CHECKOUT, OTHER, {"redirect": {"uri": "/"}})
    error = await place.fails(weights())
    assert "has 2 rules that send traffic (checkout, static), not just one" in error.brief
    checks = await place.check(weights("chekout"))
    assert "has no rule chekout; it has: checkout, static" in checks.of("shop", Verdict.FAIL)


async def test_destination_that_fits_two_entries_is_unclear(place: Place) -> None:
    """A host that a route names with two ports is only meant with its port; then the other one gets nothing."""
    entries = [{"destination": {"host": "web-green", "port": {"number": port}}} for port in (80, 8080)]
    await virtual_service(place, {"route": [{**entries[0], "weight": 40}, {**entries[1], "weight": 60}]})
    await service(place, "web-green")
    whole = weights(destinations=(Destination(host="web-green", weight=100),))
    assert "has several entries for web-green: name the port" in (await place.fails(whole)).brief
    meant = weights(destinations=(Destination(host="web-green", port=8080, weight=100),))
    await place.apply(meant)
    (route,) = (await place.api.get(VIRTUAL_SERVICE, "web"))["spec"]["http"]
    assert [entry["weight"] for entry in route["route"]] == [0, 100]


async def test_new_entries_are_written_as_the_step_names_them(place: Place) -> None:
    """Subset and port of a destination, namespace of a backend: all of it stands in the route afterwards."""
    await virtual_service(place, {"route": [{"destination": {"host": "web-blue"}}]})
    stable = Destination(host="web.other", subset="stable", port=8080, weight=100)
    await place.apply(weights(destinations=(stable,)))
    (route,) = (await place.api.get(VIRTUAL_SERVICE, "web"))["spec"]["http"]
    destination = {"host": "web.other", "subset": "stable", "port": {"number": 8080}}
    assert route["route"][-1] == {"destination": destination, "weight": 100}
    await http_route(place, {"name": "web-blue", "port": 80}, standby=False)
    await gateway_says(place, lag=-1)
    await place.apply(gateway_weights(backends=(Backend(name="web", namespace="other", port=80, weight=1),)))
    (rule,) = (await place.api.get(HTTP_ROUTE, "web"))["spec"]["rules"]
    assert rule["backendRefs"][-1] == {"name": "web", "namespace": "other", "port": 80, "weight": 1}


async def test_standby_that_cannot_be_read_is_said(place: Place) -> None:
    """Not knowing whether anything is ready is a warning; so is a rule that the bot may not read."""
    if place.double is None:
        pytest.skip("faults of the server can only be had of the double")
    await virtual_service(place, CHECKOUT)

    def interfere(_method: str, path: str) -> None:
        if "/services/" in path or path.endswith("/destinationrules"):
            raise RefusedError(500, "InternalError", "etcd is not well")

    place.double.server.interfere = interfere
    for step in (weights(), weights(destinations=(Destination(host="web", subset="stable", weight=100),))):
        subject = "Backend web-green" if step == weights() else "Backend web (stable)"
        words = (await place.check(step)).of(subject, Verdict.WARN)
        assert "Whether it is healthy is not known" in words
        assert "etcd is not well" in words


async def test_change_of_somebody_else_is_kept(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """A timeout that was set between reading and writing is still there afterwards."""
    await virtual_service(place, CHECKOUT)
    await service(place, "web-green")
    send = Api.patch
    meddled: list[Json] = []

    async def meddle(api: Api, resource: Resource, name: str, body: Json, **more: Any) -> Json:
        if not meddled:
            meddled.append(body)
            other = {"spec": {"http": [{**CHECKOUT, "timeout": "9s"}]}}
            await send(api, resource, name, other, how=Patch.MERGE)
        return await send(api, resource, name, body, **more)

    monkeypatch.setattr(Api, "patch", meddle)
    await place.apply(weights())
    (route,) = (await place.api.get(VIRTUAL_SERVICE, "web"))["spec"]["http"]
    assert (route["timeout"], route["route"][0]["weight"]) == ("9s", 100)


@pytest.mark.parametrize(
    ("problem", "words"),
    [
        ("no service", "There is no service web-green"),
        ("no pods", "None of its 0 pods is ready (there is none)"),
        ("ailing", "None of its 2 pods is ready (not ready)"),
    ],
)
async def test_traffic_is_not_sent_where_nothing_is_ready(place: Place, problem: str, words: str) -> None:
    """The standby is looked at before anybody approves and before it gets traffic: it needs a ready pod."""
    await virtual_service(place, CHECKOUT)
    if problem == "no pods":
        spec = {"selector": {"app": "web-green"}, "ports": [{"port": 80}]}
        await place.create("Service", {"metadata": {"name": "web-green"}, "spec": spec})
    if problem == "ailing":
        await service(place, "web-green", readinessProbe={"exec": {"command": ["false"]}})
        await place.until("deployment/web-green", lambda w: sum(p.trouble == "not ready" for p in w.pods) == 2)
    found = (await place.check(weights())).of("Backend web-green", Verdict.FAIL)
    assert words in found
    assert "Nothing was changed." in found
    error = await place.fails(weights())
    assert f"so no traffic was sent there. Backend web-green: {words}" in error.brief
    assert error.untouched == "Nothing was changed."
    assert (await place.api.get(VIRTUAL_SERVICE, "web"))["metadata"]["generation"] == 1


async def test_subset_must_be_defined(place: Place) -> None:
    """Requests to a subset that no DestinationRule defines would fail; a defined one is counted by its labels."""
    await virtual_service(place, CHECKOUT)
    await service(place, "web")
    step = weights(destinations=(Destination(host="web", subset="stable", weight=100),))
    subject = "Backend web (stable)"
    assert "No DestinationRule defines its subset stable" in (await place.check(step)).of(subject, Verdict.FAIL)
    rule = {"host": "web", "subsets": [{"name": "stable", "labels": {"app": "web"}}]}
    await place.create("DestinationRule", {"metadata": {"name": "web"}, "spec": rule})
    assert "2 of 2 pods are ready (1.36)" in (await place.check(step)).of(subject, Verdict.OK)


async def test_hosts_elsewhere_are_said_not_to_be_looked_at(place: Place) -> None:
    """Another namespace or a host outside the cluster is a warning."""
    await virtual_service(place, CHECKOUT)
    step = weights(
        destinations=(Destination(host="api.example.org", weight=60), Destination(host="web.other", weight=40))
    )
    checks = await place.check(step)
    assert "outside the cluster" in checks.of("Backend api.example.org", Verdict.WARN)
    assert "in namespace other" in checks.of("Backend web", Verdict.WARN)


async def test_rights_are_asked_for(place: Place) -> None:
    """Every right that lacks is named before anything is tried."""
    await virtual_service(place, CHECKOUT)
    rules = [{"apiGroups": [ISTIO], "resources": ["virtualservices"], "verbs": ["get"]}]
    kubeconfig = await place.account("bot", rules)
    words = (await place.check(weights(), kubeconfig=kubeconfig)).of("Access to web", Verdict.FAIL)
    assert "patch virtualservices/web, get services, list pods" in words


async def test_owner_that_would_set_it_back_is_found_and_can_be_suspended(place: Place) -> None:
    """A VirtualService of an Application that heals itself is checked as a workload is."""
    await place.serves("argoproj.io")
    await virtual_service(place, CHECKOUT, labels={"argocd.argoproj.io/instance": "web"})
    spec = {"project": "default", "destination": {}, "source": {"repoURL": "https://git.example.org/web"}}
    spec["syncPolicy"] = {"automated": {"selfHeal": True}}
    await place.create("Application", {"metadata": {"name": "web"}, "spec": spec})
    checks = await place.check(weights())
    assert "sets back every change by itself" in checks.of("GitOps owner application/web", Verdict.FAIL)
    remedy = (await place.remedies(weights()))["suspend-application"]
    assert isinstance(remedy.step, Suspend)
    await place.apply(remedy.step)
    assert await place.remedies(weights()) == {}


async def test_cluster_without_a_mesh(place: Place) -> None:
    """It is told that the kind is not served there."""
    if place.double is None:
        pytest.skip("what is installed can only be chosen on the double")
    place.double.server.hidden |= {ISTIO, GATEWAY}
    words = (await place.check(weights())).of("shop", Verdict.FAIL)
    assert "serves no VirtualService (networking.istio.io)" in words
    assert "serves no HTTPRoute" in (await place.fails(gateway_weights())).brief


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"destinations": [{"host": "a", "weight": 60}]}, "100 together, not 60"),
        ({"destinations": [{"host": "a", "weight": 50}, {"host": "a", "weight": 50}]}, "stands twice"),
        ({"destinations": []}, "at least 1 item"),
        ({"destinations": [{"host": "a", "weight": 101}]}, "less than or equal to 100"),
    ],
)
def test_weights_that_make_no_sense_are_refused(changes: Json, words: str) -> None:
    """A plan with them is not valid."""
    with pytest.raises(ValidationError, match=words):
        weights(**changes)


@pytest.mark.parametrize(
    ("backends", "words"),
    [
        ([{"name": "a", "weight": 0}], "at least one backend must get traffic"),
        ([{"name": "a", "weight": 1}, {"name": "a", "weight": 0}], "stands twice"),
        ([{"name": "a", "weight": 1_000_001}], "less than or equal to 1000000"),
    ],
)
def test_backends_that_make_no_sense_are_refused(backends: list[Json], words: str) -> None:
    """A plan with them is not valid."""
    with pytest.raises(ValidationError, match=words):
        gateway_weights(backends=backends)


def gateway_weights(**more: Any) -> GatewayWeights:
    """Return the step that sends traffic of an HTTPRoute to green."""
    backends = (Backend(name="web-green", port=80, weight=1), Backend(name="web-blue", port=80, weight=0))
    return GatewayWeights(**{"id": "traffic", "target": "shop", "route": "web", "backends": backends} | more)


async def http_route(place: Place, *backends: Json, standby: bool = True) -> None:
    """Make an HTTPRoute, and the service of the standby."""
    await place.serves(GATEWAY)
    if standby:
        await service(place, "web-green")
    rule = {"matches": [{"path": {"type": "PathPrefix", "value": "/"}}], "backendRefs": list(backends)}
    spec = {"parentRefs": [{"name": "edge"}], "rules": [rule]}
    await place.create("HTTPRoute", {"metadata": {"name": "web"}, "spec": spec})


async def gateway_says(place: Place, *, resolved: bool = True, reason: str = "ResolvedRefs", lag: int = 0) -> None:
    """Do what a gateway does: say in the route's status what it has made of it."""
    generation = (await place.api.get(HTTP_ROUTE, "web"))["metadata"]["generation"] - lag
    conditions = [
        {"type": "Accepted", "status": "True", "reason": "Accepted", "message": ""},
        {"type": "ResolvedRefs", "status": str(resolved), "reason": reason, "message": "no ReferenceGrant"},
    ]
    for condition in conditions:
        condition |= {"observedGeneration": generation, "lastTransitionTime": "2024-01-15T15:47:00Z"}
    parent = {"parentRef": {"name": "edge"}, "controllerName": "example.org/gateway", "conditions": conditions}
    path = HTTP_ROUTE.path(place.namespace, "web", subresource="status")
    await place.send_as("gateway", path, {"status": {"parents": [parent]}}, how=Patch.MERGE)


async def test_gateway_takes_the_weights_up(place: Place) -> None:
    """The step ends when every gateway says that it has accepted this very generation."""
    await http_route(place, {"name": "web-green", "port": 80, "weight": 0}, {"name": "web-blue", "port": 80})
    await gateway_says(place)
    step = gateway_weights()
    assert (await place.observe(step)).words == "HTTPRoute web: web-green 0%, web-blue 100%"
    begun = asyncio.Event()
    place.reports.on_report = lambda _: begun.set()
    async with asyncio.TaskGroup() as group:
        doing = group.create_task(place.apply(step))
        await begun.wait()
        seen = await place.observe(step)
        await gateway_says(place)
        outcome = await doing
    assert seen.presence is Presence.ABSENT
    assert seen.words.endswith("gateway edge has not yet taken it up")
    words = "HTTPRoute web: web-green 100%, web-blue 0%; in force at edge"
    assert outcome.words == f"{words}; before: web-green 0%, web-blue 100%"
    assert (await place.observe(step)).presence is Presence.PRESENT
    assert (await place.apply(step)).facts["changed"] is False


async def test_gateway_that_refuses_ends_the_step(place: Place) -> None:
    """Its reason is told, and that the traffic goes on as before."""
    await http_route(
        place, {"name": "web-green", "port": 80, "weight": 1}, {"name": "web-blue", "port": 80, "weight": 0}
    )
    await gateway_says(place, resolved=False, reason="RefNotPermitted")
    error = await place.fails(gateway_weights())
    assert "set and not in force: gateway edge: RefNotPermitted (no ReferenceGrant)" in error.brief
    assert "go on as before" in error.untouched


@pytest.mark.parametrize(
    ("spoken", "words"), [(False, "no gateway has taken it up"), (True, "edge has not yet taken it up")]
)
async def test_gateway_that_says_nothing_is_not_believed(place: Place, *, spoken: bool, words: str) -> None:
    """A route that no gateway has taken up as it is now is not in force."""
    await http_route(
        place, {"name": "web-green", "port": 80, "weight": 1}, {"name": "web-blue", "port": 80, "weight": 0}
    )
    if spoken:
        await gateway_says(place, lag=1)
    error = await place.fails(gateway_weights(timeout=SOON))
    assert words in error.brief


async def test_backend_without_a_port_cannot_be_added(place: Place) -> None:
    """The Gateway API wants the port of a Service: the plan must name it."""
    await http_route(place, {"name": "web-blue", "port": 80})
    step = gateway_weights(backends=(Backend(name="web-green", weight=1), Backend(name="web-blue", weight=0)))
    assert "without a port it cannot be added" in (await place.fails(step)).brief


async def test_pods_of_the_failed_version_are_shown_at_the_check(place: Place) -> None:
    """The approver sees which version the pods behind a backend run."""
    await http_route(place, {"name": "web-green", "port": 80}, standby=False)
    await service(place, "web-green", NEW)
    assert "2 of 2 pods are ready (1.37)" in (await place.check(gateway_weights())).of("Backend web-green")
