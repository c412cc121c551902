"""GitOps owners: found, suspended with how they were, resumed as they were."""

from __future__ import annotations

import json
from typing import Any

import pytest

from actuators.kubernetes import Resume, Rollback, SetImage, Suspend, objects
from actuators.kubernetes.api import Api, Json, Patch, Resource
from actuators.kubernetes.gitops import SUSPENDED
from bot.domain.actuation import Presence, Verdict
from tests.support.actuation import FakeClock
from tests.support.kubeapi.place import NEW, OLD, Place

WEB = "deployment/web"
ARGO, FLUX, HELM = "argoproj.io", "kustomize.toolkit.fluxcd.io", "helm.toolkit.fluxcd.io"
APPLICATION = Resource(ARGO, "v1alpha1", "applications", "Application")
KUSTOMIZATION = Resource(FLUX, "v1", "kustomizations", "Kustomization")
HEALING = {"automated": {"selfHeal": True, "prune": True}, "syncOptions": ["CreateNamespace=true"]}


def rollback(*needs: str) -> Rollback:
    """Return the step that a GitOps owner would undo."""
    return Rollback(id="back", target="shop", workload=WEB, revision=1, needs=needs)


def suspend(owner: str = "application/web", **more: Any) -> Suspend:
    """Return the step that keeps it from that."""
    return Suspend(id="hold", target="shop", owner=owner, **more)


async def application(place: Place, policy: Json | None, **more: Any) -> None:
    """Make an Application that deploys web."""
    await place.serves(ARGO)
    source = {"repoURL": "https://git.example.org/web", "path": "."}
    destination = {"server": "https://kubernetes.default.svc", "namespace": place.namespace}
    spec = {"project": "default", "source": source, "destination": destination}
    spec |= {"syncPolicy": policy} if policy is not None else {}
    await place.create("Application", {"metadata": {"name": "web", **more}, "spec": spec})


async def deployed(place: Place, **metadata: Any) -> None:
    """Deploy two releases with the marks of an owner."""
    await place.deploy(WEB, OLD)
    await place.deploy(WEB, NEW)
    await place.change(WEB, {"metadata": metadata})


def tracked(place: Place) -> dict[str, Any]:
    """Return Argo CD's mark."""
    return {"annotations": {"argocd.argoproj.io/tracking-id": f"web:apps/Deployment:{place.namespace}/web"}}


async def test_owner_that_heals_itself_fails_the_check(place: Place) -> None:
    """It would deploy the failed version again at once: the check says so and writes the step that is missing."""
    await application(place, HEALING)
    await deployed(place, **tracked(place))
    words = (await place.check(rollback())).of("GitOps owner application/web", Verdict.FAIL)
    assert f"Argo CD Application {place.namespace}/web sets back every change by itself" in words
    assert "kind: gitops.suspend, target: shop, owner: application/web" in words


async def test_plan_that_suspends_the_owner_before_passes(place: Place) -> None:
    """A step that suspends it satisfies the check if it comes before, and only then."""
    await application(place, HEALING)
    await deployed(place, **tracked(place))
    subject = "GitOps owner application/web"
    beside = (await place.check(rollback(), suspend())).of(subject, Verdict.FAIL)
    assert "Step hold suspends" in beside
    assert "`needs: [hold]`" in beside
    before = await place.check(rollback("hold"), suspend())
    assert "is suspended by step hold before" in before.of(subject, Verdict.OK)
    image = SetImage(
        id="between", target="shop", workload=WEB, needs=("hold",), images={"app": f"{OLD}@sha256:{'0' * 64}"}
    )
    far = await place.check(rollback("between"), suspend(), image)
    assert "is suspended by step hold before" in far.of(subject, Verdict.OK)


@pytest.mark.parametrize(
    ("policy", "verdict", "words"),
    [
        ({"automated": {}}, Verdict.WARN, "deploys by itself at the next commit"),
        ({"automated": {"enabled": False, "selfHeal": True}}, Verdict.OK, "does not deploy by itself"),
        ({}, Verdict.OK, "does not deploy by itself"),
        (None, Verdict.OK, "does not deploy by itself"),
    ],
)
async def test_owner_that_waits_is_no_obstacle(
    place: Place, policy: Json | None, verdict: Verdict, words: str
) -> None:
    """One that deploys at the next commit is a warning; one that never does by itself is fine."""
    await application(place, policy)
    await deployed(place, labels={"app.kubernetes.io/instance": "web"})
    assert words in (await place.check(rollback())).of("GitOps owner application/web", verdict)


async def test_labels_of_others_are_no_owner(place: Place) -> None:
    """Helm writes the same label as Argo CD, and a copied tracking id means another object."""
    copied = {"argocd.argoproj.io/tracking-id": "web:apps/Deployment:elsewhere/other"}
    await deployed(place, labels={"app.kubernetes.io/instance": "web"}, annotations=copied)
    checks = await place.check(rollback())
    assert checks.of("Deployment web") == "ok: No GitOps owner deploys it"


