"""One listener of an Application Load Balancer: its actions, its target groups, and the change of its weights."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from actuators.aws import api as aws_api
from actuators.balancer import targets
from actuators.balancer.alb_steps import AlbStep, AlbWeights, shares, short
from actuators.balancer.alb_values import Action, Forward, Health, read_forward, read_health, shifted
from bot.domain.actuation import Context
from bot.domain.arns import Arn, parse_arn
from bot.domain.balancers import same_place
from bot.domain.errors import ActuatorError
from bot.domain.inventory import LoadBalancer

_PROTOCOLS = {"HTTP", "HTTPS"}
_ELB = aws_api.Service("elbv2", "elasticloadbalancing", "docs/actuators/alb.md")


@dataclass(frozen=True)
class Listener:
    """A listener's default action, or one of its rules, open for one step.

    Attributes:
        aws: The AWS API.
        name: The load balancer's name in the inventory.
        arn: The listener.
        rule: The rule's ARN; None: the default action.
        groups: ARNs of target groups by the names of the inventory.
    """

    aws: aws_api.Aws
    name: str
    arn: Arn
    rule: str | None
    groups: Mapping[str, str]

    @property
    def operation(self) -> tuple[str, str]:
        """The call that changes the weights, and the resource that it changes: what the caller must be allowed."""
        return ("ModifyRule", self.rule) if self.rule else ("ModifyListener", self.arn.text)

    def resolve(self, weights: Mapping[str, int]) -> dict[str, int]:
        """Return the weights by ARN.

        Raises:
            ActuatorError: If a name is unknown, two name the same group, or a group lies elsewhere.
        """
        found: dict[str, int] = {}
        for key, weight in weights.items():
            arn = key if key.startswith("arn:") else self.groups.get(key, "")
            if not arn:
                known = f"it has {', '.join(self.groups)}" if self.groups else "it names none"
                raise _wrong(f"{self.name} has no target group {key} in the inventory; {known}.")
            try:
                same_place(self.arn, parse_arn(arn, "targetgroup"), key)
            except ValueError as error:
                raise _wrong(f"{error}.") from None
            if arn in found:
                raise _wrong(f"{key} is named twice.")
            found[arn] = weight
        return found

    def named(self, weights: Mapping[str, int]) -> dict[str, int]:
        """Return weights by the inventory's names, and by ARN for groups that it does not name."""
        names = {arn: name for name, arn in self.groups.items()}
        return {names.get(arn, arn): weight for arn, weight in weights.items()}

    def words(self, weights: Mapping[str, int]) -> str:
        """Write weights by ARN for people."""
        return shares(self.named(weights))

    async def actions(self) -> list[Action]:
        """Read the actions.

        Raises:
            ActuatorError: If there is no such listener or rule, or it cannot be read.
        """
        if self.rule is None:
            answer = await self.aws.read("elbv2", "describe_listeners", ListenerArns=[self.arn.text])
            found = answer.get("Listeners", [])
            key = "DefaultActions"
        else:
            answer = await self.aws.read("elbv2", "describe_rules", RuleArns=[self.rule])
            found = answer.get("Rules", [])
            key = "Actions"
        if len(found) != 1:
            raise _wrong(f"AWS knows {len(found)} of the {'rule' if self.rule else 'listener'} that was asked for.")
        if found[0].get("IsDefault"):
            raise _wrong("The rule is the listener's default one, which only the listener itself can change.")
        return list(found[0].get(key, []))

    async def forward(self) -> Forward:
        """Read where the traffic goes.

        Raises:
            ActuatorError: If it is not forwarded at all, or cannot be read.
        """
        return forwarding(self.name, await self.actions())

    async def health(self, weights: Iterable[str]) -> dict[str, Health]:
        """Read how the targets of groups are."""

        async def one(arn: str) -> tuple[str, Health]:
            answer = await self.aws.read("elbv2", "describe_target_health", TargetGroupArn=arn)
            return arn, read_health(answer.get("TargetHealthDescriptions", []))

        return dict(await asyncio.gather(*(one(arn) for arn in weights)))

    async def fit(self, weights: Iterable[str]) -> None:
        """Check that groups exist, and that this listener can forward to them, before AWS is asked to.

        Raises:
            ActuatorError: If one cannot be used.
        """
        await asyncio.gather(*(self._fit(arn) for arn in weights))

    async def _fit(self, arn: str) -> None:
        answer = await self.aws.read("elbv2", "describe_target_groups", TargetGroupArns=[arn])
        group = next(iter(answer.get("TargetGroups", [])), None)
        if group is None:
            raise _wrong(f"AWS knows no target group {short(arn)}.")
        if group.get("Protocol") not in _PROTOCOLS:
            raise _wrong(f"The target group {short(arn)} takes {group.get('Protocol')}, not HTTP.")
        # A balancer's own part of the name is the same in the listener's and in the balancer's ARN.
        others = [b for b in group.get("LoadBalancerArns", []) if b.split("/")[1:] != list(self.arn.path[:3])]
        if others:
            raise _wrong(
                f"The target group {short(arn)} belongs to another load balancer, {others[0].split('/')[2]}."
            )

    async def shift(self, actions: list[Action], weights: Mapping[str, int], step: AlbWeights) -> None:
        """Send the actions with other weights.

        Raises:
            ActuatorError: With what AWS said.
        """
        sent: Any = shifted(actions, weights, step)
        if self.rule is None:
            await self.aws.change("elbv2", "modify_listener", ListenerArn=self.arn.text, DefaultActions=sent)
        else:
            await self.aws.change("elbv2", "modify_rule", RuleArn=self.rule, Actions=sent)


def forwarding(name: str, actions: list[Action]) -> Forward:
    """Return the forward action.

    Raises:
        ActuatorError: If there is none.
    """
    forward = read_forward(actions)
    if forward is not None:
        return forward
    kinds = ", ".join(str(action.get("Type")) for action in actions) or "nothing"
    raise ActuatorError(
        f"{name} does not forward its traffic, it does {kinds}.",
        untouched="Its actions are as they were.",
        resolution="Name a rule that forwards in the step's `rule`, or let the listener forward again by hand.",
    )


@asynccontextmanager
async def opened(step: AlbStep, context: Context) -> AsyncIterator[Listener]:
    """Open the listener of a step.

    Raises:
        ActuatorError: If the inventory has no such listener or rule.
    """
    balancer = targets.balancer_of(step, context, flavour="alb")
    arn = parse_arn(balancer.listener_arn or "", "listener")
    rule = _rule(step, balancer)
    async with aws_api.connected(
        _ELB, region=arn.region, profile=balancer.profile, endpoint_url=balancer.endpoint_url
    ) as aws:
        yield Listener(aws, step.target, arn, rule, balancer.target_groups or {})


def _rule(step: AlbStep, balancer: LoadBalancer) -> str | None:
    if step.rule is None:
        return None
    rules = balancer.rules or {}
    if step.rule in rules:
        return rules[step.rule]
    known = f"it has {', '.join(rules)}" if rules else "it names none"
    raise _wrong(f"{step.target} has no rule {step.rule} in the inventory; {known}.")


def _wrong(what: str) -> ActuatorError:
    return ActuatorError(
        what, untouched="Nothing was changed.", resolution="Correct the name in the plan or in the inventory."
    )
