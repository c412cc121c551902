"""alb.weights against moto with IAM enforced; what moto accepts and AWS does not is refused by our own code."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from actuators import balancer
from actuators.balancer import AlbHealth, AlbWeights
from actuators.balancer.alb import AlbWeightsActuator
from actuators.metrics import MetricsSource
from bot.domain.actuation import Check, Context, Fault, Presence, Registry, Verdict
from bot.domain.errors import ActuatorError
from bot.domain.plan import Step
from tests.support import aws
from tests.support.actuation import FakeClock, RealClock, fails, make_context, make_plan
from tests.support.aws import Site

ACTUATOR = AlbWeightsActuator()
REGISTRY = Registry(*balancer.register(MetricsSource({}, clock=RealClock())))
GREEN = AlbWeights(id="switch", target="lb", weights={"green": 100, "blue": 0})
READING = ("elasticloadbalancing:Describe*",)
WHOLE = (*READING, "elasticloadbalancing:ModifyListener", "elasticloadbalancing:ModifyRule")
DECISION = (
    "<EvaluationResults><member><EvalActionName>x</EvalActionName><EvalDecision>{}</EvalDecision></member>"
    "</EvaluationResults><IsTruncated>false</IsTruncated>"
)


@dataclass(frozen=True)
class Account:
    """An account on moto: its port, the bot's key, a listener, a rule and target groups."""

    moto: int
    key: dict[str, str]
    listener: str
    rule: str
    groups: dict[str, str]


@pytest.fixture(scope="module")
def account(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Account]:
    """Give an account with a balancer."""
    with aws.moto_server(tmp_path_factory.mktemp("moto") / "log") as port:
        yield Account(port, aws.make_user(port), *aws.build(port))


@pytest.fixture
async def site(account: Account, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Site]:
    """Give the balancer, and the environment of a user who may do everything that is needed."""
    async with aws.front(account.moto) as front:
        for name in ("AWS_PROFILE", "AWS_SESSION_TOKEN", "AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"):
            monkeypatch.delenv(name, raising=False)
        environment = {"AWS_ENDPOINT_URL": front.url, "AWS_EC2_METADATA_DISABLED": "true"}
        for name, value in {**environment, **account.key}.items():
            monkeypatch.setenv(name, value)
        # The caller may do what is needed, as far as IAM's simulator says; moto has none.
        front.answers["SimulatePrincipalPolicy"] = decision("allowed")
        running = Site(front, account.listener, account.rule, account.groups)
        aws.permit(account.moto, *WHOLE)
        running.restore()
        yield running


def decision(word: str) -> tuple[str, str]:
    """Return an answer of IAM's policy simulator."""
    return aws.IAM, DECISION.format(word)


def world(step: Step, target: dict[str, Any]) -> Context:
    """Return the context of a run of one step."""
    return make_context(make_plan(step), {"load_balancers": {"lb": target}})


def told(checks: tuple[Check, ...], verdict: Verdict) -> str:
    """Return the words of the checks of a verdict."""
    return "\n".join(check.words for check in checks if check.verdict is verdict)


async def test_listener_is_switched_and_read_back(site: Site) -> None:
    """Absent before and present after; the listener forwards as the step says, and a second run is harmless."""
    context = world(GREEN, site.target())
    assert {check.verdict for check in await ACTUATOR.check(GREEN, context)} == {Verdict.OK}
    before = await ACTUATOR.observe(GREEN, context)
    assert (before.presence, before.words) == (Presence.ABSENT, "lb: blue 100, green 0")
    outcome = await ACTUATOR.apply(GREEN, context)
    assert outcome.words == "lb: green 100, blue 0; green: 1 healthy, blue: 1 healthy; before: blue 100, green 0"
    assert outcome.facts["before"] == {"weights": {"blue": 100, "green": 0}, "stickiness": "keep"}
    assert site.weights() == {"green": 100, "blue": 0}
    assert (await ACTUATOR.observe(GREEN, context)).presence is Presence.PRESENT
    again = await ACTUATOR.apply(GREEN, context)
    assert "before" not in again.facts


