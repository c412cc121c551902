"""Services that are as small as they can be: a script that starts and stops nothing but a file.

Each has a folder of its own, so that tests do not wait for each other's locks.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml
from aiohttp import web

from bot.main.clock import SystemClock
from tests.support.production import MANAGER, PEOPLE
from tests.support.serving import eventually

CLOCK = SystemClock()
Json = dict[str, Any]

# `hang` makes the next start last for a minute, `pause` for the seconds that stand in it; both say first that they
# have begun, with the process id.
_SCRIPT = """\
cd "$(dirname "$0")"
case "$1" in
status) test -e running || exit 3 ;;
stop) rm -f running ;;
start)
    if mv hang hung 2>/dev/null; then
        echo $$ > begun.partial && mv begun.partial begun
        exec sleep 60
    fi
    if mv pause paused 2>/dev/null; then
        echo $$ > begun.partial && mv begun.partial begun
        sleep "$(cat paused)"
    fi
    touch running ;;
esac
"""


@dataclass(frozen=True)
class Shop:
    """A service of the site.

    Attributes:
        name: Its name; the target has it too.
        folder: Its folder.
        zone: The zone of its servers.
    """

    name: str
    folder: Path
    zone: str

    @property
    def runs(self) -> bool:
        """Whether it has been started."""
        return (self.folder / "running").exists()

    def hang(self) -> None:
        """Let the next start hang."""
        (self.folder / "hang").touch()

    def pause(self, seconds: float) -> None:
        """Let the next start last that long."""
        (self.folder / "pause").write_text(f"{seconds:g}\n", encoding="utf-8")

    async def begun(self) -> int:
        """Return the id of the process that is starting the service."""

        async def look() -> int | None:
            file = self.folder / "begun"
            return int(file.read_text()) if file.exists() else None

        return await eventually(look, what=f"the start of {self.name}")


@dataclass(frozen=True)
class Site:
    """What the processes work on.

    Attributes:
        folder: Holds inventory, policy, plans and the services.
        url: Where the services' health, version and metrics are told.
    """

    folder: Path
    url: str

    def shop(self, name: str, *, zone: str = "default") -> Shop:
        """Return a service; it runs."""
        folder = self.folder / name
        folder.mkdir(exist_ok=True)
        (folder / "ctl").write_text(_SCRIPT, encoding="utf-8")
        (folder / "releases").mkdir(exist_ok=True)
        (folder / "running").touch()
        return Shop(name, folder, zone)

    def write(self, shops: Sequence[Shop]) -> None:
        """Write inventory, policy and a plan for each service, whose change is CHG1000 and so on."""
        inventory = {
            "server_groups": {shop.name: self._group(shop) for shop in shops},
            "endpoints": {"face": {"service": "shop", "url": self.url}},
            "metrics": {"metrics": {"kind": "metrics_page", "service": "shop", "url": f"{self.url}/metrics"}},
        }
        _dump(self.folder / "inventory.yaml", inventory)
        _dump(self.folder / "policy.yaml", {"people": list(PEOPLE)})
        (self.folder / "plans").mkdir(exist_ok=True)
        for number, shop in enumerate(shops):
            plan = _plan(f"CHG{1000 + number}", shop)
            _dump(self.folder / "plans" / f"{plan['change']}.yaml", plan)

    @staticmethod
    def _group(shop: Shop) -> Json:
        ctl = ["sh", str(shop.folder / "ctl")]
        return {
            "service": "shop",
            "zone": shop.zone,
            "hosts": [{"name": "here"}],
            "manager": {"kind": "commands", **{verb: [*ctl, verb] for verb in ("start", "stop", "status")}},
            "releases": str(shop.folder / "releases"),
            "current": str(shop.folder / "current"),
        }


def _dump(file: Path, document: Json) -> None:
    file.write_text(yaml.safe_dump(document, sort_keys=False), encoding="utf-8")


def _plan(change: str, shop: Shop) -> Json:
    deployed = CLOCK.now().isoformat()
    return {
        "api": "rollback/v1",
        "change": change,
        "title": f"Release of {shop.name}",
        "service": "shop",
        "criticality": "low",
        "versions": {"deployed": "v2", "restored": "v1"},
        "deployed_at": deployed,
        "window": "30m",
        "point_of_no_return": {"after": "1h", "reason": "orders cannot be carried back"},
        "bridge": {"url": "https://meet.example.org/bridge"},
        "metrics": "metrics",
        "baseline": {"error_rate": 0.01, "p95": "2s"},
        "backups": [
            {
                "id": "release-before",
                "kind": "artifact",
                "target": shop.name,
                "location": str(shop.folder / "releases"),
                "taken_at": deployed,
            }
        ],
        "phases": [
            {
                "name": "Turn it off and on",
                "expected": "1m",
                "steps": [
                    {"id": "stop", "kind": "servers.stop", "target": shop.name},
                    {"id": "start", "kind": "servers.start", "target": shop.name, "needs": ["stop"]},
                ],
            }
        ],
        "verification": {
            "expected": "10s",
            "steps": [
                {"id": "health", "kind": "http.health", "target": "face"},
                {"id": "metrics", "kind": "metrics.baseline", "target": "metrics", "settle": "1s"},
            ],
        },
        "communication": {"escalation": [{"role": "Change Manager", "user": MANAGER}]},
    }


@dataclass
class Face:
    """The HTTP face of the services: healthy, and with metrics that go on as long as the tests do."""

    since: float = field(default_factory=CLOCK.monotonic)

    def app(self) -> web.Application:
        """Return its application."""
        app = web.Application()
        app.add_routes([web.get("/health", self._health), web.get("/metrics", self._metrics)])
        return app

    async def _health(self, _request: web.Request) -> web.Response:
        return web.json_response({"status": "healthy"})

    async def _metrics(self, _request: web.Request) -> web.Response:
        requests = 1000 + int(200 * (CLOCK.monotonic() - self.since))
        lines = (
            "# TYPE http_requests_total counter",
            f'http_requests_total{{status="200"}} {requests}',
            "# TYPE http_request_duration_seconds histogram",
            *(f'http_request_duration_seconds_bucket{{le="{le}"}} {requests}' for le in ("0.1", "1.0", "+Inf")),
            f"http_request_duration_seconds_sum {requests / 100}",
            f"http_request_duration_seconds_count {requests}",
            "",
        )
        return web.Response(text="\n".join(lines))