async def test_application_is_suspended_and_resumed_as_it_was(place: Place) -> None:
    """Only the automatic sync goes, with a note of how it was; resuming restores that and takes the note off."""
    await application(place, HEALING)
    hold, resume = suspend(), Resume(id="resume", target="shop", owner="application/web")
    checks = await place.check(hold)
    assert checks.verdict is Verdict.OK, list(checks)
    assert (await place.observe(hold)).presence is Presence.ABSENT

    outcome = await place.apply(hold)

    assert outcome.words.endswith("does not deploy by itself any more")
    found = await place.api.get(APPLICATION, "web")
    assert found["spec"]["syncPolicy"] == {"syncOptions": ["CreateNamespace=true"]}
    note = json.loads(objects.notes(found)[SUSPENDED])
    assert (note["by"], note["was"]) == ("rb-0004", HEALING["automated"])
    assert (await place.observe(hold)).presence is Presence.PRESENT
    assert (await place.apply(hold)).facts["changed"] is False
    assert (await place.observe(resume)).presence is Presence.ABSENT
    assert "suspended by rb-0004" in (await place.observe(resume)).words

    await place.apply(resume)

    found = await place.api.get(APPLICATION, "web")
    assert found["spec"]["syncPolicy"] == HEALING
    assert SUSPENDED not in objects.notes(found)
    assert (await place.observe(resume)).presence is Presence.PRESENT
    assert (await place.apply(resume)).facts["changed"] is False


async def test_what_a_person_suspended_is_not_resumed(place: Place) -> None:
    """Without the bot's own note, how it was before is not known: it is left alone."""
    await application(place, {})
    resume = Resume(id="resume", target="shop", owner="application/web")
    assert "did not deploy by itself already" in (await place.apply(suspend())).words
    error = await place.fails(resume)
    assert "no rollback of this bot has suspended it" in error.brief
    assert SUSPENDED not in objects.notes(await place.api.get(APPLICATION, "web"))


async def test_note_is_taken_off_where_a_person_has_resumed(place: Place) -> None:
    """An owner that deploys by itself again needs no restoring; only the note goes."""
    await application(place, HEALING)
    await place.apply(suspend())
    other = {"spec": {"syncPolicy": {"automated": {"prune": False}}}}
    await place.api.patch(APPLICATION, "web", other, how=Patch.MERGE)
    await place.apply(Resume(id="resume", target="shop", owner="application/web"))
    found = await place.api.get(APPLICATION, "web")
    assert found["spec"]["syncPolicy"]["automated"] == {"prune": False}
    assert SUSPENDED not in objects.notes(found)


async def test_synchronisation_under_way_is_waited_for_and_told(place: Place) -> None:
    """One that began before may still deploy: it gets its time, and if it does not end, people are told."""
    await application(place, HEALING)
    state: Json = {"operation": {"sync": {}}}
    await place.api.patch(APPLICATION, "web", state, how=Patch.MERGE)
    place.clock = FakeClock()
    outcome = await place.apply(suspend())
    assert outcome.words.endswith("a synchronisation that began before is still under way")
    assert place.clock.seconds == 30
    assert place.reports.seen[-1].words == "A deployment under way is waited for"


@pytest.mark.parametrize(
    ("owner", "kind", "group"), [("kustomization", "Kustomization", FLUX), ("helmrelease", "HelmRelease", HELM)]
)
async def test_flux_owners_are_suspended_and_resumed(place: Place, owner: str, kind: str, group: str) -> None:
    """A Kustomization and a HelmRelease are found by Flux's labels, suspended, and resumed."""
    await place.serves(group)
    spec: Json = {
        "interval": "1m",
        "prune": True,
        "path": "./",
        "sourceRef": {"kind": "GitRepository", "name": "web"},
    }
    if kind == "HelmRelease":
        source = {"kind": "HelmRepository", "name": "web"}
        spec = {"interval": "1m", "chart": {"spec": {"chart": "web", "sourceRef": source}}}
        spec["driftDetection"] = {"mode": "enabled"}
    await place.create(kind, {"metadata": {"name": "web"}, "spec": spec})
    await deployed(place, labels={f"{group}/name": "web", f"{group}/namespace": place.namespace})
    subject = f"GitOps owner {owner}/web"
    assert "sets back every change by itself" in (await place.check(rollback())).of(subject, Verdict.FAIL)

    remedy = (await place.remedies(rollback()))[f"suspend-{owner}"]
    assert remedy.title == f"Suspend {owner}/web"
    await place.apply(remedy.step)

    assert "does not deploy by itself" in (await place.check(rollback())).of(subject, Verdict.OK)
    assert f"suspend-{owner}" not in await place.remedies(rollback())
    resume = Resume(id="resume", target="shop", owner=f"{owner}/web", namespace=place.namespace)
    await place.apply(resume)
    assert (await place.observe(resume)).presence is Presence.PRESENT