async def test_the_rest_of_the_listener_stays(site: Site) -> None:
    """Authentication before the forward and stickiness stay, and an OIDC client's secret is left to AWS."""
    oidc = {
        "Issuer": "https://id.example.org", "AuthorizationEndpoint": "https://id.example.org/a",
        "TokenEndpoint": "https://id.example.org/t", "UserInfoEndpoint": "https://id.example.org/u",
        "ClientId": "bot", "ClientSecret": "hunter2",
    }  # fmt: skip
    sticky = {"TargetGroupStickinessConfig": {"Enabled": True, "DurationSeconds": 600}}
    forward = aws.forward_to({site.groups["blue"]: 1}, **sticky)
    actions = [
        {"Type": "authenticate-oidc", "Order": 1, "AuthenticateOidcConfig": oidc},
        {**forward, "Order": 2},
    ]
    site.act_as(actions)
    context = world(GREEN, site.target())
    assert "stay with their group for up to 10 minutes" in told(await ACTUATOR.check(GREEN, context), Verdict.WARN)
    await ACTUATOR.apply(GREEN, context)
    (sent,) = [sent for action, sent in site.front.calls if action == "ModifyListener"]
    prefix = "DefaultActions.member.1.AuthenticateOidcConfig"
    assert sent["DefaultActions.member.1.Type"] == "authenticate-oidc"
    assert sent[f"{prefix}.UseExistingClientSecret"] == "true"
    assert f"{prefix}.ClientSecret" not in sent
    assert sent["DefaultActions.member.2.Order"] == "2"
    stick = "DefaultActions.member.2.ForwardConfig.TargetGroupStickinessConfig"
    assert (sent[f"{stick}.Enabled"], sent[f"{stick}.DurationSeconds"]) == ("true", "600")


async def test_stickiness_is_ended_by_a_remedy(site: Site) -> None:
    """Where clients stick to their group, the remedy sets the same weights without stickiness."""
    sticky = {"TargetGroupStickinessConfig": {"Enabled": True, "DurationSeconds": 600}}
    action = aws.forward_to({site.groups["blue"]: 1}, **sticky)
    site.act_as([action])
    context = world(GREEN, site.target())
    await ACTUATOR.apply(GREEN, context)
    fault = Fault("no effect", presence=Presence.PRESENT)
    found = {remedy.id: remedy.step for remedy in await ACTUATOR.remedies(GREEN, fault, context)}
    assert list(found) == ["target-health", "unstick"]
    step = found["unstick"]
    assert isinstance(step, AlbWeights)
    assert "whatever the weights" in (await apply(found["target-health"], site)).words
    assert (await ACTUATOR.observe(step, context)).presence is Presence.ABSENT
    await ACTUATOR.apply(step, context)
    assert (await ACTUATOR.observe(step, context)).presence is Presence.PRESENT
    assert site.weights() == {"green": 100, "blue": 0}


async def apply(step: Step, site: Site) -> Any:
    """Apply a step."""
    return await REGISTRY.actuator(step).apply(step, world(step, site.target()))


async def test_a_rule_is_switched_alone(site: Site) -> None:
    """A step that names a rule changes that rule, and the default action stays."""
    step = GREEN.model_copy(update={"rule": "api"})
    context = world(step, site.target())
    assert not fails(await ACTUATOR.check(step, context))
    await ACTUATOR.apply(step, context)
    assert (await ACTUATOR.observe(step, context)).presence is Presence.PRESENT
    assert site.rule_weights() == {"green": 100, "blue": 0}
    assert site.weights() == {"blue": 100, "green": 0}


async def test_the_way_back(site: Site) -> None:
    """What the outcome recorded makes a step that brings the earlier weights back."""
    outcome = await apply(GREEN, site)
    back = AlbWeights.model_validate({**GREEN.model_dump(mode="json"), **outcome.facts["before"]})
    await apply(back, site)
    assert site.weights() == {"blue": 100, "green": 0}


async def test_groups_by_arn(site: Site) -> None:
    """A step may name target groups by ARN; the words show their names."""
    step = GREEN.model_copy(update={"weights": {site.groups["green"]: 1}})
    outcome = await ACTUATOR.apply(step, world(step, site.target(target_groups=None)))
    assert outcome.words.startswith("lb: green 1; ")
    assert step.words() == "Shift lb to green 1"


