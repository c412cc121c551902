"""Runs programs for the estate."""

import asyncio
import os
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from bot.demo.estate.facts import EstateError


async def run(argv: Sequence[str | Path], *, env: Mapping[str, str] | None = None, untouched: str = "") -> str:
    """Run a program to its end.

    Args:
        argv: the program and its arguments.
        env: variables added to ours; this is how a password reaches pg_dump.
        untouched: for the error, what stays as it was when the program fails.

    Returns:
        What it wrote to standard output.

    Raises:
        EstateError: it cannot be executed or ended with another code than 0; its last words are quoted.
    """
    name = Path(argv[0]).name
    try:
        process = await asyncio.create_subprocess_exec(
            *argv,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env={**os.environ, **(env or {})},
        )
    except OSError as error:
        raise EstateError(f"{name} cannot be executed: {error}.", untouched=untouched) from error
    out, err = await process.communicate()
    if process.returncode == 0:
        return out.decode(errors="replace")
    words = "\n".join((err or out).decode(errors="replace").splitlines()[-20:])
    raise EstateError(f"{name} failed with exit code {process.returncode}: {words}", untouched=untouched)
