"""The Helm chart: what it makes is accepted by Helm and Kubernetes, and understood by the program."""

from __future__ import annotations

import re
from datetime import timedelta

import pytest
import yaml

from bot.main.health import LIVE, READY
from tests.support import helm
from tests.support.deploying import DEPLOY, TO_STOP, Json, image_variables, present, real, understood

CHART = DEPLOY / "helm" / "rollback-bot"
KUBERNETES = ("1.29", "1.33", "1.37")
"""The oldest version that the chart names, the newest one that can be checked here, and one between."""
SITE = {"inventory": "databases: {}\n", "policy": "people: []\n"}
PLAIN: Json = {
    "store": {"secret": "rollback-store"},
    "slack": {"opsChannel": "C0OPS"},
    "site": SITE,
    "plans": {"claim": "plans"},
}
FULL: Json = {
    "store": {"secret": "rollback-store", "key": "address"},
    "slack": {"mode": "http", "opsChannel": "C0OPS", "teamId": "T0", "apiUrl": "https://slack-gov.com/api/"},
    "image": {"repository": "mirror/rollback-bot", "digest": "sha256:" + 64 * "a"},
    "imagePullSecrets": [{"name": "pull"}],
    "site": {"configMap": "site"},
    "plans": {"git": {"image": "git-sync:v4.4.0", "repository": "git@git:plans.git", "sshSecret": "deploy-key"}},
    "graceSeconds": 300,
    "priorityClassName": "system-cluster-critical",
    "podAnnotations": {"a/b": "c"},
    "podLabels": {"team": "ops"},
    "env": [{"name": "TZ", "value": "UTC"}],
    "bot": {"replicas": 3, "nodeSelector": {"disk": "ssd"}, "service": {"annotations": {"x/y": "z"}}},
    "zones": [
        {"name": "default", "replicas": 3, "concurrency": 20},
        {
            "name": "DMZ.east",
            "credentialsEnvSecret": "dmz-env",
            "credentialsFileSecret": "dmz-files",
            "backupsClaim": "dmz-backups",
            "serviceAccountName": "dmz",
            "tolerations": [{"key": "dmz", "operator": "Exists"}],
            "affinity": {"nodeAffinity": {}},
            "extraVolumes": [{"name": "ca", "configMap": {"name": "ca"}}],
            "extraVolumeMounts": [{"name": "ca", "mountPath": "/etc/ca"}],
        },
    ],
}
VALUES = pytest.mark.parametrize("values", [PLAIN, FULL], ids=["plain", "full"])


def rendered(values: Json) -> list[Json]:
    """Return the objects that Helm makes of the chart."""
    present("helm_python")
    files = helm.render(CHART, values)
    texts = [text for name, text in sorted(files.items()) if name.endswith(".yaml")]
    return [found for text in texts for found in yaml.safe_load_all(text) if found]


def of_kind(objects: list[Json], kind: str) -> list[Json]:
    """Return the objects of a kind."""
    return [found for found in objects if found["kind"] == kind]


def containers(deployment: Json) -> list[Json]:
    """Return all containers of a deployment's pods, those that run first included."""
    spec = deployment["spec"]["template"]["spec"]
    return [*spec.get("initContainers", []), *spec["containers"]]


@VALUES
@pytest.mark.parametrize("version", KUBERNETES)
def test_chart_makes_what_kubernetes_accepts(values: Json, version: str) -> None:
    """Helm itself renders the chart, and every object fits the strict schema of its version of Kubernetes."""
    validator = real("kubernetes_validate")
    objects = rendered(values)
    assert {"Deployment", "PodDisruptionBudget", "ServiceAccount"} <= {found["kind"] for found in objects}
    for found in objects:
        validator.validate(found, version, strict=True)


@VALUES
def test_helm_finds_no_fault_in_the_chart(values: Json) -> None:
    """`helm lint --strict` has nothing to say but that the chart has no icon."""
    present("helm_python")
    report = helm.lint(CHART, values)
    assert report["errors"] == []
    assert [message["error"] for message in report["messages"]] == ["icon is recommended"]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"store": {"secret": ""}}, "store.secret is missing"),
        ({"slack": {"opsChannel": ""}}, "slack.opsChannel is missing"),
        ({"site": {"inventory": "{}"}}, "give configMap, or both inventory and policy"),
        ({"plans": {}}, "exactly one of configMap, claim and git.repository, not 0"),
        ({"plans": {"claim": "a", "configMap": "b"}}, "exactly one of configMap, claim and git.repository, not 2"),
        ({"plans": {"git": {"repository": "r"}}}, "plans.git.image is missing"),
        ({"zones": [{"name": "a.b"}, {"name": "A-b"}]}, "each needs a name of its own"),
        ({"zones": []}, "minItems"),
        ({"zones": [{"name": "a zone"}]}, "does not match pattern"),
        ({"zones": [{"name": "a", "replcas": 2}]}, "replcas"),
        ({"slack": {"opsChannel": "#ops"}}, "does not match pattern"),
        ({"graceSeconds": "60s"}, "got string, want integer"),
    ],
)
def test_chart_refuses_what_makes_no_sense(change: Json, words: str) -> None:
    """What is missing, contradicts itself or is misspelt is named before anything is installed."""
    with pytest.raises(helm.HelmRefusedError, match=re.escape(words)):
        rendered({**PLAIN, **change})


