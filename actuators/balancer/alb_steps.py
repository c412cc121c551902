"""The steps on a listener of an AWS Application Load Balancer."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, model_validator

from actuators.remedies import Diagnosis
from bot.domain.arns import parse_arn
from bot.domain.inventory import Name
from bot.domain.plan import Step

MOST_GROUPS = 5
"""https://docs.aws.amazon.com/elasticloadbalancing/latest/APIReference/API_ForwardActionConfig.html"""

_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,62}")


def _group(text: str) -> str:
    if text.startswith("arn:"):
        return parse_arn(text, "targetgroup").text
    if not _NAME.fullmatch(text):
        raise ValueError(f"{text[:80]!r} is neither a name of the inventory's `target_groups` nor an ARN")
    return text


GroupKey = Annotated[str, AfterValidator(_group), Field(max_length=256)]
"""A target group: its name in the inventory, or its ARN."""

Weight = Annotated[int, Field(ge=0, le=999)]
"""https://docs.aws.amazon.com/elasticloadbalancing/latest/APIReference/API_TargetGroupTuple.html"""


class AlbStep(Step):
    """A step on the listener's default action, or on one of its rules.

    Attributes:
        rule: The rule's name in the inventory's `rules`; without it, the default action.
    """

    rule: Name | None = None


class AlbWeights(AlbStep):
    """Forward a listener's traffic to target groups by weights.

    Afterwards these groups and no others get traffic. Actions beside the forward (authentication) stay.

    Attributes:
        weights: The weight of each target group, 0..999; at least one gets traffic.
        stickiness: ``off`` ends the target groups' stickiness, which keeps clients with their old group.
        healthy: Healthy targets that each group which is to get traffic must have.
    """

    kind: Literal["alb.weights"] = "alb.weights"
    weights: dict[GroupKey, Weight] = Field(min_length=1, max_length=MOST_GROUPS)
    stickiness: Literal["keep", "off"] = "keep"
    healthy: int = Field(default=1, ge=1)

    @model_validator(mode="after")
    def _somewhere(self) -> AlbWeights:
        if not any(self.weights.values()):
            raise ValueError("with all weights 0 nobody gets traffic; give the side that works a weight")
        return self

    def words(self) -> str:
        """Return the step in words, for people."""
        return self.title or f"Shift {self.target} to {shares(self.weights)}"


class AlbHealth(AlbStep, Diagnosis):
    """Show where a listener forwards to, and how the targets there are."""

    kind: Literal["alb.health"] = "alb.health"

    def words(self) -> str:
        """Return the step in words, for people."""
        return self.title or f"Targets of {self.target}"


def shares(weights: Mapping[str, int]) -> str:
    """Write weights for people: ``green 100, blue 0``; an ARN by the name in it."""
    return ", ".join(f"{short(group)} {weight}" for group, weight in weights.items()) or "no target group"


def short(group: str) -> str:
    """Return the name of a target group for people."""
    return parse_arn(group, "targetgroup").name if group.startswith("arn:") else group
