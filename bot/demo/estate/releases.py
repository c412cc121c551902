"""Installs the releases of the payments service and what surrounds them."""

import json
import shlex
import shutil
import socket
import sys
from pathlib import Path

from bot.demo.estate.facts import NEW_VERSION, OLD_VERSION, Facts, Layout, replace_file

SOURCES = Path(__file__).parent
PAYMENTS = SOURCES / "payments"
MIGRATIONS = {
    OLD_VERSION: ("20240110120000_ledger.sql",),
    NEW_VERSION: ("20240110120000_ledger.sql", "20240115120000_currencies.sql"),
}
LIMITS = {
    OLD_VERSION: "[limits]\n# Euros.\nmax_amount = 10000.00\ndaily_limit = 50000.00\n",
    NEW_VERSION: (
        "[limits]\n# Minor units of the settlement currency.\n"
        "max_amount_minor = 1000000\ndaily_limit_minor = 5000000\n\n[currency]\nsettlement = EUR\n"
    ),
}


def free_port() -> int:
    """Return a TCP port that is free on loopback now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def install_release(layout: Layout, version: str) -> Path:
    """Lay out a release folder: bin/payments, lib/payments (the program), migrations.

    Returns:
        The release folder; one that is there already is replaced.
    """
    target = layout.releases / version
    beside = layout.releases / f".{version}.new"
    for folder in (beside, target):
        shutil.rmtree(folder, ignore_errors=True)
    package = beside / "lib" / "payments"
    no_caches = shutil.ignore_patterns("__pycache__")
    shutil.copytree(PAYMENTS / "kit", package / "kit", ignore=no_caches)
    shutil.copytree(PAYMENTS / version.replace(".", "_"), package / "service", ignore=no_caches)
    shutil.copy(PAYMENTS / "__init__.py", package)
    (beside / "migrations").mkdir()
    for name in MIGRATIONS[version]:
        shutil.copy(PAYMENTS / "migrations" / name, beside / "migrations")
    _write_script(
        beside / "bin" / "payments",
        # `pwd -P` follows the `current` link once: a program must not change its release while it starts.
        'here=$(CDPATH= cd -- "$(dirname -- "$0")/.." && pwd -P) || exit 1\n'
        f'PYTHONPATH="$here/lib" exec {_python("-s", "-P", "-B")} -m payments.service "$@"\n',
    )
    beside.replace(target)
    return target


def switch_link(link: Path, target: Path) -> None:
    """Point the link at a release, by a rename: at no moment is there no link."""
    beside = link.with_name(f".{link.name}.new")
    beside.unlink(missing_ok=True)
    beside.symlink_to(target.relative_to(link.parent))
    beside.replace(link)


def render_config(facts: Facts, version: str) -> str:
    """Return the payments.conf that a release takes."""
    layout = Layout(root=facts.root)
    return (
        f"# payments {version}\n[server]\nhost = 127.0.0.1\nport = {facts.service_port}\n\n"
        f"[database]\nhost = {facts.db_host}\nport = {facts.db_port}\nname = {facts.db_name}\n"
        f"user = {facts.app_role}\npassword_file = {layout.app_password}\n"
        f"pool_size = 8\nconnect_timeout = 2\n\n{LIMITS[version]}"
    )


def install_manager(layout: Layout) -> None:
    """Install the service manager, its unit file and the `paymentsctl` command."""
    layout.lib.mkdir(parents=True, exist_ok=True)
    for name in ("supervise.py", "traffic.py"):
        shutil.copy(SOURCES / name, layout.lib)
    unit = {
        "name": "payments",
        "argv": [str(layout.link / "bin" / "payments"), "--config", str(layout.config)],
        "link": str(layout.link),
        "pidfile": str(layout.run / "payments.pid"),
        "log": str(layout.log),
        "start_timeout": 20,
        "stop_timeout": 5,
    }
    replace_file(layout.service_unit, json.dumps(unit, indent=2) + "\n")
    manager = shlex.join([*manager_argv(layout), str(layout.service_unit)])
    _write_script(layout.ctl, f'exec {manager} "$@"\n')


def install_traffic(facts: Facts, *, rate: float, seconds: float) -> None:
    """Write the traffic's unit file: requests a second, and for how many seconds at most."""
    layout = Layout(root=facts.root)
    options = {
        "--url": facts.base_url,
        "--out": str(layout.traffic),
        "--rate": str(rate),
        "--seconds": str(seconds),
        "--users": str(facts.users),
    }
    unit = {
        "name": "traffic",
        "argv": [
            *(sys.executable, "-s", "-P", "-B", str(layout.lib / "traffic.py")),
            *(part for option in options.items() for part in option),
        ],
        "pidfile": str(layout.run / "traffic.pid"),
        "log": str(layout.root / "log" / "traffic.log"),
        "start_timeout": 20,
        "stop_timeout": 5,
    }
    replace_file(layout.traffic_unit, json.dumps(unit, indent=2) + "\n")


def manager_argv(layout: Layout) -> list[str]:
    """Return how the service manager is started: without site packages, for a start in some 30 ms."""
    return [sys.executable, "-S", "-E", "-s", "-P", "-B", str(layout.lib / "supervise.py")]


def _python(*options: str) -> str:
    return shlex.join([sys.executable, *options])


def _write_script(path: Path, body: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{body}", encoding="utf-8")
    path.chmod(0o755)
