"""The targets of a chaos run and their witness, a process of its own that nobody kills.

It keeps what was created on the targets, by token, and writes down every message that reaches it: who looked, who
began, who was still at work, who created what, who stopped, whose connection broke. It judges nothing; that is done
at the end, from these lines, the journals and the leases (`tests.chaos.judge`).

Usage: python -m tests.chaos.witness SOCKET LOG. The log holds one JSON document a line: what the sender said, `at`
(when it arrived, seconds of the epoch), and for messages of an act its number `act` and what was answered.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bot.domain.ports import Clock
from bot.main.clock import SystemClock
from tests.chaos.wire import Message


@dataclass
class Thing:
    """What the targets know under one token.

    Attributes:
        present: Whether it was created.
        begun: How many acts on it have begun.
        repaired: Whether a person repaired what was wrong with its target.
    """

    present: bool = False
    begun: int = 0
    repaired: bool = False


class Witness:
    """Keeps the things and the log.

    Args:
        log: An open file for the lines.
        clock: The time.
    """

    def __init__(self, log: int, *, clock: Clock) -> None:
        self._log = log
        self._clock = clock
        self._things: defaultdict[str, Thing] = defaultdict(Thing)
        self._acts = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer one connection; at most one act goes over it."""
        act: Message = {}
        try:
            while raw := await reader.readline():
                message = json.loads(raw)
                if message["op"] == "begin":
                    self._acts += 1
                    act = {"act": self._acts, **{key: message[key] for key in ("token", "run", "step", "worker")}}
                answer = self._answer(message, act)
                if answer is not None:
                    writer.write(json.dumps(answer).encode() + b"\n")
                    await writer.drain()
                if message["op"] in {"end", "stopped"}:
                    act = {}
        except (ConnectionError, json.JSONDecodeError):
            pass  # killed in the middle of a word; the line below says whose act that was
        finally:
            if act:
                self._note({"op": "gone"}, act)
            writer.close()

    def _answer(self, message: Message, act: Message) -> Message | None:
        answer: Message | None = None
        match message["op"]:
            case "look":
                answer = vars(self._things[message["token"]]).copy()
            case "repair":
                self._things[message["token"]].repaired = True
                answer = {}
            case "begin":
                thing = self._things[message["token"]]
                thing.begun += 1
                answer = vars(thing).copy()
            case "effect":
                thing = self._things[act["token"]]
                answer, thing.present = {"made": not thing.present}, True
            case _:
                pass
        self._note(message, act, answer)
        return answer

    def _note(self, message: Message, act: Message, answer: Message | None = None) -> None:
        entry: dict[str, Any] = {"at": self._clock.now().timestamp(), **message, **act}
        if answer:
            entry["answer"] = answer
        os.write(self._log, json.dumps(entry).encode() + b"\n")


async def main(socket: Path, log: Path) -> None:
    """Serve until told to stop."""
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    witness = Witness(descriptor, clock=SystemClock())
    server = await asyncio.start_unix_server(witness.serve, str(socket))
    await stop.wait()
    server.close()


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]), Path(sys.argv[2])))