@pytest.mark.parametrize(
    ("target", "words"),
    [
        ({"target_groups": None}, "lb has no target group green in the inventory; it names none"),
        ({"gone": True}, "AWS refused DescribeTargetGroups"),
    ],
)
async def test_unknown_groups_are_refused(site: Site, target: dict[str, Any], words: str) -> None:
    """A group that the inventory or AWS does not know is refused by us; moto would take it."""
    if target.pop("gone", False):
        target["target_groups"] = {**site.groups, "green": site.groups["green"][:-4] + "0000"}
    context = world(GREEN, site.target(**target))
    assert words in fails(await ACTUATOR.check(GREEN, context))
    with pytest.raises(ActuatorError, match=words):
        await ACTUATOR.apply(GREEN, context)
    assert "ModifyListener" not in site.front.actions()


async def test_groups_that_do_not_fit_are_refused(site: Site) -> None:
    """A group of another balancer, another protocol or another account, or one named twice, is refused by us."""
    arn = site.groups["green"]
    group = (
        "<TargetGroups><member><TargetGroupArn>{}</TargetGroupArn><Protocol>{}</Protocol>{}</member></TargetGroups>"
    )
    other = "<LoadBalancerArns><member>arn:aws:elasticloadbalancing:eu-west-1:1:loadbalancer/app/shop/1</member>"
    context = world(GREEN, site.target())
    for answer, words in (
        (group.format(arn, "TCP", ""), "takes TCP, not HTTP"),
        (group.format(arn, "HTTP", f"{other}</LoadBalancerArns>"), "belongs to another load balancer, shop"),
        ("<TargetGroups/>", "AWS knows no target group"),
    ):
        site.front.answers["DescribeTargetGroups"] = (aws.ELB, answer)
        assert words in fails(await ACTUATOR.check(GREEN, context))
    foreign = GREEN.model_copy(update={"weights": {arn.replace("123456789012", "999999999999"): 1}})
    assert "lies in aws eu-west-1 999999999999" in fails(await ACTUATOR.check(foreign, context))
    twice = GREEN.model_copy(update={"weights": {"green": 1, arn: 2}})
    assert "is named twice" in fails(await ACTUATOR.check(twice, context))
    assert "ModifyListener" not in site.front.actions()


@pytest.mark.parametrize(
    ("states", "verdict", "words"),
    [
        ([("unhealthy", "Target.Timeout")], Verdict.FAIL, "1 unhealthy (Target.Timeout); 1 healthy needed"),
        ([], Verdict.FAIL, "no targets"),
        ([("unused", "Target.NotInUse")], Verdict.WARN, "Nobody checks them"),
        ([("healthy", ""), ("initial", "Elb.InitialHealthChecking")], Verdict.OK, "1 healthy, 1 initial"),
    ],
)
async def test_the_standby_must_be_healthy(
    site: Site, states: list[tuple[str, str]], verdict: Verdict, words: str
) -> None:
    """No traffic goes to a group without healthy targets; one that nobody checks is for the plan's own probe."""
    site.front.answers["DescribeTargetHealth"] = (aws.ELB, aws.health_xml(*states))
    context = world(GREEN, site.target())
    assert words in told(await ACTUATOR.check(GREEN, context), verdict)
    if verdict is Verdict.FAIL:
        with pytest.raises(ActuatorError, match="no traffic may be sent there") as caught:
            await ACTUATOR.apply(GREEN, context)
        assert caught.value.untouched == "The weights of lb are as they were: blue 100, green 0."
        assert site.weights() == {"blue": 100, "green": 0}
    else:
        await ACTUATOR.apply(GREEN, context)
        assert site.weights() == {"green": 100, "blue": 0}


async def test_traffic_that_would_be_cut_off_is_told(site: Site) -> None:
    """A group that has traffic now and that the step does not name is a warning."""
    step = GREEN.model_copy(update={"weights": {"green": 1}})
    assert "does not name blue 100" in told(await ACTUATOR.check(step, world(step, site.target())), Verdict.WARN)


