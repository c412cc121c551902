"""AWS by moto's server, behind a front that answers what moto cannot."""

from __future__ import annotations

import asyncio
import functools
import http.client
import json
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

import aiohttp
import boto3  # type: ignore[import-untyped]  # boto3 has no types of its own
from aiohttp import web

from tests.support.pgserver import free_port

REGION = "eu-west-1"
ELB = "http://elasticloadbalancing.amazonaws.com/doc/2015-12-01/"
IAM = "https://iam.amazonaws.com/doc/2010-05-08/"
STS = "https://sts.amazonaws.com/doc/2011-06-15/"
_HOP = {"connection", "content-length", "expect", "transfer-encoding"}
_XML = "<{name}Response xmlns='{ns}'><{name}Result>{body}</{name}Result><ResponseMetadata/></{name}Response>"
ROOT = Path(__file__).parents[2]
"""Where a module of the tests is found by its name."""


@contextmanager
def moto_server(log: Path, *, module: str = "moto.server") -> Iterator[int]:
    """Give the port of a moto server of its own process, which runs that module."""
    port = free_port()
    argv = [sys.executable, "-m", module, "-H", "127.0.0.1", "-p", str(port)]
    with log.open("wb") as output:
        process = subprocess.Popen(argv, cwd=ROOT, stdout=output, stderr=output, stdin=subprocess.DEVNULL)
    try:
        until = time.monotonic() + 30
        while time.monotonic() < until:
            assert process.poll() is None, log.read_text()
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    break
            time.sleep(0.02)  # noqa: TID251 - moto tells nobody when it listens
        yield port
    finally:
        process.kill()  # it keeps nothing, and takes seconds to say goodbye
        process.wait(timeout=10)


def tell_moto(port: int, path: str, body: str = "") -> None:
    """Send a request to moto itself."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    connection.request("POST", f"/moto-api/{path}", body=body, headers={"Content-Type": "text/plain"})
    assert connection.getresponse().status == 200
    connection.close()


@dataclass
class Front:
    """An HTTP server before moto: it notes each action, and answers those that a test prepares.

    Attributes:
        url: Its address.
        moto: The port behind it.
        answers: Prepared answers by action, as (namespace, XML) or an HTTP status.
        calls: The actions that came in, with their parameters.
        held: An action that is not answered before `go`.
        arrived: Whether it came in.
    """

    url: str
    moto: int
    answers: dict[str, tuple[str, str] | int] = field(default_factory=dict)
    calls: list[tuple[str, dict[str, str]]] = field(default_factory=list)
    held: str = ""
    arrived: asyncio.Event = field(default_factory=asyncio.Event)
    go: asyncio.Event = field(default_factory=asyncio.Event)

    def actions(self) -> list[str]:
        """Return the actions that came in."""
        return [action for action, _ in self.calls]

    async def handle(self, request: web.Request) -> web.Response:
        """Answer or hand on."""
        body = await request.read()
        sent = {key: values[0] for key, values in parse_qs(body.decode()).items()}
        action = sent.get("Action", "")
        self.calls.append((action, sent))
        if action == self.held:
            self.arrived.set()
            await self.go.wait()
        prepared = self.answers.get(action)
        if isinstance(prepared, int):
            return web.Response(status=prepared)
        if prepared is not None:
            namespace, xml = prepared
            text = _XML.format(name=action, ns=namespace, body=xml)
            return web.Response(text=text, content_type="text/xml")
        return await self._hand_on(request, body)

    async def _hand_on(self, request: web.Request, body: bytes) -> web.Response:
        url = f"http://127.0.0.1:{self.moto}{request.path_qs}"
        # What was signed must arrive as it was, the name of the host included.
        headers = {key: value for key, value in request.headers.items() if key.lower() not in _HOP}
        async with (
            aiohttp.ClientSession() as session,
            session.request(request.method, url, data=body, headers=headers) as answer,
        ):
            return web.Response(body=await answer.read(), status=answer.status, content_type=answer.content_type)


@asynccontextmanager
async def front(moto: int) -> AsyncIterator[Front]:
    """Give a front before moto."""
    port = free_port()
    running = Front(f"http://127.0.0.1:{port}", moto)
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", running.handle)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", port).start()
    try:
        yield running
    finally:
        await runner.cleanup()


@dataclass
class Site:
    """A balancer with a listener and two target groups, blue and green, on moto.

    Attributes:
        front: The way to it.
        listener: Its ARN.
        rule: The ARN of a rule for ``/x``.
        groups: ARNs of target groups by name; ``loose`` is used by nobody.
    """

    front: Front
    listener: str
    rule: str
    groups: dict[str, str]

    def target(self, **more: Any) -> dict[str, Any]:
        """Return the balancer as the inventory names it."""
        named = {"target_groups": self.groups, "rules": {"api": self.rule}, "endpoint_url": self.front.url}
        return {"service": "payments", "flavour": "alb", "listener_arn": self.listener, **named, **more}

    def client(self, service: str) -> Any:
        """Return a client that speaks to moto directly, without the front."""
        return client(self.front.moto, service)

    def weights(self) -> dict[str, int]:
        """Return where the listener forwards to, read without the code under test and without its rights."""
        tell_moto(self.front.moto, "reset-auth", "inf")
        (found,) = self.client("elbv2").describe_listeners(ListenerArns=[self.listener])["Listeners"]
        tell_moto(self.front.moto, "reset-auth", "0")
        return weights_of(found["DefaultActions"], self.groups)

    def rule_weights(self) -> dict[str, int]:
        """Return where the rule forwards to, read in the same way."""
        tell_moto(self.front.moto, "reset-auth", "inf")
        (found,) = self.client("elbv2").describe_rules(RuleArns=[self.rule])["Rules"]
        tell_moto(self.front.moto, "reset-auth", "0")
        return weights_of(found["Actions"], self.groups)

    def act_as(self, actions: list[dict[str, Any]]) -> None:
        """Give the listener other default actions, as an administrator does."""
        tell_moto(self.front.moto, "reset-auth", "inf")
        self.client("elbv2").modify_listener(ListenerArn=self.listener, DefaultActions=actions)
        tell_moto(self.front.moto, "reset-auth", "0")

    def restore(self) -> None:
        """Let listener and rule send everything to blue again."""
        action = forward_to({self.groups["blue"]: 100, self.groups["green"]: 0})
        self.act_as([action])
        tell_moto(self.front.moto, "reset-auth", "inf")
        self.client("elbv2").modify_rule(RuleArn=self.rule, Actions=[action])
        tell_moto(self.front.moto, "reset-auth", "0")


def weights_of(actions: list[dict[str, Any]], groups: dict[str, str]) -> dict[str, int]:
    """Return the weights of the forward action by name."""
    names = {arn: name for name, arn in groups.items()}
    (forward,) = [action for action in actions if action["Type"] == "forward"]
    return {names[g["TargetGroupArn"]]: g["Weight"] for g in forward["ForwardConfig"]["TargetGroups"]}


@functools.cache
def client(moto: int, service: str) -> Any:
    """Return a boto3 client of moto's own account."""
    return boto3.client(
        service,
        region_name=REGION,
        endpoint_url=f"http://127.0.0.1:{moto}",
        aws_access_key_id="testing",
        aws_secret_access_key="testing",
    )


