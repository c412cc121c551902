"""Whether the bot may change a listener, found out without changing it.

Elastic Load Balancing has no dry run. What is proven: every call that reads is made for real. What is not: the call
that changes is put to IAM's policy simulator, which knows the policies of the user or role and those of the
organisation, but neither a session's own policy nor the policy of a VPC endpoint
(https://docs.aws.amazon.com/IAM/latest/UserGuide/access_policies_testing-policies.html). Where the bot may not ask
the simulator, only the switch itself will tell.
"""

from __future__ import annotations

import re

from actuators.balancer.aws import Aws, AwsError
from bot.domain.actuation import Check, Verdict

_ASSUMED = re.compile(r"arn:(aws[a-z-]*):sts::(\d{12}):assumed-role/([^/]+)/.+")
_PRINCIPAL = re.compile(r"arn:aws[a-z-]*:iam::\d{12}:(user|role)/.+")
_ROOT = re.compile(r"arn:aws[a-z-]*:iam::\d{12}:root")
_UNPROVEN = (
    "Let the bot call iam:SimulatePrincipalPolicy and iam:GetRole on itself (docs/actuators/alb.md), or compare its"
    " policy with the one there."
)


async def may(aws: Aws, operation: str, resource: str) -> Check:
    """Tell whether the caller may change a resource.

    Args:
        aws: The AWS API.
        operation: ``ModifyListener`` or ``ModifyRule``.
        resource: The ARN of what is changed.
    """
    action = f"elasticloadbalancing:{operation}"
    try:
        caller = str((await aws.read("sts", "get_caller_identity"))["Arn"])
        if _ROOT.fullmatch(caller):
            return _allowed(action, caller, "it is the account's root user")
        principal = await _principal(aws, caller)
        if principal is None:
            return _unproven(action, f"{caller} is neither a user nor a role")
        answer = await aws.read(
            "iam",
            "simulate_principal_policy",
            PolicySourceArn=principal,
            ActionNames=[action],
            ResourceArns=[resource],
        )
    except AwsError as error:
        return _unproven(action, error.brief)
    decision = next((result["EvalDecision"] for result in answer.get("EvaluationResults", [])), "nothing")
    if decision == "allowed":
        return _allowed(action, principal, "by IAM's policy simulator")
    words = f"{principal} may not call {action} on {resource} (IAM's policy simulator: {decision})."
    resolution = "Give the bot's role the policy in docs/actuators/alb.md."
    return Check(_subject(action), Verdict.FAIL, f"{words} Nothing was changed.", resolution)


async def _principal(aws: Aws, caller: str) -> str | None:
    """Return the user or role whose policies count. A session's name leaves its path out, so IAM tells it."""
    assumed = _ASSUMED.fullmatch(caller)
    if assumed is None:
        return caller if _PRINCIPAL.fullmatch(caller) else None
    try:
        return str((await aws.read("iam", "get_role", RoleName=assumed[3]))["Role"]["Arn"])
    except AwsError as error:
        if not error.denied:
            raise
        return f"arn:{assumed[1]}:iam::{assumed[2]}:role/{assumed[3]}"


def _subject(action: str) -> str:
    return f"Permission {action}"


def _allowed(action: str, who: str, how: str) -> Check:
    return Check(_subject(action), Verdict.OK, f"{who} may call it ({how}); reading was done for real")


def _unproven(action: str, why: str) -> Check:
    words = f"Reading was done for real; whether {action} is permitted is not proven: {why}"
    return Check(_subject(action), Verdict.WARN, words, _UNPROVEN)