async def test_a_listener_that_does_not_forward(site: Site) -> None:
    """A redirect has no weights: refused, with what the listener does instead."""
    redirect = {"Type": "redirect", "RedirectConfig": {"Protocol": "HTTPS", "StatusCode": "HTTP_301"}}
    site.act_as([redirect])
    with pytest.raises(ActuatorError, match="does not forward its traffic, it does redirect"):
        await apply(GREEN, site)


async def test_missing_rights_are_found_before_the_switch(site: Site) -> None:
    """IAM's simulator says no: the check fails, and nothing was changed to find out."""
    aws.permit(site.front.moto, *READING)
    site.front.answers["SimulatePrincipalPolicy"] = decision("implicitDeny")
    context = world(GREEN, site.target())
    failed = fails(await ACTUATOR.check(GREEN, context))
    assert "user/bot may not call elasticloadbalancing:ModifyListener" in failed
    assert "docs/actuators/alb.md" in failed
    assert not [action for action in site.front.actions() if action.startswith("Modify")]
    (asked,) = [sent for action, sent in site.front.calls if action == "SimulatePrincipalPolicy"]
    assert asked["PolicySourceArn"] == "arn:aws:iam::123456789012:user/bot"
    assert asked["ResourceArns.member.1"] == site.listener
    with pytest.raises(ActuatorError, match=r"AWS refused ModifyListener: .*not authorized") as caught:
        await ACTUATOR.apply(GREEN, context)
    assert not caught.value.transient
    assert site.weights() == {"blue": 100, "green": 0}


async def test_without_the_simulator_nothing_is_claimed(site: Site) -> None:
    """Where the bot may not ask the simulator, a warning says that only reading is proven."""
    del site.front.answers["SimulatePrincipalPolicy"]
    warned = told(await ACTUATOR.check(GREEN, world(GREEN, site.target())), Verdict.WARN)
    assert (
        "Reading was done for real; whether elasticloadbalancing:ModifyListener is permitted is not proven"
        in warned
    )
    assert "SimulatePrincipalPolicy" in warned


async def test_a_role_is_asked_for_by_its_whole_name(site: Site) -> None:
    """A session's name lacks its role's path: IAM tells it, and without that right the name alone is used."""
    session = "<Arn>arn:aws:sts::123456789012:assumed-role/bot/worker-1</Arn><Account>123456789012</Account>"
    site.front.answers["GetCallerIdentity"] = (aws.STS, session)
    role = (
        "<Role><Path>/ops/</Path><RoleName>bot</RoleName><Arn>arn:aws:iam::123456789012:role/ops/bot</Arn></Role>"
    )
    site.front.answers["GetRole"] = (aws.IAM, role)
    context = world(GREEN, site.target())
    assert "role/ops/bot may call it" in told(await ACTUATOR.check(GREEN, context), Verdict.OK)
    del site.front.answers["GetRole"]
    assert "role/bot may call it" in told(await ACTUATOR.check(GREEN, context), Verdict.OK)
    site.front.answers["GetCallerIdentity"] = (aws.STS, "<Arn>arn:aws:sts::123456789012:federated-user/x</Arn>")
    assert "neither a user nor a role" in told(await ACTUATOR.check(GREEN, context), Verdict.WARN)
    site.front.answers["GetCallerIdentity"] = (aws.STS, "<Arn>arn:aws:iam::123456789012:root</Arn>")
    assert "root user" in told(await ACTUATOR.check(GREEN, context), Verdict.OK)