async def test_owner_that_is_itself_deployed_is_warned_of(place: Place) -> None:
    """A parent may switch the sync on again: its name is told before."""
    mark = {"argocd.argoproj.io/tracking-id": f"apps:argoproj.io/Application:{place.namespace}/web"}
    await application(place, HEALING, annotations=mark)
    words = (await place.check(suspend())).of("GitOps owner application/web", Verdict.WARN)
    assert f"deployed by Argo CD Application {place.namespace}/apps, which may switch it on again" in words
    assert await place.remedies(suspend()) == {}
    spec: Json = {"project": "default", "destination": {}, "source": {"repoURL": "https://git.example.org/apps"}}
    spec |= {"syncPolicy": HEALING}
    await place.create("Application", {"metadata": {"name": "apps"}, "spec": spec})
    remedy = (await place.remedies(suspend()))["suspend-application"]
    await place.apply(remedy.step)
    assert (await place.observe(suspend("application/apps"))).presence is Presence.PRESENT


async def test_generator_of_an_owner_is_warned_of(place: Place) -> None:
    """An ApplicationSet that made the Application may write it anew: its name is told before."""
    made = await place.create("ConfigMap", {"metadata": {"name": "shop"}})
    owner = {"apiVersion": "v1", "kind": "ConfigMap", "name": "shop", "uid": objects.uid(made), "controller": True}
    await application(place, HEALING, ownerReferences=[owner])
    words = (await place.check(suspend())).of("GitOps owner application/web", Verdict.WARN)
    assert "It is itself deployed by ConfigMap shop, which may switch it on again" in words


async def test_label_that_others_write_too_is_no_reason_for_a_warning(place: Place) -> None:
    """Where the bot may not look for an Application that Helm's label could mean, nothing is claimed."""
    await application(place, HEALING)
    await deployed(place, labels={"app.kubernetes.io/instance": "web"})
    rules = [
        {"apiGroups": ["apps"], "resources": ["*"], "verbs": ["get", "list", "watch", "patch"]},
        {"apiGroups": [""], "resources": ["pods"], "verbs": ["list", "watch"]},
    ]
    checks = await place.check(rollback(), kubeconfig=await place.account("bot", rules))
    assert checks.of("GitOps owner application/web") == ""
    assert checks.of("Deployment web") == "ok: No GitOps owner deploys it"


async def test_owner_that_may_not_be_read_is_said(place: Place) -> None:
    """Not knowing whether the rollback would be undone is a warning."""
    await application(place, HEALING)
    await deployed(place, **tracked(place))
    kubeconfig = await place.account(
        "bot",
        [
            {"apiGroups": ["apps"], "resources": ["*"], "verbs": ["get", "list", "watch", "patch"]},
            {"apiGroups": [""], "resources": ["pods"], "verbs": ["list", "watch"]},
        ],
    )
    checks = await place.check(rollback(), kubeconfig=kubeconfig)
    words = checks.of("GitOps owner application/web", Verdict.WARN)
    assert "whether it would undo the rollback is not known" in words
    assert "cannot get resource" in words
    refused = await place.check(suspend(), kubeconfig=kubeconfig)
    assert "get applications/web" in refused.of("Access to application/web", Verdict.FAIL)


async def test_owner_of_a_kind_that_is_not_installed(place: Place) -> None:
    """A cluster without that product says so; so does a name that is not there."""
    await application(place, HEALING)
    missing = await place.check(suspend("application/none"))
    assert 'applications.argoproj.io "none" not found' in missing.of("GitOps owner application/none", Verdict.FAIL)
    if place.double is not None:
        place.double.server.hidden.add(ARGO)
        words = (await place.check(suspend())).of("GitOps owner application/web", Verdict.FAIL)
        assert "serves no Application (argoproj.io)" in words


async def test_other_controllers_are_warned_of(place: Place) -> None:
    """An operator that controls the Deployment may undo the change: it is named."""
    await deployed(place)
    made = await place.create("ConfigMap", {"metadata": {"name": "shop"}})
    owner = {"apiVersion": "v1", "kind": "ConfigMap", "name": "shop", "uid": objects.uid(made), "controller": True}
    await place.change(WEB, {"metadata": {"ownerReferences": [owner]}})
    assert "It is controlled by ConfigMap shop" in (await place.check(rollback())).of(
        "Deployment web", Verdict.WARN
    )


async def test_owner_that_is_set_back_at_once_is_told(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is read back counts: a parent that switches the sync on again in the same moment is a failure."""
    await application(place, HEALING)

    async def undone(api: Api, resource: Resource, name: str, *_: object, **__: object) -> Json:
        return await api.get(resource, name)

    monkeypatch.setattr(Api, "patch", undone)
    error = await place.fails(suspend())
    assert "when read back it was not as wanted" in error.brief
    assert "app of apps" in error.resolution
