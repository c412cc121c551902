"""Who and what there is: users, channels, and the direct messages between the bot and each user."""

import hashlib
from collections.abc import Sequence

from handlers.console.model import APP_ID, BOT_ID, BOT_NAME, ConsoleChannel, ConsoleUser, Identity, Json


class Directory:
    """Look-ups by id. Direct-message channels are derived from the user's id, so that nothing has to be stored."""

    def __init__(
        self, identity: Identity, *, users: Sequence[ConsoleUser], channels: Sequence[ConsoleChannel]
    ) -> None:
        self.identity = identity
        self.users = {user.id: user for user in users}
        self.channels = {channel.id: channel for channel in channels}
        if len(self.users) < len(users) or len(self.channels) < len(channels):
            raise ValueError("Two users or two channels of the console share an id; give each an id of its own.")
        self._dm_owner = {self.dm(user.id).id: user.id for user in users}

    def dm(self, user_id: str) -> ConsoleChannel:
        """Return the direct-message channel between the bot and a user."""
        digest = hashlib.sha256(f"{self.identity.team_id}:{user_id}".encode()).hexdigest()
        return ConsoleChannel(f"D{digest[:10].upper()}", "directmessage")

    def channel(self, reference: str) -> ConsoleChannel | None:
        """Find a channel by its id, its `#name`, or a user's id (their direct messages)."""
        if reference in self.channels:
            return self.channels[reference]
        if reference in self.users:
            return self.dm(reference)
        if reference in self._dm_owner:
            return ConsoleChannel(reference, "directmessage")
        named = [each for each in self.channels.values() if each.name == reference.removeprefix("#")]
        return named[0] if named else None

    def owner(self, channel_id: str) -> str | None:
        """Return whose direct messages a channel is; None for a channel of everybody's."""
        return self._dm_owner.get(channel_id)

    def sees(self, user_id: str, channel_id: str) -> bool:
        """Tell whether a user may see a channel."""
        return channel_id in self.channels or self._dm_owner.get(channel_id) == user_id

    def channel_json(self, channel: ConsoleChannel) -> Json:
        """Return a channel as Slack's conversations.info does."""
        owner = self.owner(channel.id)
        common: Json = {
            "id": channel.id,
            "is_archived": False,
            "is_channel": owner is None,
            "is_im": owner is not None,
        }
        if owner is not None:
            return {**common, "user": owner, "is_open": True}
        return {
            **common,
            "name": channel.name,
            "name_normalized": channel.name,
            "is_private": False,
            "is_member": True,
        }

    def user_json(self, user_id: str) -> Json | None:
        """Return a user as Slack's users.info does, the bot included; None when there is no such user."""
        team = self.identity.team_id
        if user_id == self.identity.bot_user_id:
            profile: Json = {
                "real_name": BOT_NAME,
                "display_name": BOT_NAME,
                "bot_id": BOT_ID,
                "api_app_id": APP_ID,
            }
            return {
                "id": user_id,
                "team_id": team,
                "name": "rollback",
                "real_name": BOT_NAME,
                "deleted": False,
                "is_bot": True,
                "tz": "Etc/UTC",
                "tz_offset": 0,
                "profile": profile,
            }
        user = self.users.get(user_id)
        if user is None:
            return None
        profile = {"real_name": user.name, "display_name": user.name, "title": user.title}
        return {
            "id": user.id,
            "team_id": team,
            "name": user.name,
            "real_name": user.name,
            "deleted": False,
            "is_bot": False,
            "tz": "Etc/UTC",
            "tz_offset": 0,
            "profile": profile,
        }
