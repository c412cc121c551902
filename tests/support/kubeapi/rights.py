"""Who a token belongs to, and what its roles allow."""

from __future__ import annotations

import secrets
from dataclasses import dataclass, field
from typing import Any

from tests.support.kubeapi.kinds import named
from tests.support.kubeapi.store import RefusedError, Store

Json = dict[str, Any]


@dataclass(frozen=True)
class Request:
    """What is to be done to what, as rules speak of it."""

    verb: str
    group: str
    resource: str
    namespace: str = ""
    name: str = ""


@dataclass
class Rights:
    """Tokens and roles.

    Attributes:
        store: Where roles and bindings are kept.
        admin: The token that may do everything.
        tokens: Service accounts by token: (namespace, name).
    """

    store: Store
    admin: str = field(default_factory=lambda: secrets.token_urlsafe(24))
    tokens: dict[str, tuple[str, str]] = field(default_factory=dict)

    def issue(self, namespace: str, account: str) -> str:
        """Return a new token of a service account."""
        token = secrets.token_urlsafe(24)
        self.tokens[token] = (namespace, account)
        return token

    def user(self, token: str) -> str:
        """Return whose token it is.

        Raises:
            RefusedError: If it is nobody's.
        """
        if token == self.admin:
            return "kubernetes-admin"
        if token in self.tokens:
            namespace, account = self.tokens[token]
            return f"system:serviceaccount:{namespace}:{account}"
        raise RefusedError(401, "Unauthorized", "Unauthorized")

    def allows(self, token: str, request: Request) -> bool:
        """Whether a token's roles allow a request."""
        if token == self.admin:
            return True
        namespace, account = self.tokens[token]
        subject = {"kind": "ServiceAccount", "name": account, "namespace": namespace}
        for binding in self.store.all(named("RoleBinding"), request.namespace):
            if any(subject.items() <= each.items() for each in binding.get("subjects") or []):
                role = self.store.get(named("Role"), binding["metadata"]["namespace"], binding["roleRef"]["name"])
                if any(_covers(rule, request) for rule in role.get("rules") or []):
                    return True
        return False

    def demand(self, token: str, request: Request) -> None:
        """Refuse what is not allowed, in the words of the API server."""
        if self.allows(token, request):
            return
        name = f' "{request.name}"' if request.name else ""
        group = f".{request.group}" if request.group else ""
        raise RefusedError(
            403,
            "Forbidden",
            f'{request.resource}{group}{name} is forbidden: User "{self.user(token)}" cannot {request.verb} '
            f'resource "{request.resource}" in API group "{request.group}" in the namespace "{request.namespace}"',
        )


def _covers(rule: Json, request: Request) -> bool:
    names = rule.get("resourceNames")
    return (
        _any(rule.get("verbs"), request.verb)
        and _any(rule.get("apiGroups"), request.group)
        and _any(rule.get("resources"), request.resource)
        and (not names or request.name in names)
    )


def _any(allowed: list[str] | None, wanted: str) -> bool:
    return bool({"*", wanted} & set(allowed or []))
