"""Open modals, a stack for each user, and each user's App Home."""

import secrets
from typing import Final

from bot.domain import ports
from handlers.console import blockkit, ids
from handlers.console.hub import Hub
from handlers.console.model import APP_ID, BOT_ID, Identity, Json, SlackError

VIEWS: Final = "views"
HOMES: Final = "homes"
# https://docs.slack.dev/surfaces/modals: a stack holds three views at most.
DEPTH: Final = 3


def sound(view: object) -> Json:
    """Return a view that Slack would take, or refuse it as Slack does.

    Raises:
        SlackError: invalid_arguments or view_too_large, with every problem named.
    """
    problems = blockkit.validate_view(view)
    if problems or not isinstance(view, dict):
        raise SlackError(problems[-1].code, blockkit.messages_of(problems))
    return view


class Views:
    """Modals and homes, kept in the document store and told to their user's pages."""

    def __init__(self, *, identity: Identity, store: ports.DocumentStore, clock: ports.Clock, hub: Hub) -> None:
        self._identity = identity
        self._store = store
        self._clock = clock
        self._hub = hub
        self._open: dict[str, Json] = {}
        self._owner: dict[str, str] = {}
        self._homes: dict[str, Json] = {}

    def restore(self, bucket: str, key: str, document: Json) -> None:
        """Take one stored document back at the start."""
        if bucket == HOMES:
            self._homes[key] = document["view"]
        elif bucket == VIEWS:
            self._open[key] = document["view"]
            self._owner[key] = document["user"]

    def stack(self, user_id: str) -> list[Json]:
        """List a user's open modals, the lowest first."""
        mine = [view for key, view in self._open.items() if self._owner[key] == user_id]
        return sorted(mine, key=lambda view: int(view["depth"]))

    def top(self, user_id: str) -> Json | None:
        """Return the modal a user looks at."""
        stack = self.stack(user_id)
        return stack[-1] if stack else None

    def home(self, user_id: str) -> Json | None:
        """Return a user's App Home."""
        return self._homes.get(user_id)

    def find(self, user_id: str, view_id: str) -> Json | None:
        """Return an open modal or the App Home of this user; None for anything else, others' views included."""
        home = self._homes.get(user_id)
        if home is not None and home["id"] == view_id:
            return home
        return self._open.get(view_id) if self._owner.get(view_id) == user_id else None

    async def open(self, user_id: str, view: Json) -> Json:
        """Show a modal in place of whatever the user had open."""
        self._refuse_twin(view)
        for old in self.stack(user_id):
            await self._drop(old["id"])
        return await self._add(user_id, view, below=None)

    async def push(self, user_id: str, view: Json) -> Json:
        """Show a modal on top of the user's open one.

        Raises:
            SlackError: push_limit_reached, or not_found when none is open.
        """
        self._refuse_twin(view)
        stack = self.stack(user_id)
        if not stack:
            raise SlackError("not_found")
        if len(stack) >= DEPTH:
            raise SlackError("push_limit_reached")
        return await self._add(user_id, view, below=stack[-1])

    async def update(self, view: Json, *, view_id: str | None, external_id: str | None, hash_: str | None) -> Json:
        """Change an open modal.

        Raises:
            SlackError: not_found, or hash_conflict when `hash_` is not the view's current one.
        """
        named = [each for each in self._open.values() if external_id and each["external_id"] == external_id]
        old = self._open.get(view_id or "") or (named[0] if named else None)
        if old is None:
            raise SlackError("not_found")
        if hash_ and hash_ != old["hash"]:
            raise SlackError("hash_conflict")
        changed = self._dressed(view, keep=old)
        user_id = self._owner[old["id"]]
        await self._save(user_id, changed)
        self._show(user_id)
        return changed

    async def publish(self, user_id: str, view: Json, *, hash_: str | None) -> Json:
        """Set a user's App Home.

        Raises:
            SlackError: hash_conflict when `hash_` is not the home's current one.
        """
        old = self._homes.get(user_id)
        if hash_ and old is not None and hash_ != old["hash"]:
            raise SlackError("hash_conflict")
        keep = old or {"id": _new_id(), "root": None, "previous_view_id": None, "depth": 0}
        published = self._dressed(view, keep=keep)
        await self._store.put(HOMES, user_id, {"view": published})
        self._homes[user_id] = published
        self._hub.publish("home", {"view": published}, to=[user_id])
        return published

    async def close(self, user_id: str, *, view_id: str | None) -> list[Json]:
        """Close one modal, or all of the user's with None; returns the closed ones, the topmost first."""
        closing = [view for view in reversed(self.stack(user_id)) if view_id in (None, view["id"])]
        for view in closing:
            await self._drop(view["id"])
        self._show(user_id)
        return closing

    def _refuse_twin(self, view: Json) -> None:
        external_id = view.get("external_id")
        if external_id and any(each["external_id"] == external_id for each in self._open.values()):
            raise SlackError("duplicate_external_id")

    async def _add(self, user_id: str, view: Json, *, below: Json | None) -> Json:
        view_id = _new_id()
        keep: Json = {"id": view_id, "root": view_id, "previous_view_id": None, "depth": 0}
        if below is not None:
            keep |= {"root": below["root_view_id"], "previous_view_id": below["id"], "depth": below["depth"] + 1}
        added = self._dressed(view, keep=keep)
        await self._save(user_id, added)
        self._show(user_id)
        return added

    def _dressed(self, view: Json, *, keep: Json) -> Json:
        """Return a view as Slack describes it in payloads (https://docs.slack.dev/reference/views)."""
        given = {key: view.get(key) for key in ("type", "title", "submit", "close")}
        return {
            **given,
            "id": keep["id"],
            "team_id": self._identity.team_id,
            "app_id": APP_ID,
            "bot_id": BOT_ID,
            "app_installed_team_id": self._identity.team_id,
            "blocks": ids.with_ids(view["blocks"]),
            "private_metadata": view.get("private_metadata") or "",
            "callback_id": view.get("callback_id") or "",
            "external_id": view.get("external_id") or "",
            "clear_on_close": bool(view.get("clear_on_close")),
            "notify_on_close": bool(view.get("notify_on_close")),
            "state": {"values": {}},
            "hash": f"{int(self._clock.now().timestamp())}.{secrets.token_hex(4)}",
            "root_view_id": keep.get("root_view_id") or keep.get("root") or keep["id"],
            "previous_view_id": keep["previous_view_id"],
            "depth": keep["depth"],
        }

    async def _save(self, user_id: str, view: Json) -> None:
        await self._store.put(VIEWS, view["id"], {"user": user_id, "view": view})
        self._open[view["id"]] = view
        self._owner[view["id"]] = user_id

    async def _drop(self, view_id: str) -> None:
        await self._store.put(VIEWS, view_id, None)
        self._open.pop(view_id, None)
        self._owner.pop(view_id, None)

    def _show(self, user_id: str) -> None:
        self._hub.publish("views", {"stack": self.stack(user_id)}, to=[user_id])


def _new_id() -> str:
    return f"V{secrets.token_hex(5).upper()}"
