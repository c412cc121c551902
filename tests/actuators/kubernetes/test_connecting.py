"""Credentials: kubeconfigs of every kind, the pod's own, and clear words for what cannot be used."""

from __future__ import annotations

import base64
import os
import socket
import stat
import sys
import tempfile
from pathlib import Path
from typing import Any

import pytest
import yaml
from aiohttp import web

from actuators.kubernetes import DeletePods, PodRef, Pods, Resume, Rollback, SetImage, Suspend, connection
from actuators.kubernetes.connection import opened
from actuators.kubernetes.resources import DEPLOYMENT
from actuators.mesh import Backend, Destination, GatewayWeights, MeshSubset, MeshWeights
from bot.domain.actuation import Context, Fault, KnowsRemedies, Presence, Verdict
from bot.domain.errors import ActuatorError
from bot.domain.plan import Step
from tests.support.actuation import make_context, make_plan
from tests.support.kubeapi.place import OLD, REGISTRY, Place, write
from tests.support.kubeapi.tls import certificates

STEP = Pods(id="look", target="shop", workload="deployment/web")


def context(place: Place, **cluster: Any) -> Context:
    """Return a run whose target is reached in a way of its own."""
    target = {"service": "shop", "namespace": place.namespace, **cluster}
    return make_context(make_plan(STEP), {"clusters": {"shop": target}})


async def version(where: Context) -> str:
    """Return what the cluster answers."""
    async with opened(STEP, where) as api:
        await api.get(DEPLOYMENT, "web")
        return await api.version()


@pytest.fixture
async def own(place: Place) -> Place:
    """A namespace of the double with something to read."""
    if place.double is None:
        pytest.skip("the credentials are those of the double")
    await place.deploy("deployment/web", OLD)
    return place


