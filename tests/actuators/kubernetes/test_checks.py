"""What is looked at before anybody is asked to approve."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from actuators.kubernetes import DeletePods, History, PodRef, Pods, Rollback, SetImage, Verify, objects
from actuators.kubernetes.api import Json, Patch
from actuators.kubernetes.resources import CONFIG_MAP
from actuators.kubernetes.workload import look
from bot.domain.actuation import Presence, Verdict
from tests.support.kubeapi.place import NEW, OLD, Place
from tests.support.kubeapi.store import RefusedError

WEB = "deployment/web"
HISTORY, CHANGE = f"History of {WEB}", f"Change of {WEB}"
DOCUMENT = Path(__file__).parents[3] / "docs/actuators/kubernetes.md"


def rollback(revision: int = 1, **more: Any) -> Rollback:
    """Return the step."""
    return Rollback(id="back", target="shop", workload=WEB, revision=revision, **more)


def documented_rules(name: str) -> list[Json]:
    """Return the rules of the role that the document shows, for a workload of that name."""
    blocks = re.findall(r"```yaml\n(.*?)```", DOCUMENT.read_text(encoding="utf-8"), re.DOTALL)
    (shown,) = [block for block in blocks if "kind: Role" in block]
    rules: list[Json] = yaml.safe_load(shown.replace("resourceNames: [payments]", f"resourceNames: [{name}]"))[
        "rules"
    ]
    return rules


async def test_documented_role_is_enough_for_a_whole_rollback(place: Place) -> None:
    """With exactly the role of the document, checks pass and the rollback is carried out and verified."""
    await place.deploy(WEB, OLD)
    await place.deploy(WEB, NEW)
    kubeconfig = await place.account("bot", documented_rules("web"))
    step = rollback()
    checks = await place.check(step, kubeconfig=kubeconfig)
    assert checks.verdict is Verdict.OK, list(checks)
    outcome = await place.apply(step, kubeconfig=kubeconfig)
    assert outcome.words.startswith("deployment/web: 2 of 2 pods on 1.36")
    await place.apply(Verify(id="look", target="shop", workload=WEB, images={"app": OLD}), kubeconfig=kubeconfig)


async def test_every_right_that_lacks_is_named(place: Place) -> None:
    """A role that only reads fails the check, which names each verb and changes nothing."""
    await place.deploy(WEB, OLD)
    reading = [{"apiGroups": ["apps"], "resources": ["deployments", "replicasets"], "verbs": ["get", "list"]}]
    kubeconfig = await place.account("reader", reading)
    checks = await place.check(rollback(replace_stuck=True), kubeconfig=kubeconfig)
    words = checks.of(f"Access to {WEB}", Verdict.FAIL)
    verbs = ("watch deployments/web", "patch deployments/web", "watch replicasets", "list pods", "delete pods")
    for right in verbs:
        assert right in words
    assert "get deployments" not in words
    assert "Nothing was changed." in words
    assert "docs/actuators" in words

    assert "list events" not in words
    probe = Verify(id="look", target="shop", workload=WEB, images={"app": OLD})
    assert "list pods" in (await place.check(probe, kubeconfig=kubeconfig)).of(f"Access to {WEB}", Verdict.FAIL)
    deleting = DeletePods(id="del", target="shop", workload=WEB, pods=(PodRef(name="web-1", uid="1"),))
    words = (await place.check(deleting, kubeconfig=kubeconfig)).of(f"Access to pods of {WEB}", Verdict.FAIL)
    assert "get pods/web-1, delete pods/web-1" in words


async def test_rights_are_those_that_are_used_and_no_others(place: Place) -> None:
    """What only reads once needs no watch; what only explains is named where it lacks, and stops nothing."""
    await place.deploy(WEB, OLD)
    rules: list[Json] = [
        {"apiGroups": ["apps"], "resources": ["deployments"], "resourceNames": ["web"], "verbs": ["get"]},
        {"apiGroups": ["apps"], "resources": ["replicasets"], "verbs": ["list"]},
        {"apiGroups": [""], "resources": ["pods"], "verbs": ["list"]},
    ]
    reader = await place.account("reader", rules)
    subject = f"Access to {WEB}"
    for step in (History(id="look", target="shop", workload=WEB), Pods(id="look", target="shop", workload=WEB)):
        checks = await place.check(step, kubeconfig=reader)
        assert "ok: All 3 rights" in checks.of(subject)
        lacks = "without list events, get pods/log it tells less of why pods fail" in checks.of(subject)
        assert lacks is isinstance(step, Pods)
        await place.apply(step, kubeconfig=reader)
    rules += [
        {"apiGroups": [""], "resources": ["events"], "verbs": ["list"]},
        {"apiGroups": [""], "resources": ["pods/log"], "verbs": ["get"]},
    ]
    helped = await place.account("helped", rules)
    checks = await place.check(Pods(id="look", target="shop", workload=WEB), kubeconfig=helped)
    assert "without" not in checks.of(subject)
    refused = await place.check(Verify(id="look", target="shop", workload=WEB), kubeconfig=helped)
    lacking = "list deployments/web, watch deployments/web, watch replicasets, watch pods in namespace"
    assert lacking in refused.of(subject, Verdict.FAIL)


async def test_trying_dry_keeps_nothing(place: Place) -> None:
    """The server goes through the change at the check, and the Deployment is as it was."""
    await place.deploy(WEB, OLD)
    before = await place.deploy(WEB, NEW)
    checks = await place.check(rollback())
    assert "The API server would accept it; its scale does not come back, it stays at 2" in checks.of(CHANGE)
    after = await look(place.api, WEB)
    assert objects.version(after.obj) == objects.version(before.obj)
    assert (await place.observe(rollback())).presence is Presence.ABSENT


async def test_change_that_the_server_would_refuse_fails_the_check(place: Place) -> None:
    """Validation and admission speak before the approval: here a revision that no selector fits any more."""
    await place.deploy(WEB, OLD)
    await place.deploy(WEB, NEW)
    replica_set = (await look(place.api, WEB)).revisions[0]
    resource = (await look(place.api, WEB)).queries()[1].resource
    broken = {"spec": {"template": {"spec": {"containers": [{"name": "app", "image": ""}]}}}}
    if place.double is None:
        pytest.skip("a real cluster lets nobody break a ReplicaSet")
    obj = place.double.store.objects[("replicasets.apps", place.namespace, replica_set.name)]
    obj["spec"]["template"]["spec"]["containers"][0].update(broken["spec"]["template"]["spec"]["containers"][0])
    assert resource.plural == "replicasets"
    words = (await place.check(rollback())).of(CHANGE, Verdict.FAIL)
    assert "refused to change Deployment web" in words
    assert "image: Required value" in words


async def forgotten(place: Place) -> None:
    """Deploy so often that revision 1 is forgotten."""
    await place.deploy(WEB, OLD, cause="Deploy v2.3.1 - CHG0012340")
    await place.change(WEB, {"spec": {"revisionHistoryLimit": 1}})
    await place.deploy(WEB, NEW, cause="Deploy v2.4.0 - CHG0012345")
    await place.deploy(WEB, NEW, cause="Deploy v2.4.1 - CHG0012346", env=[{"name": "HOTFIX", "value": "1"}])
    await place.until(WEB, lambda workload: workload.find(1) is None)


async def test_forgotten_revision_fails_and_tells_what_is_kept(place: Place) -> None:
    """Without a recorded image the check fails, and names the history and its limit."""
    await forgotten(place)
    words = (await place.check(rollback())).of(HISTORY, Verdict.FAIL)
    assert "Revision 1 of deployment/web is gone" in words
    assert "revision 2: busybox:1.37 (Deploy v2.4.0 - CHG0012345)" in words
    assert "revision 3: busybox:1.37 (Deploy v2.4.1 - CHG0012346)" in words
    assert "revisionHistoryLimit is 1" in words
    assert "kubernetes.set_image" in words
    error = await place.fails(rollback())
    assert "is gone" in error.brief
    assert not error.transient
    assert "recorded-image" not in await place.remedies(rollback())


async def test_recorded_image_takes_the_place_of_a_forgotten_revision(place: Place) -> None:
    """The step stops, offers the recorded image as a remedy that counts for it, and is then satisfied itself."""
    await place.deploy(WEB, OLD)
    pinned = f"{OLD}@{await place.digest(WEB)}"
    await place.change(WEB, {"spec": {"revisionHistoryLimit": 1}})
    await place.deploy(WEB, NEW)
    await place.deploy(WEB, NEW, env=[{"name": "HOTFIX", "value": "1"}])
    await place.until(WEB, lambda workload: workload.find(1) is None)
    step = rollback(images={"app": pinned})
    checks = await place.check(step)
    assert checks.verdict is Verdict.WARN, list(checks)
    assert "The plan recorded its image (app 1.36)" in checks.of(HISTORY)
    assert "Deploy the recorded image" in (await place.fails(step)).resolution

    remedies = await place.remedies(step)
    assert list(remedies)[:2] == ["pods", "history"]
    remedy = remedies["recorded-image"]
    assert remedy.settles
    assert pinned in remedy.words
    assert remedy.step == SetImage(
        id="recorded-image", target="shop", workload=WEB, images={"app": pinned}, expected="30s"
    )
    await place.apply(remedy.step)

    assert (await place.observe(remedy.step)).presence is Presence.PRESENT
    assert (await place.observe(step)).presence is Presence.PRESENT
    shown = await place.apply(remedies["history"].step)
    assert "revisionHistoryLimit is 1" in shown.words
    assert shown.facts["revision_history_limit"] == 1
    assert "Rollback rb-0004 of CHG0012345: 1.36" in shown.output


@pytest.mark.parametrize("workload", ["statefulset/web", "daemonset/web"])
async def test_forgotten_controller_revision_fails_likewise(place: Place, workload: str) -> None:
    """The history of a StatefulSet or DaemonSet is its ControllerRevisions; what is not there cannot come back."""
    await place.deploy(workload, OLD)
    await place.change(workload, {"spec": {"revisionHistoryLimit": 1}})
    await place.deploy(workload, NEW)
    step = Rollback(id="back", target="shop", workload=workload, revision=1)
    subject = f"History of {workload}"
    assert "revisionHistoryLimit is 1, and 1 newer" in (await place.check(step)).of(subject, Verdict.WARN)
    await place.deploy(workload, NEW, env=[{"name": "HOTFIX", "value": "1"}])
    await place.until(workload, lambda found: found.find(1) is None)
    assert f"Revision 1 of {workload} is gone" in (await place.check(step)).of(subject, Verdict.FAIL)


async def test_manifest_that_was_applied_is_warned_of(place: Place) -> None:
    """What kubectl applied last is still the failed version after a rollback: the next apply deploys it again."""
    applied = {"annotations": {"kubectl.kubernetes.io/last-applied-configuration": "{}"}}
    for workload, subject in ((WEB, "Deployment web"), ("daemonset/web", "DaemonSet web")):
        await place.deploy(workload, OLD)
        await place.deploy(workload, NEW)
        step = Rollback(id="back", target="shop", workload=workload, revision=1)
        assert (await place.check(step)).of(subject, Verdict.WARN) == ""
        await place.change(workload, {"metadata": applied})
        words = (await place.check(step)).of(subject, Verdict.WARN)
        assert "the next apply of its manifest brings the failed version back" in words
        assert "Revert the manifest too" in words


async def test_dry_run_that_a_webhook_does_not_know_is_a_warning(place: Place) -> None:
    """Where the change cannot be tried, that is said, and it is tried for real."""
    if place.double is None:
        pytest.skip("webhooks can only be had of the double")
    await place.deploy(WEB, OLD)
    await place.deploy(WEB, NEW)

    def interfere(method: str, _path: str) -> None:
        if method == "PATCH":
            raise RefusedError(400, "BadRequest", 'admission webhook "policy.example.org" does not support dry run')

    place.double.server.interfere = interfere
    words = (await place.check(rollback())).of(CHANGE, Verdict.WARN)
    assert "The server could not try it" in words
    assert "does not support dry run" in words


async def test_short_history_is_warned_of(place: Place) -> None:
    """Where one more deployment would remove the pinned revision, the approver is told."""
    await place.deploy(WEB, OLD)
    await place.change(WEB, {"spec": {"revisionHistoryLimit": 1}})
    await place.deploy(WEB, NEW)
    words = (await place.check(rollback())).of(HISTORY, Verdict.WARN)
    assert "revisionHistoryLimit is 1, and 1 newer revisions are kept: the next deployment would remove" in words


async def test_scale_and_partition_are_warned_of(place: Place) -> None:
    """A workload without pods proves nothing; pods below a partition stay."""
    await place.deploy("statefulset/web", OLD)
    await place.deploy("statefulset/web", NEW)
    step = Rollback(id="back", target="shop", workload="statefulset/web", revision=1)
    await place.change("statefulset/web", {"spec": {"updateStrategy": {"rollingUpdate": {"partition": 1}}}})
    assert "Its partition is 1" in (await place.check(step)).of("statefulset/web", Verdict.WARN)
    await place.change("statefulset/web", {"spec": {"replicas": 0}})
    assert "It is scaled to 0" in (await place.check(step)).of("statefulset/web", Verdict.WARN)


async def configured(place: Place) -> None:
    """Deploy two releases that read a ConfigMap and a Secret."""
    await place.create("ConfigMap", {"metadata": {"name": "settings"}, "data": {"pool": "20"}})
    await place.create("Secret", {"metadata": {"name": "password"}, "stringData": {"password": "swordfish"}})
    sources = [{"configMapRef": {"name": "settings"}}, {"secretRef": {"name": "password"}}]
    await place.pass_time(2)
    await place.deploy(WEB, OLD, envFrom=sources)
    await place.pass_time(2)
    await place.deploy(WEB, NEW, envFrom=sources)


async def test_configuration_that_changed_since_is_named(place: Place) -> None:
    """A ConfigMap that was changed after the revision came into being does not go back: a warning says by whom."""
    await configured(place)
    unchanged = (await place.check(rollback())).of("Configuration")
    assert "2 of 2 ConfigMaps and Secrets are unchanged since revision 1 came into being" in unchanged

    path = CONFIG_MAP.path(place.namespace, "settings")
    await place.send_as("release-pipeline", path, {"metadata": {"labels": {"a": "b"}}}, how=Patch.MERGE)
    assert (await place.check(rollback())).of("ConfigMap settings") == ""
    await place.send_as("release-pipeline", path, {"data": {"pool": "5"}}, how=Patch.MERGE)

    checks = await place.check(rollback())
    assert re.search(
        r"warn: It was changed \S+ \S+ UTC by release-pipeline, after revision 1 came into being \(.* UTC\)",
        checks.of("ConfigMap settings"),
    )
    assert "1 of 2" in checks.of("Configuration")
    assert "swordfish" not in str(list(checks))


async def test_missing_configuration_fails_the_check(place: Place) -> None:
    """Pods of the earlier version could not start: that is found before they are needed."""
    await configured(place)
    found = await place.api.get(CONFIG_MAP, "settings")
    await place.api.delete(CONFIG_MAP, "settings", uid=objects.uid(found))
    checks = await place.check(rollback())
    assert "It is gone" in checks.of("ConfigMap settings", Verdict.FAIL)


async def test_configuration_that_may_not_be_read_is_said(place: Place) -> None:
    """Not knowing is a warning, never silence."""
    await configured(place)
    kubeconfig = await place.account("bot", documented_rules("web"))
    words = (await place.check(rollback(), kubeconfig=kubeconfig)).of("Secret password", Verdict.WARN)
    assert "Whether it has changed is not known" in words
    assert "cannot get resource" in words