async def test_unknown_callers_and_missing_credentials(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """A wrong key is told as one, and so is none; no key stands in the words."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIAIOSFODNN7WRONGKEY")
    context = world(GREEN, site.target())
    failed = fails(await ACTUATOR.check(GREEN, context))
    assert "Renew the credentials" in failed
    assert "WRONGKEY" not in failed
    assert (await ACTUATOR.observe(GREEN, context)).presence is Presence.UNKNOWN
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    assert "There are no credentials for AWS" in fails(await ACTUATOR.check(GREEN, context))
    profile = world(GREEN, site.target(profile="nobody"))
    assert "nobody" in fails(await ACTUATOR.check(GREEN, profile))


async def test_no_way_to_aws(site: Site) -> None:
    """An address where nobody listens is a passing error and an unknown outcome."""
    context = world(GREEN, site.target(endpoint_url="http://127.0.0.1:9"))
    seen = await ACTUATOR.observe(GREEN, context)
    assert seen.presence is Presence.UNKNOWN
    with pytest.raises(ActuatorError, match="AWS gave no answer to DescribeListeners") as caught:
        await ACTUATOR.apply(GREEN, context)
    assert caught.value.transient


async def test_a_change_is_sent_once(site: Site) -> None:
    """A change that AWS answers with an error of its own is not repeated behind the engine's back."""
    site.front.answers["ModifyListener"] = 503
    with pytest.raises(ActuatorError, match=r"AWS gave no answer to ModifyListener: .*HTTP 503") as caught:
        await apply(GREEN, site)
    assert caught.value.transient
    assert site.front.actions().count("ModifyListener") == 1


async def test_a_change_that_does_not_show_is_no_success(site: Site) -> None:
    """AWS takes the weights and tells the old ones: somebody else owns the listener, and the step says so."""
    site.front.answers["ModifyListener"] = (aws.ELB, "<Listeners/>")
    context = make_context(make_plan(GREEN), {"load_balancers": {"lb": site.target()}}, clock=FakeClock())
    with pytest.raises(ActuatorError, match="took the weights of lb and still tells blue 100, green 0"):
        await ACTUATOR.apply(GREEN, context)
    sticky = {"TargetGroupStickinessConfig": {"Enabled": True, "DurationSeconds": 600}}
    site.act_as([aws.forward_to({site.groups["green"]: 1}, **sticky)])
    unstick = GREEN.model_copy(update={"stickiness": "off"})
    with pytest.raises(ActuatorError, match="still tells green 1, and clients stay with their group"):
        await ACTUATOR.apply(unstick, context)


async def test_a_change_under_way_is_awaited_when_cancelled(site: Site) -> None:
    """A cancelled step does not end before its change has, so that the next look sees what became of it."""
    site.front.held = "ModifyListener"
    switching = asyncio.get_running_loop().create_task(apply(GREEN, site))
    await site.front.arrived.wait()
    switching.cancel()
    await asyncio.wait({switching}, timeout=0.05)
    assert not switching.done()
    site.front.go.set()
    with pytest.raises(asyncio.CancelledError):
        await switching
    assert site.weights() == {"green": 100, "blue": 0}


async def test_table_of_the_targets(site: Site) -> None:
    """The diagnosis shows weight, part of the traffic and health of each group."""
    step = AlbHealth(id="health", target="lb")
    outcome = await apply(step, site)
    assert outcome.output.splitlines() == [
        "target group  weight  traffic  targets",
        "blue          100     100%     1 healthy",
        "green         0       none     1 healthy",
    ]
    assert "look behind the balancer (DNS, CDN)" in outcome.words
    site.front.answers["DescribeTargetHealth"] = (
        aws.ELB,
        aws.health_xml(("unhealthy", "Target.FailedHealthChecks")),
    )
    assert "blue gets traffic and has no healthy target" in (await apply(step, site)).words
    assert not fails(await REGISTRY.actuator(step).check(step, world(step, site.target())))


async def test_unknown_listener_and_rule(site: Site) -> None:
    """A listener that AWS does not know and a rule that the inventory does not name are told."""
    listed = "<Rules><member><RuleArn>{}</RuleArn><IsDefault>true</IsDefault></member></Rules>"
    site.front.answers["DescribeRules"] = (aws.ELB, listed.format(site.rule))
    api = GREEN.model_copy(update={"rule": "api"})
    assert "the listener's default one" in fails(await ACTUATOR.check(api, world(api, site.target())))
    gone = world(GREEN, site.target(listener_arn=site.listener[:-4] + "0000", rules=None))
    assert "ListenerNotFound" in fails(await ACTUATOR.check(GREEN, gone))
    step = GREEN.model_copy(update={"rule": "shop"})
    assert "no rule shop in the inventory; it has api" in fails(
        await ACTUATOR.check(step, world(step, site.target()))
    )