def forward_to(groups: dict[str, int], **more: Any) -> dict[str, Any]:
    """Return a forward action."""
    tuples = [{"TargetGroupArn": arn, "Weight": weight} for arn, weight in groups.items()]
    return {"Type": "forward", "ForwardConfig": {"TargetGroups": tuples, **more}}


def build(moto: int) -> tuple[str, str, dict[str, str]]:
    """Make a balancer that sends everything to blue; return listener, rule and target groups."""
    ec2, elb = client(moto, "ec2"), client(moto, "elbv2")
    vpc = ec2.create_vpc(CidrBlock="10.0.0.0/16")["Vpc"]["VpcId"]
    subnets = [
        ec2.create_subnet(VpcId=vpc, CidrBlock=f"10.0.{n}.0/24", AvailabilityZone=f"{REGION}{zone}")["Subnet"]
        for n, zone in enumerate("ab")
    ]
    ids = [subnet["SubnetId"] for subnet in subnets]
    balancer = elb.create_load_balancer(Name="pay", Subnets=ids)["LoadBalancers"][0]["LoadBalancerArn"]
    groups = {}
    for number, name in enumerate(("blue", "green", "loose")):
        made = elb.create_target_group(Name=name, Protocol="HTTP", Port=80, VpcId=vpc, TargetType="ip")
        groups[name] = made["TargetGroups"][0]["TargetGroupArn"]
        elb.register_targets(TargetGroupArn=groups[name], Targets=[{"Id": f"10.0.0.{number + 5}", "Port": 80}])
    action = forward_to({groups["blue"]: 100, groups["green"]: 0})
    made = elb.create_listener(LoadBalancerArn=balancer, Protocol="HTTP", Port=80, DefaultActions=[action])
    listener = made["Listeners"][0]["ListenerArn"]
    conditions = [{"Field": "path-pattern", "Values": ["/x"]}]
    rule = elb.create_rule(ListenerArn=listener, Conditions=conditions, Priority=5, Actions=[action])
    return listener, rule["Rules"][0]["RuleArn"], groups


def make_user(moto: int) -> dict[str, str]:
    """Make the bot's user, and return the environment with its key."""
    iam = client(moto, "iam")
    iam.create_user(UserName="bot")
    key = iam.create_access_key(UserName="bot")["AccessKey"]
    return {"AWS_ACCESS_KEY_ID": key["AccessKeyId"], "AWS_SECRET_ACCESS_KEY": key["SecretAccessKey"]}


def permit(moto: int, *actions: str) -> None:
    """Give the bot's user a policy of these actions and no others, and let IAM be enforced."""
    tell_moto(moto, "reset-auth", "inf")
    iam = client(moto, "iam")
    statement = {"Effect": "Allow", "Action": list(actions), "Resource": "*"}
    document = json.dumps({"Version": "2012-10-17", "Statement": [statement]})
    iam.put_user_policy(UserName="bot", PolicyName="bot", PolicyDocument=document)
    tell_moto(moto, "reset-auth", "0")


def health_xml(*states: tuple[str, str]) -> str:
    """Return the answer to DescribeTargetHealth for targets of these states and reasons."""
    members = "".join(
        f"<member><Target><Id>10.0.0.{n}</Id><Port>80</Port></Target><TargetHealth><State>{state}</State>"
        f"{f'<Reason>{reason}</Reason>' if reason else ''}</TargetHealth></member>"
        for n, (state, reason) in enumerate(states, 5)
    )
    return f"<TargetHealthDescriptions>{members}</TargetHealthDescriptions>"
