"""Posts a message once: claimed before it is sent, looked for where an earlier attempt may have sent it."""

from __future__ import annotations

import asyncio
import logging

from bot.domain.announcements import CARD, Announcement, Place
from bot.domain.errors import LeaseLostError, StoreUnavailableError
from bot.domain.ports import ChatBusyError, ChatRefusedError, MessageRef
from bot.domain.speech import Claim, Entry, Miss
from bot.engine import wanted
from bot.engine.editing import Editor
from bot.engine.journal import ended
from bot.engine.podium import Podium
from bot.engine.scene import Means, Scene

_log = logging.getLogger(__name__)

RETRY = 2.0
"""Seconds after which what failed is tried again."""
_TRIES_IN_FULL = 3
"""After so many refusals a message is posted as plain text: its blocks may be what the chat does not take."""
_MOST_TRIES = 6
"""After so many refusals a message is given up: those behind it wait."""


class Poster:
    """Posts what is missing.

    Args:
        means: What it works with.
        podium: The floor.
        editor: Is told what was posted just now.

    Attributes:
        posted: How many messages the chat has taken.
    """

    def __init__(self, means: Means, podium: Podium, editor: Editor) -> None:
        self._means = means
        self._podium = podium
        self._editor = editor
        self.posted = 0

    async def ensure(self, scene: Scene, announcement: Announcement) -> float | None:
        """Post the message, unless it is there or was given up.

        Returns:
            Seconds after which to try again; None if nothing is left to do.

        Raises:
            LeaseLostError: If somebody else may speak.
            StoreUnavailableError: If the store cannot be reached.
            Exception: If the chat failed.
        """
        entry = scene.entries.get(announcement.key, Entry())
        if entry.ref is not None or (entry.given_up and announcement != CARD):
            return None
        self._podium.ensure()
        run, turn = scene.run, self._podium.turn
        claim = await self._means.ledger.claim(run.id, announcement.key, turn=turn)
        if claim.ref is not None:
            scene.entries[announcement.key] = Entry(ref=claim.ref)
            return None
        wait = 0.0 if claim.first else self._on_its_way(claim)
        return wait if wait > 0 else await self._try(scene, announcement, looks=not claim.first)

    def _on_its_way(self, claim: Claim) -> float:
        """Return for how many seconds the message of an earlier attempt may still be about to appear."""
        known_since = min(claim.age.total_seconds(), self._podium.silence())
        return self._means.settings.doubt.total_seconds() - known_since

    async def _try(self, scene: Scene, announcement: Announcement, *, looks: bool) -> float | None:
        """Post the message, unless it is there; return when to try again, None if nobody need."""
        run, key, turn = scene.run, announcement.key, self._podium.turn
        sent = False
        try:
            ref = await self._find(scene, announcement) if looks else None
            sent = ref is None
            if ref is None:
                await self._send(scene, announcement)
        except ChatBusyError as busy:
            if sent:
                await self._means.ledger.missed(run.id, key, Miss.BUSY, turn=turn)
            return busy.retry_after
        except ChatRefusedError as error:
            return await self._refused(scene, announcement, Miss.REFUSED if sent else Miss.UNREACHABLE, error)
        except (LeaseLostError, StoreUnavailableError):
            raise
        except Exception:
            if sent:
                await self._means.ledger.missed(run.id, key, Miss.UNSURE, turn=turn)
            if announcement.place is not Place.DIRECT:
                raise
            # Somebody who cannot be reached directly must not keep the others from being told.
            _log.exception("%s: %s could not be told, trying again", run.id, announcement.user)
            return RETRY
        return None

    async def _find(self, scene: Scene, announcement: Announcement) -> MessageRef | None:
        self._podium.ensure()
        found = await self._means.chat.find(scene.run, announcement, thread=_thread(scene, announcement))
        if found is not None:
            ref = await self._means.ledger.posted(scene.run.id, announcement.key, found)
            scene.entries[announcement.key] = Entry(ref=ref)
        return found

    async def _send(self, scene: Scene, announcement: Announcement) -> None:
        """Post a message; once begun it is brought to its end, also when the floor is lost meanwhile.

        Else nobody would know whether it is there, and what was sent by a process that was frozen until another
        one had posted the same would stay.
        """
        sending = asyncio.ensure_future(self._post(scene, announcement))  # noqa: TID251 - awaited right here
        try:
            await asyncio.shield(sending)
        except asyncio.CancelledError:
            await ended(sending)
            if not sending.cancelled() and sending.exception():
                _log.warning("%s: message %s may be there or not", scene.run.id, announcement.key)
            raise

    async def _post(self, scene: Scene, announcement: Announcement) -> None:
        run, key, ledger = scene.run, announcement.key, self._means.ledger
        in_full = scene.entries.get(key, Entry()).tries < _TRIES_IN_FULL
        words = "" if in_full else wanted.plain(run, announcement)
        shown = scene.shown_by(announcement) if in_full else ""
        self._podium.ensure()
        ref = await self._means.chat.post(
            run, announcement, thread=_thread(scene, announcement), progress=scene.progress, plain=words
        )
        self.posted += 1
        if shown:
            self._editor.note(run.id, key)
        counts = await ledger.posted(run.id, key, ref, shown=shown)
        scene.entries[key] = Entry(ref=counts, shown=shown if counts == ref else "")
        if counts != ref:
            await self._withdraw(run.id, key, ref)

    async def _withdraw(self, rollback_id: str, key: str, ref: MessageRef) -> None:
        """Take our message back: this process was frozen, and another one has posted the same."""
        _log.warning("%s: another process posted message %s as well; ours is withdrawn", rollback_id, key)
        try:
            await self._means.chat.withdraw(ref)
        except Exception:  # noqa: BLE001 - it was said, if twice: what follows must not wait for this
            _log.exception("%s: message %s stands twice in the chat", rollback_id, key)

    async def _refused(
        self, scene: Scene, announcement: Announcement, miss: Miss, error: ChatRefusedError
    ) -> float | None:
        run, key = scene.run, announcement.key
        most = None if announcement == CARD else _MOST_TRIES
        given_up = await self._means.ledger.missed(run.id, key, miss, turn=self._podium.turn, most=most)
        if not given_up:
            _log.warning("%s: the chat does not take message %s, trying again: %s", run.id, key, error)
            return RETRY
        scene.entries[key] = Entry(given_up=True)
        to = announcement.user or announcement.place.value
        _log.error(
            "%s: message %s to %s was GIVEN UP after %d refusals, as plain text at last: %s. It said: %s",
            run.id, key, to, _MOST_TRIES, error, wanted.plain(run, announcement),
        )  # fmt: skip
        return None


def _thread(scene: Scene, announcement: Announcement) -> MessageRef | None:
    return scene.ref(CARD.key) if announcement.place is Place.THREAD else None
