"""Steady traffic for the payments service: a process of its own, which outlives whoever started it.

Runs as a script: `traffic.py --url BASE_URL --out FILE --rate 60 --seconds 900 --users 2000`. It books
transactions for every customer in turn, at a fixed rate whether or not the service keeps up (open loop), through
outages too, and appends one JSON line a request:

    {"at": 1705333620.123,    # when it was sent, seconds since the epoch
     "seconds": 0.0041,       # until the answer or the failure
     "status": 201,           # HTTP status, or null when no answer came
     "error": ""}             # why no answer came (an exception's name)
"""

import argparse
import asyncio
import contextlib
import json
import os
import signal
import sys
import time
from pathlib import Path
from typing import TextIO

import aiohttp

TIMEOUT_SECONDS = 3.0
# Prime, and so sharing no factor with the number of customers: every customer comes in turn, and any short stretch
# of traffic holds the same mixture of customers as a long one.
STRIDE = 787


class Traffic:
    """One run of the generator."""

    def __init__(self, session: aiohttp.ClientSession, out: TextIO, *, url: str, users: int) -> None:
        self._session = session
        self._out = out
        self._url = f"{url}/api/v1/transactions"
        self._users = users

    async def run(self, *, rate: float, seconds: float, stopping: asyncio.Event) -> None:
        """Send `rate` requests a second for `seconds` seconds or until told to stop; wait for their ends."""
        loop = asyncio.get_running_loop()
        started = loop.time()
        async with asyncio.TaskGroup() as tasks:
            for number in range(int(rate * seconds)):
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout_at(started + number / rate):
                        await stopping.wait()
                if stopping.is_set():
                    return
                tasks.create_task(self._send(number))

    async def _send(self, number: int) -> None:
        body = {"user_id": number * STRIDE % self._users + 1, "amount": round(1 + number * 37 % 4900 / 100, 2)}
        at, started, status, failure = _now(), time.perf_counter(), None, ""
        try:
            async with self._session.post(self._url, json=body) as response:
                await response.read()
                status = response.status
        except (aiohttp.ClientError, TimeoutError) as error:
            failure = type(error).__name__
        line = {
            "at": round(at, 3),
            "seconds": round(time.perf_counter() - started, 5),
            "status": status,
            "error": failure,
        }
        # One write a line, so that a reader never sees two halves of different lines.
        self._out.write(json.dumps(line) + "\n")
        self._out.flush()


def _now() -> float:
    return time.time()  # noqa: TID251 - a process of its own: this is its only look at the clock


async def _run(args: argparse.Namespace) -> None:
    stopping = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stopping.set)
    timeout = aiohttp.ClientTimeout(total=TIMEOUT_SECONDS)
    async with aiohttp.ClientSession(timeout=timeout, trust_env=False) as session:
        with args.out.open("a", encoding="utf-8") as out:
            tell_ready()
            traffic = Traffic(session, out, url=args.url, users=args.users)
            await traffic.run(rate=args.rate, seconds=args.seconds, stopping=stopping)


def tell_ready() -> None:
    """Tell the service manager that traffic flows (its pipe's number is in READY_FD)."""
    number = os.environ.pop("READY_FD", "")
    if number:
        with contextlib.suppress(OSError):
            os.write(int(number), b"READY\n")
            os.close(int(number))


def main(argv: list[str]) -> int:
    """Run the generator to its end; return the exit code."""
    parser = argparse.ArgumentParser(prog="traffic")
    parser.add_argument("--url", required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--rate", type=float, required=True)
    parser.add_argument("--seconds", type=float, required=True)
    parser.add_argument("--users", type=int, required=True)
    asyncio.run(_run(parser.parse_args(argv)))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
