"""Helm, in a process of its own: its library brings a Go runtime, which does not get on with forks.

As a program it reads a request as JSON and writes the answer as JSON.
"""

from __future__ import annotations

import functools
import importlib
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

Json = dict[str, Any]


class HelmRefusedError(Exception):
    """Helm refused chart or values; the message is Helm's."""


def render(chart: Path, values: Json) -> dict[str, str]:
    """Return the chart's files as `helm template` makes them, after the values were checked against its schema.

    Raises:
        HelmRefusedError: If Helm refuses.
    """
    found: dict[str, str] = _ask(json.dumps({"do": "render", "chart": str(chart), "values": values}))
    return found


def lint(chart: Path, values: Json) -> Json:
    """Return what `helm lint --strict` reports."""
    found: Json = _ask(json.dumps({"do": "lint", "chart": str(chart), "values": values}))
    return found


@functools.cache
def _ask(request: str) -> Any:
    done = subprocess.run(
        [sys.executable, __file__], input=request, capture_output=True, text=True, check=True, timeout=60
    )
    answer = json.loads(done.stdout)
    if "refused" in answer:
        raise HelmRefusedError(answer["refused"])
    return answer["found"]


def _answer(request: Json) -> Json:
    helm = importlib.import_module("helm_python")
    try:
        if request["do"] == "lint":
            return {"found": helm.lint(request["chart"], request["values"], strict=True)}
        with helm.Chart.load(request["chart"]) as chart:
            chart.validate_schema(request["values"])
            return {"found": chart.render(request["values"], name="prod", namespace="ops")}
    except helm.HelmError as error:
        return {"refused": str(error)}


if __name__ == "__main__":
    sys.stdout.write(json.dumps(_answer(json.load(sys.stdin))))
