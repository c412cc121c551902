"""Actions of a listener and the health of targets, as values. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any

from actuators.balancer.alb_steps import AlbWeights

Action = Mapping[str, Any]
"""https://docs.aws.amazon.com/elasticloadbalancing/latest/APIReference/API_Action.html"""


@dataclass(frozen=True)
class Forward:
    """Where traffic is forwarded to.

    Attributes:
        weights: The weight of each target group by ARN.
        sticky: For how many seconds clients stay with their group; None: they do not.
    """

    weights: Mapping[str, int]
    sticky: int | None = None

    def traffic(self) -> dict[str, Fraction]:
        """Return the part of the traffic that each group gets; groups without any are left out."""
        total = sum(self.weights.values())
        return {group: Fraction(weight, total) for group, weight in self.weights.items() if weight} if total else {}

    def same_traffic(self, weights: Mapping[str, int]) -> bool:
        """Return whether these weights lead the traffic to the same groups in the same parts."""
        return self.traffic() == Forward(weights).traffic()


def read_forward(actions: Sequence[Action]) -> Forward | None:
    """Return the forward action; None if there is none (a redirect, or a fixed answer)."""
    for action in actions:
        if action.get("Type") != "forward":
            continue
        config = action.get("ForwardConfig") or {}
        groups = config.get("TargetGroups") or [{"TargetGroupArn": action.get("TargetGroupArn"), "Weight": 1}]
        sticky = config.get("TargetGroupStickinessConfig") or {}
        return Forward(
            {group["TargetGroupArn"]: int(group.get("Weight", 1)) for group in groups},
            sticky=int(sticky.get("DurationSeconds") or 0) if sticky.get("Enabled") else None,
        )
    return None


def shifted(actions: Sequence[Action], weights: Mapping[str, int], step: AlbWeights) -> list[dict[str, Any]]:
    """Return the actions with other weights, as they are sent to AWS. All else stays as it was.

    Args:
        actions: As AWS described them; one of them forwards.
        weights: By ARN.
        step: Says what becomes of the stickiness.
    """
    sent: list[dict[str, Any]] = []
    for action in actions:
        if action["Type"] != "forward":
            sent.append(_resent(action))
            continue
        config = action.get("ForwardConfig") or {}
        sticky = dict(config.get("TargetGroupStickinessConfig") or {"Enabled": False})
        if step.stickiness == "off":
            sticky = {"Enabled": False}
        groups = [{"TargetGroupArn": arn, "Weight": weight} for arn, weight in weights.items()]
        forward = {"TargetGroups": groups, "TargetGroupStickinessConfig": sticky}
        order = {"Order": action["Order"]} if "Order" in action else {}
        sent.append({"Type": "forward", **order, "ForwardConfig": forward})
    return sent


def _resent(action: Action) -> dict[str, Any]:
    """Return an action as it may be sent back. AWS does not tell an OIDC client's secret, and keeps it if asked."""
    if action["Type"] != "authenticate-oidc":
        return dict(action)
    config = {key: value for key, value in action["AuthenticateOidcConfig"].items() if key != "ClientSecret"}
    return {**action, "AuthenticateOidcConfig": {**config, "UseExistingClientSecret": True}}


@dataclass(frozen=True)
class Health:
    """How the targets of a group are.

    Attributes:
        states: Number of targets by state: ``healthy``, ``unhealthy``, ``initial``, ``draining``, ``unused`` ...
        reasons: Why targets are not healthy, in AWS's words.
        unwatched: Whether nobody checks them, because no listener uses the group.
    """

    states: Mapping[str, int]
    reasons: tuple[str, ...] = field(default=())
    unwatched: bool = False

    def healthy(self) -> int:
        """Return the number of healthy targets."""
        return self.states.get("healthy", 0)

    def words(self) -> str:
        """Return the health in words: ``2 healthy, 1 unhealthy (Target.Timeout)``."""
        counted = ", ".join(f"{count} {state}" for state, count in self.states.items()) or "no targets"
        return f"{counted} ({'; '.join(self.reasons)})" if self.reasons else counted


def read_health(descriptions: Sequence[Mapping[str, Any]]) -> Health:
    """Read the answer to DescribeTargetHealth."""
    found = [description.get("TargetHealth", {}) for description in descriptions]
    states = Counter(str(health.get("State", "unknown")) for health in found)
    reasons = dict.fromkeys(
        str(health.get("Reason")) for health in found if health.get("State") != "healthy" and health.get("Reason")
    )
    unwatched = bool(found) and all(
        health.get("State") == "unused" and health.get("Reason", "Target.NotInUse") == "Target.NotInUse"
        for health in found
    )
    return Health(dict(states.most_common()), tuple(reasons), unwatched=unwatched)
