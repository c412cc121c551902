"""Who sent a payload, and by which delivery. Pure.

Slack may deliver a payload more than once (a late acknowledgement, a Socket Mode reconnect), to any replica. Each
has an id that is the same whenever it is delivered again and differs for whatever a person does anew:

- a command: its `trigger_id`, which Slack makes for each time somebody presses Return;
- a click: `action_ts`, which is the moment of the click, with the person, the button and where it stands;
- a submitted modal: the view's id and hash. A view is obeyed once: the same view sent by two presses of Return,
  each with a trigger of its own, is still one decision.
"""

from __future__ import annotations

from typing import Any

from bot.engine.service import Actor
from handlers.slack.tickets import Body


def user_of(body: Body) -> str:
    """Return the user id of the person behind a payload of any kind; empty if there is none."""
    for place in (body.get("user"), body.get("event")):
        if isinstance(place, dict):
            found = place.get("id") or place.get("user")
            return found if isinstance(found, str) else ""
    return str(body.get("user_id") or "")


def team_of(body: Body) -> str:
    """Return the team id of the person behind a payload, the workspace's if Slack does not tell the person's."""
    person, team = body.get("user"), body.get("team")
    own = person.get("team_id") if isinstance(person, dict) else None
    return str(own or body.get("team_id") or (team.get("id") if isinstance(team, dict) else "") or "")


def of_command(body: Body) -> Actor:
    """Return who typed the command, and its delivery."""
    return _actor(body, "command", body.get("trigger_id"))


def of_click(body: Body) -> Actor:
    """Return who clicked, and the delivery of the click."""
    action, container = body["actions"][0], body.get("container") or {}
    where = container.get("message_ts") or container.get("view_id")
    return _actor(body, "click", action.get("action_ts"), action.get("action_id"), where)


def of_view(body: Body) -> Actor:
    """Return who submitted a modal, and the delivery."""
    return _actor(body, "view", body["view"].get("id"), body["view"].get("hash"))


def _actor(body: Body, kind: str, *parts: Any) -> Actor:
    person = user_of(body)
    return Actor(user=person, delivery=":".join(str(part) for part in (kind, team_of(body), person, *parts)))
