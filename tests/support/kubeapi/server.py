"""The double's HTTP face: paths, media types, patches, watches, rights and refusals."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from aiohttp import web

from tests.support.kubeapi import discovery, patches, rules, selectors, tls
from tests.support.kubeapi.kinds import Kind, find
from tests.support.kubeapi.rights import Request, Rights
from tests.support.kubeapi.store import RefusedError, Store, clone, slot

Json = dict[str, Any]

_PATH = re.compile(
    r"/(?:api|apis/(?P<group>[^/]+))/(?P<version>v[^/]+)"
    r"(?:/namespaces/(?P<namespace>[^/]+))?/(?P<plural>[a-z]+)(?:/(?P<name>[^/]+))?(?:/(?P<sub>[a-z]+))?"
)
_NAMESPACES = re.compile(r"/api/(?P<version>v1)/(?P<plural>namespaces)(?:/(?P<name>[^/]+))?(?P<sub>)")
_STRATEGIC = "application/strategic-merge-patch+json"
_MERGE = "application/merge-patch+json"
_JSON = "application/json-patch+json"
_REVIEW = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews"
_BOOKMARK_SECONDS = 0.2


@dataclass(frozen=True)
class Where:
    """What a path names."""

    kind: Kind
    namespace: str
    name: str
    sub: str


class Server:
    """Answers requests.

    Args:
        store: The objects.
        rights: Tokens and roles.
    """

    def __init__(self, store: Store, rights: Rights) -> None:
        self.store = store
        self.rights = rights
        self.logs: dict[tuple[str, str], str] = {}
        self.requests: list[tuple[str, str]] = []
        self.interfere: Callable[[str, str], None] = lambda _method, _path: None
        self.hidden: set[str] = set()
        self._epoch = 0

    def app(self) -> web.Application:
        """Return the application."""
        app = web.Application()
        app.router.add_route("*", "/{path:.*}", self._handle)
        return app

    def drop_watches(self) -> None:
        """Break off every watch, as a restart of the API server does."""
        self._epoch += 1
        self.store.poke()

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        self.requests.append((request.method, request.path))
        try:
            token = self.rights.admin if _is_admin(request) else _token(request)
            self.rights.user(token)
            self.interfere(request.method, request.path)
            return await self._answer(request, token)
        except RefusedError as error:
            return web.json_response(status_of(error), status=error.code)
        except patches.PatchError as error:
            refused = RefusedError(400, "BadRequest", str(error))
            return web.json_response(status_of(refused), status=400)

    async def _answer(self, request: web.Request, token: str) -> web.StreamResponse:
        if request.path == _REVIEW and request.method == "POST":
            return web.json_response(self._review(await request.json(), token), status=201)
        found = discovery.answer(request.path, hidden=self.hidden)
        if found is not None:
            return web.json_response(found)
        where = _where(request.path)
        verb = _verb(request, where)
        resource = f"{where.kind.plural}/{where.sub}" if where.sub else where.kind.plural
        name = where.name or _single_name(request.query.get("fieldSelector", ""))
        namespace = where.namespace if where.kind.namespaced else where.name
        self.rights.demand(token, Request(verb, where.kind.group, resource, namespace, name))
        handlers: dict[str, Callable[[web.Request, Where], Awaitable[web.StreamResponse]]] = {
            "get": self._get, "list": self._list, "watch": self._watch, "create": self._create,
            "patch": self._patch, "update": self._update, "delete": self._delete,
        }  # fmt: skip
        return await handlers[verb](request, where)

    def _review(self, body: Json, token: str) -> Json:
        asked = body["spec"]["resourceAttributes"]
        sub = asked.get("subresource")
        resource = f"{asked['resource']}/{sub}" if sub else asked["resource"]
        wanted = Request(
            asked["verb"], asked.get("group", ""), resource, asked.get("namespace", ""), asked.get("name", "")
        )
        return {**body, "status": {"allowed": self.rights.allows(token, wanted)}}

    async def _get(self, request: web.Request, where: Where) -> web.StreamResponse:
        if where.sub == "log":
            return self._log(request, where)
        obj = self.store.get(where.kind, where.namespace, where.name)
        return web.json_response(_as_asked(request, obj))

    def _log(self, request: web.Request, where: Where) -> web.Response:
        pod = self.store.get(where.kind, where.namespace, where.name)
        container = request.query["container"]
        text = self.logs.get((pod["metadata"]["uid"], container))
        if text is None and request.query.get("previous") == "true":
            raise RefusedError(400, "BadRequest", f'previous terminated container "{container}" not found')
        lines = (text or "").splitlines()[-int(request.query.get("tailLines", 10**6)) :]
        return web.Response(text="".join(f"{line}\n" for line in lines))

    async def _list(self, request: web.Request, where: Where) -> web.StreamResponse:
        matches = _selection(request, where.kind)
        items = self.store.all(where.kind, where.namespace, keep=matches)
        for item in items:
            item.pop("apiVersion", None)
            item.pop("kind", None)
        return web.json_response(
            {
                "kind": f"{where.kind.kind}List",
                "apiVersion": where.kind.api_version,
                "metadata": {"resourceVersion": str(self.store.version)},
                "items": items,
            }
        )

    async def _create(self, request: web.Request, where: Where) -> web.StreamResponse:
        body = await _document(request)
        if where.sub == "token":
            token = self.rights.issue(where.namespace, where.name)
            return web.json_response({**body, "status": {"token": token}}, status=201)
        if body.get("kind") != where.kind.kind:
            raise RefusedError(400, "BadRequest", f"the object provided is unrecognized as a {where.kind.kind}")
        rules.admit(body, before=None)
        dry = _dry(request)
        made = self.store.create(where.kind, where.namespace, body, manager=_manager(request), dry=dry)
        return web.json_response(made, status=201)

    async def _update(self, request: web.Request, where: Where) -> web.StreamResponse:
        before = self.store.get(where.kind, where.namespace, where.name)
        return self._write(request, where, before, await _document(request))

    async def _patch(self, request: web.Request, where: Where) -> web.StreamResponse:
        before = self.store.get(where.kind, where.namespace, where.name)
        body = json.loads(await request.text())
        match request.content_type:
            case "application/strategic-merge-patch+json" if not where.kind.custom:
                after = patches.strategic_merge(before, body)
            case "application/merge-patch+json":
                after = patches.json_merge(before, body)
            case "application/json-patch+json":
                after = patches.json_patch(before, body)
            case _:
                accepted = ", ".join(kind for kind in (_JSON, _MERGE) if kind != _STRATEGIC)
                raise RefusedError(
                    415,
                    "UnsupportedMediaType",
                    f"the body of the request was in an unknown format - accepted media types include: {accepted}",
                )
        return self._write(request, where, before, after)

    def _write(self, request: web.Request, where: Where, before: Json, after: Json) -> web.Response:
        rules.admit(after, before=before)
        manager, dry = _manager(request), _dry(request)
        made = self.store.update(where.kind, before, after, manager=manager, subresource=where.sub, dry=dry)
        return web.json_response(made)

    async def _delete(self, request: web.Request, where: Where) -> web.StreamResponse:
        text = await request.text()
        wanted = (json.loads(text).get("preconditions") or {}).get("uid") if text else None
        obj = self.store.get(where.kind, where.namespace, where.name)
        if wanted not in (None, obj["metadata"]["uid"]):
            raise RefusedError(
                409, "Conflict", f"the UID in the precondition ({wanted}) does not match the UID in record"
            )
        if _dry(request):
            return web.json_response(obj)
        if where.kind.kind == "Pod" and "deletionTimestamp" not in obj["metadata"]:
            after = clone(obj)
            after["metadata"]["deletionTimestamp"] = self.store.now()
            return web.json_response(self.store.update(where.kind, obj, after, manager=_manager(request)))
        return web.json_response(self.store.delete(where.kind, where.namespace, where.name))

    async def _watch(self, request: web.Request, where: Where) -> web.StreamResponse:
        matches = _selection(request, where.kind)
        since, epoch = int(request.query["resourceVersion"]), self._epoch
        response = web.StreamResponse(headers={"Content-Type": "application/json"})
        deadline = asyncio.get_running_loop().time() + int(request.query.get("timeoutSeconds", "60"))
        try:
            await response.prepare(request)
            while epoch == self._epoch and asyncio.get_running_loop().time() < deadline:
                if since < self.store.oldest:
                    gone = status_of(RefusedError(410, "Expired", f"too old resource version: {since}"))
                    await _send(response, "ERROR", gone)
                    break
                for event in [e for e in self.store.events if e.version > since and e.kind == slot(where.kind)]:
                    told = _told(event.before, event.after, where.namespace, matches)
                    if told is not None:
                        await _send(response, *told)
                    since = event.version
                since = max(since, self.store.version)
                await self.store.news(_BOOKMARK_SECONDS)
                if request.query.get("allowWatchBookmarks") == "true" and self.store.version == since:
                    mark = {"kind": where.kind.kind, "metadata": {"resourceVersion": str(since)}}
                    await _send(response, "BOOKMARK", mark)
        except ConnectionResetError:
            return response
        if epoch != self._epoch and request.transport is not None:
            request.transport.close()
        return response


def status_of(error: RefusedError) -> Json:
    """Return a refusal as the API server writes it."""
    return {
        "kind": "Status",
        "apiVersion": "v1",
        "status": "Failure",
        "message": error.message,
        "reason": error.reason,
        "code": error.code,
    }


def _token(request: web.Request) -> str:
    return request.headers.get("Authorization", "").partition(" ")[2]


def _is_admin(request: web.Request) -> bool:
    """Whether the client has shown the administrator's certificate."""
    shown = request.get_extra_info("peercert") or {}
    return any(("commonName", tls.ADMIN) in part for part in shown.get("subject", ()))