async def test_client_certificate(own: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """Certificate and key that stand in the kubeconfig are used, and leave no file behind."""
    made = certificates()
    user = {
        "client-certificate-data": base64.b64encode(made.admin).decode(),
        "client-key-data": base64.b64encode(made.admin_key).decode(),
    }
    folder = own.folder / "temporary"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    await version(context(own, kubeconfig={"file": str(own.as_user("certificate", user))}))
    assert not any(folder.iterdir())


async def test_files_beside_the_kubeconfig(own: Place) -> None:
    """Relative paths are those of the kubeconfig's folder, whatever the bot's own."""
    made = certificates()
    (own.folder / "client.crt").write_bytes(made.admin)
    (own.folder / "client.key").write_bytes(made.admin_key)
    path = own.as_user("files", {"client-certificate": "client.crt", "client-key": "client.key"})
    await version(context(own, kubeconfig={"file": str(path)}))


async def test_credential_plugin(own: Place) -> None:
    """A program that prints a token, as managed clusters have it, is run from the kubeconfig's folder."""
    assert own.double is not None
    credential = {
        "apiVersion": "client.authentication.k8s.io/v1",
        "kind": "ExecCredential",
        "status": {"token": own.double.rights.admin},
    }
    (own.folder / "bin").mkdir()
    program = own.folder / "bin" / "token"
    program.write_text(f"#!{sys.executable}\nprint({str(credential)!r}.replace(\"'\", '\"'))\n")
    program.chmod(0o700)
    plugin = {"apiVersion": "client.authentication.k8s.io/v1", "command": "bin/token", "args": []}
    await version(context(own, kubeconfig={"file": str(own.as_user("plugin", {"exec": plugin}))}))


async def test_credential_plugin_that_gives_nothing(own: Place) -> None:
    """A plugin that fails is not taken for an anonymous login."""
    plugin = {"apiVersion": "client.authentication.k8s.io/v1", "command": "false"}
    path = own.as_user("plugin", {"exec": plugin})
    with pytest.raises(ActuatorError, match="its credential plugin gave neither a token nor a certificate"):
        await version(context(own, kubeconfig={"file": str(path)}))


async def test_kubeconfig_in_an_environment_variable(own: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """The whole kubeconfig may be a secret of the environment."""
    monkeypatch.setenv("SHOP_KUBECONFIG", own.kubeconfig.read_text())
    await version(context(own, kubeconfig={"env": "SHOP_KUBECONFIG"}))


async def test_context_is_chosen(own: Place) -> None:
    """The inventory may name another context than the current one; one that is not there is refused."""
    document = yaml.safe_load(own.kubeconfig.read_text())
    document["current-context"] = "elsewhere"
    path = write(own.folder / "contexts", document)
    await version(context(own, kubeconfig={"file": str(path)}, context="double"))
    with pytest.raises(ActuatorError, match=r"Expected object with name nowhere in .*contexts"):
        await version(context(own, kubeconfig={"file": str(path)}, context="nowhere"))


async def test_pods_own_service_account(own: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a kubeconfig the bot's own pod has the credentials."""
    assert own.double is not None
    folder = own.folder / "serviceaccount"
    folder.mkdir()
    (folder / "token").write_text(own.double.rights.admin)
    (folder / "ca.crt").write_bytes(certificates().authority)
    monkeypatch.setattr(connection, "SERVICE_ACCOUNT", folder)
    host, _, port = own.double.url.removeprefix("https://").partition(":")
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", host)
    monkeypatch.setenv("KUBERNETES_SERVICE_PORT", port)
    await version(context(own))


async def test_no_service_account(place: Place) -> None:
    """Outside a cluster that is said, with what to do."""
    where = context(place)
    if "KUBERNETES_SERVICE_HOST" in os.environ:
        pytest.skip("this test runs in a cluster")
    with pytest.raises(
        ActuatorError, match="pod's service account cannot be used: Service host/port is not set"
    ) as e:
        await version(where)
    assert "Name a `kubeconfig`" in e.value.resolution
    actuator = REGISTRY.actuator(STEP)
    (check,) = await actuator.check(STEP, where)
    assert check.verdict is Verdict.FAIL
    assert "Nothing was contacted." in check.words


@pytest.mark.parametrize(
    "text", ["a: [", "just text", "contexts: []", "current-context: a\ncontexts: {}\nclusters: 3", "[1, 2]"]
)
async def test_kubeconfig_that_is_none(place: Place, text: str) -> None:
    """Whatever is wrong with it is one sentence, without its contents."""
    path = place.folder / "broken"
    path.touch(mode=0o600)
    path.write_text(text)
    with pytest.raises(ActuatorError, match=r"credentials from file .*broken cannot be used") as caught:
        await version(context(place, kubeconfig={"file": str(path)}))
    assert "just text" not in str(caught.value)


async def test_kubeconfig_that_others_can_read(place: Place) -> None:
    """A kubeconfig that is open to others is refused as every secret is."""
    path = place.folder / "open"
    path.write_text(place.kubeconfig.read_text())
    path.chmod(stat.S_IRUSR | stat.S_IRGRP)
    with pytest.raises(ActuatorError, match="is open to group or others"):
        await version(context(place, kubeconfig={"file": str(path)}))


async def test_refused_token(own: Place) -> None:
    """A token that is not accepted is a failed check and an unknown effect, not a crash."""
    path = own.as_user("stranger", {"token": "swordfish"})
    where = context(own, kubeconfig={"file": str(path)})
    step = Rollback(id="back", target="shop", workload="deployment/web", revision=1)
    checks = await REGISTRY.actuator(step).check(step, where)
    assert checks[-1].verdict is Verdict.FAIL
    assert "Unauthorized (HTTP 401)" in checks[-1].words
    assert "Renew the credentials" in checks[-1].resolution
    assert "swordfish" not in str(checks)


@pytest.mark.parametrize(
    "step",
    [
        Rollback(id="back", target="shop", workload="deployment/web", revision=1),
        SetImage(id="image", target="shop", workload="deployment/web", images={"app": f"web@sha256:{'0' * 64}"}),
        DeletePods(id="pods", target="shop", workload="deployment/web", pods=(PodRef(name="web-1", uid="1"),)),
        Suspend(id="hold", target="shop", owner="application/web"),
        Resume(id="resume", target="shop", owner="application/web"),
        MeshWeights(
            id="mesh", target="shop", virtual_service="web", destinations=(Destination(host="a", weight=100),)
        ),
        MeshSubset(id="subset", target="shop", destination_rule="web", subset="a", labels={"a": "b"}),
        GatewayWeights(id="gateway", target="shop", route="web", backends=(Backend(name="a", port=1, weight=1),)),
    ],
    ids=lambda step: step.kind,
)
async def test_cluster_that_cannot_be_looked_at(step: Step, tmp_path: Path) -> None:
    """Every step answers UNKNOWN and a failed check, with the reason; remedies that need it are left out."""
    where = {"clusters": {"shop": {"service": "shop", "kubeconfig": {"file": str(tmp_path / "none")}}}}
    context = make_context(make_plan(step), where)
    actuator = REGISTRY.actuator(step)
    seen = await actuator.observe(step, context)
    assert seen.presence is Presence.UNKNOWN
    assert "cannot be read: No such file or directory" in seen.words
    (check,) = await actuator.check(step, context)
    assert check.verdict is Verdict.FAIL
    assert "Nothing was contacted." in check.words
    if isinstance(actuator, KnowsRemedies):
        found = await actuator.remedies(step, Fault("it failed"), context)
        assert all(remedy.step.reads_only for remedy in found)


async def test_server_that_does_not_answer(own: Place) -> None:
    """Nothing listens: a passing fault, told with the address."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
    document = yaml.safe_load(own.kubeconfig.read_text())
    document["clusters"][0]["cluster"]["server"] = f"https://127.0.0.1:{port}"
    path = write(own.folder / "dead", document)
    with pytest.raises(ActuatorError, match=r"did not tell its version: no connection") as caught:
        await version_only(context(own, kubeconfig={"file": str(path)}))
    assert caught.value.transient


async def version_only(where: Context) -> str:
    """Return the version alone."""
    async with opened(STEP, where) as api:
        return await api.version()


async def test_certificate_that_is_not_trusted(own: Place) -> None:
    """Another authority signs the server: nothing is sent, and it is no passing fault."""
    document = yaml.safe_load(own.kubeconfig.read_text())
    del document["clusters"][0]["cluster"]["certificate-authority-data"]
    path = write(own.folder / "untrusted", document)
    with pytest.raises(ActuatorError, match="its certificate is not trusted") as caught:
        await version_only(context(own, kubeconfig={"file": str(path)}))
    assert not caught.value.transient
    assert "certificate authority" in caught.value.resolution


async def test_target_that_is_no_cluster() -> None:
    """A step on another kind of target says what it needs."""
    endpoint = {"endpoints": {"shop": {"service": "shop", "url": "http://127.0.0.1:1"}}}
    where = make_context(make_plan(STEP), endpoint)
    with pytest.raises(ActuatorError, match="shop is no cluster"):
        await version(where)
    with pytest.raises(ActuatorError, match="shop is not in the inventory"):
        await version(make_context(make_plan(STEP), {}))


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        ((200, "<html>sign in</html>"), "did not tell its version: what it answers is no JSON"),
        ((502, "<html>bad gateway</html>"), "refused to tell its version: <html>bad gateway</html> (HTTP 502)"),
        ((500, '"oops"'), "refused to tell its version: oops (HTTP 500)"),
        ((401, '{"message": "token=swordfish is no good"}'), "refused to tell its version: token=*** (HTTP 401)"),
    ],
)
async def test_what_answers_is_no_api_server(place: Place, answer: tuple[int, str], words: str) -> None:
    """A proxy before the cluster may answer anything: it is said, redacted, and tried again where it may pass."""
    status, text = answer

    async def handle(_: web.Request) -> web.Response:
        return web.Response(status=status, text=text)

    app = web.Application()
    app.router.add_route("*", "/{path:.*}", handle)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    cluster = {"name": "proxy", "cluster": {"server": f"http://127.0.0.1:{runner.addresses[0][1]}"}}
    context_of = {"name": "proxy", "context": {"cluster": "proxy", "user": ""}}
    document = {"clusters": [cluster], "contexts": [context_of], "current-context": "proxy", "users": []}
    path = write(place.folder / "proxy", document)
    try:
        with pytest.raises(ActuatorError) as caught:
            await version_only(context(place, kubeconfig={"file": str(path)}))
    finally:
        await runner.cleanup()
    assert words in caught.value.brief
    assert caught.value.transient is (status != 401)