@VALUES
def test_references_within_the_chart_lead_somewhere(values: Json) -> None:
    """Selectors find their pods, mounts their volumes, probes and services their ports, pods their accounts."""
    objects = rendered(values)
    templates = {found["metadata"]["name"]: found["spec"]["template"] for found in of_kind(objects, "Deployment")}
    for found in of_kind(objects, "PodDisruptionBudget") + of_kind(objects, "Deployment"):
        labels = templates[found["metadata"]["name"]]["metadata"]["labels"].items()
        assert found["spec"]["selector"]["matchLabels"].items() <= labels
        others = [each for name, each in templates.items() if name != found["metadata"]["name"]]
        for other in others:
            assert not found["spec"]["selector"]["matchLabels"].items() <= other["metadata"]["labels"].items()
    accounts = {found["metadata"]["name"] for found in of_kind(objects, "ServiceAccount")} | {"dmz"}
    for template in templates.values():
        volumes = {volume["name"] for volume in template["spec"]["volumes"]}
        assert template["spec"]["serviceAccountName"] in accounts
        for container in [*template["spec"].get("initContainers", []), *template["spec"]["containers"]]:
            assert {mount["name"] for mount in container["volumeMounts"]} <= volumes
    for service in of_kind(objects, "Service"):
        (bot,) = (
            t for t in templates.values() if service["spec"]["selector"].items() <= t["metadata"]["labels"].items()
        )
        ports = {port["name"] for port in bot["spec"]["containers"][0]["ports"]}
        assert {port["targetPort"] for port in service["spec"]["ports"]} <= ports


@VALUES
def test_pods_run_what_the_program_understands(values: Json, monkeypatch: pytest.MonkeyPatch) -> None:
    """Arguments and variables of every pod are read by the program as the chart means them."""
    secret = {"ROLLBACK_DATABASE_URL": "postgresql://bot@db/rollback", "ROLLBACK_INSTANCE": "prod-worker-x2x4z"}
    found = []
    for deployment in of_kind(rendered(values), "Deployment"):
        (process,) = deployment["spec"]["template"]["spec"]["containers"]
        names = {each["name"]: each.get("value") or secret.get(each["name"], "xoxb-1") for each in process["env"]}
        settings = understood({**image_variables(), **names}, process["args"], monkeypatch)
        ports = {port["name"]: port["containerPort"] for port in process["ports"]}
        assert ports["health"] == settings.health_port
        assert ports.get("slack", settings.http_port) == settings.http_port
        assert settings.speaks_slack is settings.role.talks
        assert settings.grace == timedelta(seconds=values.get("graceSeconds", 60))
        found.append((settings.role.value, settings.zone))
    assert found == [
        ("bot", "default"),
        *(("worker", zone["name"]) for zone in values.get("zones", [{"name": "default"}])),
    ]


@VALUES
def test_pods_are_given_the_time_that_they_need(values: Json) -> None:
    """A pod is killed only after the pause, the grace and the time that a process needs besides."""
    for deployment in of_kind(rendered(values), "Deployment"):
        spec = deployment["spec"]["template"]["spec"]
        (process,) = spec["containers"]
        pause = timedelta(seconds=int(process["lifecycle"]["preStop"]["exec"]["command"][1]))
        grace = timedelta(seconds=values.get("graceSeconds", 60))
        assert timedelta(seconds=spec["terminationGracePeriodSeconds"]) >= pause + grace + TO_STOP
        assert deployment["spec"]["strategy"]["rollingUpdate"]["maxUnavailable"] == 0


@VALUES
def test_every_process_is_probed_and_limited(values: Json) -> None:
    """Life asks only for the event loop, readiness for everything; every container has limits and no privileges."""
    for deployment in of_kind(rendered(values), "Deployment"):
        (process,) = deployment["spec"]["template"]["spec"]["containers"]
        asked = {name: process[f"{name}Probe"]["httpGet"]["path"] for name in ("startup", "liveness", "readiness")}
        assert asked == {"startup": LIVE, "liveness": LIVE, "readiness": READY}
        assert deployment["spec"]["template"]["spec"]["securityContext"]["runAsNonRoot"] is True
        for container in containers(deployment):
            assert {"requests", "limits"} <= container["resources"].keys()
            assert container["securityContext"] | {"runAsUser": 0} == {
                "runAsUser": 0,
                "allowPrivilegeEscalation": False,
                "readOnlyRootFilesystem": True,
                "capabilities": {"drop": ["ALL"]},
            }


def test_bots_hold_no_credentials_of_targets() -> None:
    """What opens a target is given to the workers of its zone and to nobody else."""
    secrets: dict[str, set[str]] = {}
    for deployment in of_kind(rendered(FULL), "Deployment"):
        spec = deployment["spec"]["template"]["spec"]
        name = deployment["metadata"]["name"].removeprefix("prod-rollback-bot-")
        files = {volume["secret"]["secretName"] for volume in spec["volumes"] if "secret" in volume}
        sources = [source for each in containers(deployment) for source in each.get("envFrom", [])]
        secrets[name] = files | {source["secretRef"]["name"] for source in sources}
        assert spec["automountServiceAccountToken"] is (name == "worker-dmz-east")
    assert secrets == {
        "bot": {"deploy-key"},
        "worker-default": {"deploy-key"},
        "worker-dmz-east": {"deploy-key", "dmz-env", "dmz-files"},
    }