def _where(path: str) -> Where:
    found = _NAMESPACES.fullmatch(path) or _PATH.fullmatch(path)
    if found is None:
        raise RefusedError(404, "NotFound", "the server could not find the requested resource")
    parts = {key: value or "" for key, value in found.groupdict().items()}
    kind = find(parts.get("group", ""), parts["version"], parts["plural"])
    if kind is None:
        raise RefusedError(404, "NotFound", "the server could not find the requested resource")
    return Where(kind, parts.get("namespace", ""), parts.get("name", ""), parts["sub"])


def _verb(request: web.Request, where: Where) -> str:
    match request.method:
        case "GET" if where.name:
            return "get"
        case "GET":
            return "watch" if request.query.get("watch") in ("true", "1") else "list"
        case "POST":
            return "create"
        case "PUT":
            return "update"
        case "PATCH":
            return "patch"
        case "DELETE" if where.name:
            return "delete"
        case _:
            raise RefusedError(405, "MethodNotAllowed", "the server does not allow this method on the resource")


def _single_name(fields: str) -> str:
    found = re.fullmatch(r"metadata\.name==?([\w.-]+)", fields)
    return found[1] if found else ""


def _selection(request: web.Request, kind: Kind) -> selectors.Matches:
    try:
        labels = selectors.by_labels(request.query.get("labelSelector", ""))
        fields = selectors.by_fields(request.query.get("fieldSelector", ""), known=kind.selectable)
    except ValueError as error:
        raise RefusedError(400, "BadRequest", str(error)) from None
    return lambda obj: labels(obj) and fields(obj)


