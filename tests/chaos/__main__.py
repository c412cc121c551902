"""Real workers under kill -9, freezes and database restarts, and a verdict on what became of the rollbacks.

Run by `make chaos`, or `python -m tests.chaos`. The exit code is 1 if a rule was broken. The evidence is kept in a
folder, which is printed, and can be judged again with --judge.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import sys
import tempfile
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path

from rich.console import Console

from bot.main.clock import SystemClock
from tests.chaos import keeping
from tests.chaos.evidence import Evidence
from tests.chaos.site import Size
from tests.chaos.stage import Scene, Script, play
from tests.chaos.storm import Weather
from tests.chaos.verdict import judge

_LOG_WIDTH = 116


def main(argv: Sequence[str]) -> int:
    """Perform or re-judge a chaos run and return the exit code."""
    asked = _arguments(argv)
    out = Console()
    if not out.is_terminal:
        out = Console(width=_LOG_WIDTH)
    folder = asked.judge or asked.evidence or Path(tempfile.mkdtemp(prefix="rollback-chaos-", dir="/var/tmp"))
    evidence = keeping.read(folder) if asked.judge else _play(asked, folder, out)
    verdict = judge(evidence)
    (folder / "verdict.json").write_text(verdict.text(), encoding="utf-8")
    out.print(verdict.table())
    out.print(f"The evidence is in {folder}", highlight=False)
    return 0 if verdict.sound else 1


def _play(asked: argparse.Namespace, folder: Path, out: Console) -> Evidence:
    folder.mkdir(parents=True, exist_ok=True)
    logging.basicConfig(filename=folder / "people.log", level=logging.WARNING)
    clock = SystemClock()
    began = clock.monotonic()
    rollbacks: int = asked.rollbacks
    # Of three workers and more, two in five live in a network zone of their own.
    far = max(asked.workers * 2 // 5, 1) if asked.workers > 2 else 0
    zones = (*["default"] * (asked.workers - far), *["far"] * far)
    script = Script(
        zones=zones,
        storm=timedelta(minutes=asked.minutes),
        requests=0.8,
        settle=timedelta(minutes=6),
        size=Size(
            rollbacks,
            max(6, rollbacks // 4),
            max(1, rollbacks // 60),
            timedelta(seconds=3),
            tuple(dict.fromkeys(zones)),
        ),
        weather=Weather(),
        seed=asked.seed,
    )

    def show(scene: Scene) -> None:
        seconds = clock.monotonic() - began
        workers = "".join("❄" if m.frozen else "●" if m.lives else "○" for m in scene.crew.members)
        asked_for = f"{len(scene.people.runs)} of {len(scene.changes)} rollbacks begun"
        out.print(f"{seconds:5.0f} s  {workers}  {asked_for}{'  calm' if scene.calm else ''}", highlight=False)

    out.print(
        f"{asked.workers} workers, {rollbacks} rollbacks, {asked.minutes:g} minutes of trouble, seed {asked.seed}",
        highlight=False,
    )
    return asyncio.run(play(script, folder, clock=clock, show=show))


def _arguments(argv: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m tests.chaos", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--workers", type=int, default=5, help="worker processes; default 5")
    parser.add_argument("--minutes", type=float, default=5.0, help="how long harm is done; default 5")
    parser.add_argument("--rollbacks", type=int, default=200, help="how many rollbacks; default 200")
    parser.add_argument("--seed", type=int, default=1, help="decides what is left to chance; default 1")
    parser.add_argument("--evidence", type=Path, metavar="FOLDER", help="where the evidence is kept")
    parser.add_argument("--judge", type=Path, metavar="FOLDER", help="judge the evidence of an earlier run again")
    asked = parser.parse_args(argv)
    if asked.evidence and asked.evidence.exists() and any(asked.evidence.iterdir()):
        parser.error(f"{asked.evidence} is not empty; nothing was run. Name a new folder.")
    return asked


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
