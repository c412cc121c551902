"""Whether the bot may change something, found out without changing it.

Neither Elastic Load Balancing nor RDS has a dry run. What is proven: every call that reads is made for real. What
is not: the call that changes is put to IAM's policy simulator, which knows the policies of the user or role and
those of the organisation, but neither a session's own policy nor the policy of a VPC endpoint
(https://docs.aws.amazon.com/IAM/latest/UserGuide/access_policies_testing-policies.html). Where the bot may not ask
the simulator, only the change itself will tell.
"""

from __future__ import annotations

import re
from typing import Any

from actuators.aws.api import Aws, AwsError
from bot.domain.actuation import Check, Verdict

_ASSUMED = re.compile(r"arn:(aws[a-z-]*):sts::(\d{12}):assumed-role/([^/]+)/.+")
_PRINCIPAL = re.compile(r"arn:aws[a-z-]*:iam::\d{12}:(user|role)/.+")
_ROOT = re.compile(r"arn:aws[a-z-]*:iam::\d{12}:root")


async def may(aws: Aws, operation: str, *resources: str) -> Check:
    """Tell whether the caller may change resources.

    Args:
        aws: The AWS API.
        operation: A call of the service that is acted on, e.g. ``ModifyListener``.
        resources: The ARNs of what is changed; the call must be allowed on all of them.
    """
    action, docs = f"{aws.service.prefix}:{operation}", aws.service.docs
    try:
        caller = str((await aws.read("sts", "get_caller_identity"))["Arn"])
        if _ROOT.fullmatch(caller):
            return _allowed(action, caller, "it is the account's root user")
        principal = await _principal(aws, caller)
        if principal is None:
            return _unproven(action, docs, f"{caller} is neither a user nor a role")
        answer = await aws.read(
            "iam",
            "simulate_principal_policy",
            PolicySourceArn=principal,
            ActionNames=[action],
            ResourceArns=list(resources),
        )
    except AwsError as error:
        return _unproven(action, docs, error.brief)
    refused = _refused(answer.get("EvaluationResults", []), resources)
    if refused is None:
        return _allowed(action, principal, "by IAM's policy simulator")
    words = f"{principal} may not call {action} on {refused[0]} (IAM's policy simulator: {refused[1]})."
    resolution = f"Give the bot's role the policy in {docs}."
    return Check(_subject(action), Verdict.FAIL, f"{words} Nothing was changed.", resolution)


def _refused(results: list[dict[str, Any]], resources: tuple[str, ...]) -> tuple[str, str] | None:
    """Return the first resource on which the call is not allowed, and the decision; None: it is on all of them.

    The simulator answers for each resource, or for all at once with what it decided for each.
    """
    if not results:
        return resources[0], "nothing"
    for result in results:
        inner = [(each["EvalResourceName"], each["EvalResourceDecision"])
                 for each in result.get("ResourceSpecificResults", [])]  # fmt: skip
        for name, decision in ((result.get("EvalResourceName", resources[0]), result["EvalDecision"]), *inner):
            if decision != "allowed":
                return str(name), str(decision)
    return None


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


def _unproven(action: str, docs: str, why: str) -> Check:
    words = f"Reading was done for real; whether {action} is permitted is not proven: {why}"
    resolution = (
        f"Let the bot call iam:SimulatePrincipalPolicy and iam:GetRole on itself ({docs}), or compare its policy"
        " with the one there."
    )
    return Check(_subject(action), Verdict.WARN, words, resolution)
