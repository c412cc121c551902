"""Measures the figures that the bot is held to, side by side with the plain tools.

Run by `make bench`, or `python -m tests.bench [NAME ...]`. Everything runs on loopback, on real parts, and is ended
and removed again. The exit code is 1 if a goal is missed or a benchmark failed, unless --report-only is given.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape

from bot.main.clock import SystemClock
from tests.bench import (
    acknowledgement,
    approval,
    balancer,
    demo,
    kubernetes,
    machine,
    many,
    overhead,
    restore,
    servers,
)
from tests.bench.figures import Figure, table
from tests.bench.stage import Workshop, workshop

Benchmark = Callable[[Workshop], Awaitable[list[Figure]]]

BENCHMARKS: dict[str, Benchmark] = {
    "ack": acknowledgement.measure,
    "click": approval.measure,
    "overhead": overhead.measure,
    "many": many.at_once,
    "waiting": many.waiting,
    "demo": demo.measure,
    "balancer": balancer.measure,
    "kubernetes": kubernetes.measure,
    "servers": servers.measure,
    "restore": restore.measure,
}

_LOG_WIDTH = 116
"""Characters of a line where there is no terminal to ask, so that the table can be read in a log."""


def main(argv: Sequence[str]) -> int:
    """Run the benchmarks and return the exit code."""
    asked = _arguments(argv)
    out = Console()
    if not out.is_terminal:
        out = Console(width=_LOG_WIDTH)
    sized = BENCHMARKS | {"restore": partial(restore.measure, megabytes=asked.size)}
    facts, figures, failed = asyncio.run(_run({name: sized[name] for name in asked.names or BENCHMARKS}, out))
    out.print(table(figures))
    out.print("\n".join(f"[dim]{name}: {escape(value)}[/]" for name, value in facts.items()), highlight=False)
    if asked.json:
        document = {"machine": facts, "figures": [figure.document() for figure in figures], "failed": failed}
        asked.json.write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")
    missed = [figure.name for figure in figures if not figure.reached] + failed
    if missed:
        out.print(f"[bold red]✗[/] {escape('; '.join(missed))}", highlight=False)
    return 1 if missed and not asked.report_only else 0


def _arguments(argv: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m tests.bench", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "names", nargs="*", metavar="NAME", help=f"which ones: {', '.join(BENCHMARKS)}; default all"
    )
    parser.add_argument(
        "--json", type=Path, metavar="FILE", help="write the figures and the machine's facts as JSON"
    )
    parser.add_argument(
        "--size",
        type=int,
        default=restore.MEGABYTES,
        metavar="MB",
        help="size of the database that `restore` restores",
    )
    parser.add_argument("--report-only", action="store_true", help="exit with 0 even if a goal is missed")
    asked = parser.parse_args(argv)
    unknown = [name for name in asked.names if name not in BENCHMARKS]
    if unknown:
        parser.error(f"there is no benchmark {', '.join(unknown)}; there are {', '.join(BENCHMARKS)}")
    return asked


async def _run(benchmarks: Mapping[str, Benchmark], out: Console) -> tuple[dict[str, str], list[Figure], list[str]]:
    clock = SystemClock()
    facts: dict[str, Any] = machine.facts()
    figures: list[Figure] = []
    failed: list[str] = []
    async with workshop(clock, out) as shop:
        facts |= await machine.server_facts(shop.server.url("postgres"))
        for name, measure in benchmarks.items():
            out.rule(f"[bold]{name}", align="left")
            began = clock.monotonic()
            try:
                figures += await measure(shop)
            except Exception as error:  # noqa: BLE001 - one benchmark's failure must not hide the others' figures
                failed.append(f"{name} failed")
                out.print_exception()
                out.print(f"[bold red]✗[/] {escape(str(error))}", highlight=False)
            shop.say(f"{name} took {clock.monotonic() - began:.0f} s")
    facts["load average at the end"] = f"{machine.load():.1f}"
    return facts, figures, failed


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
