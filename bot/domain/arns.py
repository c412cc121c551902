"""Names of AWS resources that steps act on.

AWS itself tells a wrong name late and in its own words, and a double of it may tell nothing at all. So they are
read here: https://docs.aws.amazon.com/service-authorization/latest/reference/list_awselasticloadbalancingv2.html
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Annotated

from pydantic import AfterValidator

_ARN = re.compile(
    r"arn:(?P<partition>aws[a-z-]*):elasticloadbalancing:(?P<region>[a-z]{2}[a-z-]*-\d+):(?P<account>\d{12}):"
    r"(?P<kind>listener|listener-rule|targetgroup)/(?P<path>[A-Za-z0-9-]+(?:/[A-Za-z0-9-]+)*)"
)
_PARTS = {"listener": 4, "listener-rule": 5, "targetgroup": 2}
"""Words behind the kind: ``app/NAME/BALANCER/LISTENER``, the same with ``/RULE``, ``NAME/ID``."""
_EXAMPLES = {
    "listener": "arn:aws:elasticloadbalancing:eu-west-1:123456789012:listener/app/NAME/ID/ID",
    "listener-rule": "arn:aws:elasticloadbalancing:eu-west-1:123456789012:listener-rule/app/NAME/ID/ID/ID",
    "targetgroup": "arn:aws:elasticloadbalancing:eu-west-1:123456789012:targetgroup/NAME/ID",
}


@dataclass(frozen=True)
class Arn:
    """The name of a listener, of one of its rules or of a target group.

    Attributes:
        text: The whole name.
        place: Partition, region and account; what acts together has the same.
        region: The region alone.
        account: The account's number.
        path: The words behind the kind.
    """

    text: str
    place: tuple[str, str, str]
    region: str
    account: str
    path: tuple[str, ...]

    @property
    def name(self) -> str:
        """The name that people gave: of the balancer, or of the target group."""
        return self.path[1] if self.path[0] == "app" else self.path[0]


def parse_arn(text: str, kind: str) -> Arn:
    """Read the name of a resource.

    Args:
        text: The name.
        kind: ``listener``, ``listener-rule`` or ``targetgroup``.

    Raises:
        ValueError: If it is no name of that kind; the message shows the accepted form.
    """
    found = _ARN.fullmatch(text)
    path = tuple(found["path"].split("/")) if found else ()
    balanced = kind == "targetgroup" or path[:1] == ("app",)
    if found is None or found["kind"] != kind or len(path) != _PARTS[kind] or not balanced:
        raise ValueError(f"{text[:160]!r} is no ARN of a {kind}; it looks like {_EXAMPLES[kind]}")
    place = (found["partition"], found["region"], found["account"])
    return Arn(text=text, place=place, region=found["region"], account=found["account"], path=path)


def _of(kind: str) -> AfterValidator:
    def check(text: str) -> str:
        return parse_arn(text, kind).text

    return AfterValidator(check)


ListenerArn = Annotated[str, _of("listener")]
"""A listener of an Application Load Balancer."""

RuleArn = Annotated[str, _of("listener-rule")]
"""A rule of such a listener."""

TargetGroupArn = Annotated[str, _of("targetgroup")]
"""A target group."""