def _told(
    before: Json | None, after: Json | None, namespace: str, matches: selectors.Matches
) -> tuple[str, Json] | None:
    """Return what a watch with a selector is told of a change; None if it does not see the object at all."""

    def seen(obj: Json | None) -> bool:
        return obj is not None and namespace in ("", obj["metadata"].get("namespace")) and matches(obj)

    if after is not None and seen(after):
        return ("MODIFIED" if seen(before) else "ADDED"), after
    if before is not None and seen(before):
        gone = before if after is None else {**before, "metadata": after["metadata"]}
        return "DELETED", gone
    return None


async def _send(response: web.StreamResponse, kind: str, obj: Json) -> None:
    await response.write(json.dumps({"type": kind, "object": obj}).encode() + b"\n")


async def _document(request: web.Request) -> Json:
    body: Json = json.loads(await request.text())
    return body


def _as_asked(request: web.Request, obj: Json) -> Json:
    if "as=PartialObjectMetadata" in request.headers.get("Accept", ""):
        return {"kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": obj["metadata"]}
    return obj


def _manager(request: web.Request) -> str:
    agent = request.headers.get("User-Agent", "unknown").partition("/")[0]
    return request.query.get("fieldManager") or agent


def _dry(request: web.Request) -> bool:
    asked = request.query.getall("dryRun", [])
    if asked not in ([], ["All"]):
        raise RefusedError(400, "BadRequest", "dryRun: Unsupported value; supported values: All")
    return bool(asked)
