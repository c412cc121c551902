"""views.*: https://docs.slack.dev/reference/methods?family=views."""

from handlers.console import views
from handlers.console.arguments import Arguments
from handlers.console.core import Core
from handlers.console.model import Json, SlackError


def _view(args: Arguments, kind: str) -> Json:
    """Return the view of a call, checked."""
    if "view" not in args:
        raise SlackError("invalid_arguments", ["[ERROR] missing required field: view"])
    view = views.sound(args.json("view", error="invalid_arguments"))
    if view["type"] != kind:
        raise SlackError("invalid_arguments", [f"[ERROR] must be one of: {kind} [json-pointer:/view/type]"])
    return view


async def open_(core: Core, args: Arguments) -> Json:
    """views.open: the view is looked at first, so that a mistake in it does not use up the trigger."""
    trigger_id = args.text("trigger_id")
    view = _view(args, "modal")
    trigger = core.triggers.redeem(trigger_id)
    return {"view": await core.views.open(trigger.user_id, view)}


async def push(core: Core, args: Arguments) -> Json:
    """views.push."""
    trigger_id = args.text("trigger_id")
    view = _view(args, "modal")
    trigger = core.triggers.redeem(trigger_id)
    return {"view": await core.views.push(trigger.user_id, view)}


async def update(core: Core, args: Arguments) -> Json:
    """views.update."""
    view_id, external_id = args.maybe("view_id"), args.maybe("external_id")
    if not (view_id or external_id):
        raise SlackError("invalid_arguments", ["[ERROR] missing required field: view_id"])
    view = _view(args, "modal")
    changed = await core.views.update(view, view_id=view_id, external_id=external_id, hash_=args.maybe("hash"))
    return {"view": changed}


async def publish(core: Core, args: Arguments) -> Json:
    """views.publish."""
    user_id = args.text("user_id")
    view = _view(args, "home")
    if user_id not in core.directory.users:
        raise SlackError("user_not_found")
    return {"view": await core.views.publish(user_id, view, hash_=args.maybe("hash"))}
