"""Read the arguments of a Web API call, from a query, a form or JSON, as Slack does."""

import json
from typing import Any

from aiohttp import web

from handlers.console import blockkit, ids
from handlers.console.model import Json, SlackError


class Arguments:
    """The arguments of one call."""

    def __init__(self, values: Json, *, base_url: str = "") -> None:
        self.values = values
        self.base_url = base_url

    def __contains__(self, name: str) -> bool:
        return self.values.get(name) is not None

    def text(self, name: str) -> str:
        """Return a required string.

        Raises:
            SlackError: invalid_arguments, naming the missing field.
        """
        value = self.maybe(name)
        if not value:
            raise SlackError("invalid_arguments", [f"[ERROR] missing required field: {name}"])
        return value

    def maybe(self, name: str) -> str | None:
        """Return an optional string; forms carry numbers as strings, JSON may carry either."""
        value = self.values.get(name)
        if isinstance(value, bool) or not isinstance(value, str | int | float | None):
            raise SlackError("invalid_arguments", [f"[ERROR] must be a string [json-pointer:/{name}]"])
        return None if value is None else str(value)

    def flag(self, name: str) -> bool:
        """Return a boolean; absent is false."""
        return str(self.values.get(name, "")).lower() in {"true", "1"}

    def limit(self, *, default: int, most: int) -> int:
        """Return the page size of a paginated method.

        Raises:
            SlackError: invalid_limit.
        """
        given = self.maybe("limit")
        if given is None:
            return default
        if not given.isdecimal() or not 1 <= int(given) <= most:
            raise SlackError("invalid_limit")
        return int(given)

    def json(self, name: str, *, error: str) -> Any:
        """Return a value that forms carry as a JSON string.

        Raises:
            SlackError: `error`, when the string is no JSON.
        """
        value = self.values.get(name)
        if not isinstance(value, str):
            return value
        try:
            return json.loads(value) if value else None
        except ValueError:
            raise SlackError(error) from None

    def blocks(self) -> list[Json] | None:
        """Return the blocks as they were sent, unchecked but for being an array.

        Raises:
            SlackError: invalid_blocks_format.
        """
        blocks = self.json("blocks", error="invalid_blocks_format")
        if not isinstance(blocks, list | None):
            raise SlackError("invalid_blocks_format")
        return blocks

    def content(self, *, updating: bool = False) -> Json:
        """Return text and blocks of a message that Slack would take, ids filled in.

        Raises:
            SlackError: no_text, msg_too_long, invalid_blocks, msg_blocks_too_long, with every problem named.
        """
        text, blocks = self.maybe("text"), self.blocks()
        refuse(blockkit.validate_message(blocks, text=text, updating=updating))
        content: Json = {} if text is None else {"text": text}
        return content if blocks is None else {**content, "blocks": ids.with_ids(blocks)}

    def metadata(self) -> Json | None:
        """Return a message's metadata (https://docs.slack.dev/messaging/message-metadata).

        Raises:
            SlackError: invalid_metadata_format, invalid_metadata_schema or metadata_too_large.
        """
        metadata = self.json("metadata", error="invalid_metadata_format")
        if metadata is None:
            return None
        if not isinstance(metadata, dict):
            raise SlackError("invalid_metadata_format")
        if metadata and not (
            isinstance(metadata.get("event_type"), str) and isinstance(metadata.get("event_payload"), dict)
        ):
            raise SlackError("invalid_metadata_schema")
        if len(json.dumps(metadata)) > 16_000:  # noqa: PLR2004 - Slack's 16 KB, used only here
            raise SlackError("metadata_too_large")
        return metadata


def refuse(problems: list[blockkit.Problem]) -> None:
    """Raise the first problem's error with every problem of that code named; do nothing when there is none.

    Raises:
        SlackError: With Slack's error code and `response_metadata.messages`.
    """
    if problems:
        code = problems[0].code
        raise SlackError(code, blockkit.messages_of([each for each in problems if each.code == code]))


async def read(request: web.Request) -> Json:
    """Return a request's arguments; query parameters yield to those of the body.

    Raises:
        SlackError: invalid_json, json_not_object or invalid_post_type.
    """
    values: Json = dict(request.query)
    if request.method == "GET" or not request.can_read_body:
        return values
    if request.content_type == "application/json":
        try:
            body = await request.json()
        except ValueError:
            raise SlackError("invalid_json") from None
        if not isinstance(body, dict):
            raise SlackError("json_not_object")
        return {**values, **body}
    if request.content_type in {"application/x-www-form-urlencoded", "multipart/form-data"}:
        form = await request.post()
        return {**values, **{key: value for key, value in form.items() if isinstance(value, str)}}
    raise SlackError("invalid_post_type")
