"""A Cisco router's command line: running and startup configuration, files, archive, and the revert timer."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable
from dataclasses import dataclass, field

from tests.support.routers import Router, Terminal, differences


@dataclass
class Cisco(Router):
    """IOS: running and startup configuration, files, archive, `configure replace` with its timer.

    Attributes:
        running: What is in force.
        startup: What a restart loads.
        files: What lies on its storage, by name.
        archive: Whether the archive is configured.
        after_cut: What is in force right after a replacement that takes its time; empty: the file.
        privilege: The user's level.
        pending: When it goes back, in how many minutes it was to, and to what.
    """

    running: str = ""
    startup: str = ""
    files: dict[str, str] = field(default_factory=dict)
    archive: bool = True
    after_cut: str = ""
    privilege: int = 15
    pending: tuple[float, int, str] | None = None

    def terminal(self) -> Terminal:
        """Return a new session."""
        return Terminal(f"{self.name}#")

    def config(self) -> str:
        """Return what is in force."""
        return self.running

    def state(self) -> object:
        """Return everything that a step could change."""
        self.tick()
        return self.running, self.startup, dict(self.files), self.pending

    def tick(self) -> None:
        """Go back when the timer has ended."""
        if self.pending is not None and self.clock.seconds >= self.pending[0]:
            self.running, self.pending = self.pending[2], None

    def text(self, place: str) -> str | None:
        """Return a configuration by its place."""
        known = {"system:running-config": self.running, "nvram:startup-config": self.startup, **self.files}
        return known.get(place)

    def answer(self, command: str, terminal: Terminal) -> str:
        """Carry a command out and return what is printed."""
        for pattern, act in self.commands().items():
            match = re.fullmatch(pattern, command)
            if match:
                if command.startswith("terminal length"):
                    terminal.paging = False
                return act(*match.groups())
        return "                 ^\n% Invalid input detected at '^' marker.\n"

    def commands(self) -> dict[str, Callable[..., str]]:
        """Return what the device can do."""
        return {
            r"terminal (?:length|width) 0": lambda: "",
            r"show privilege": lambda: f"Current privilege level is {self.privilege}",
            r"show archive": self._archive,
            r"show archive config rollback timer": self._timer,
            r"show archive config differences (\S+) (\S+)": self._differences,
            r"show logging": lambda: "\n".join(
                [
                    "Syslog logging: enabled",
                    *(f"*Jan 15 15:{n:02}:00: %SYS-5-CONFIG_I: line {n}" for n in range(40)),
                ]
            ),
            r"dir (\S+)": self._dir,
            r"verify /(md5|sha512) (\S+)": self._verify,
            r"configure replace (\S+) force revert trigger error timer (\d+)": self._replace,
            r"configure confirm": self._confirm,
            r"write memory": self._write,
            r"ping (\S+) repeat (\d+) timeout 2": self._ping,
            r"traceroute (\S+) numeric timeout 1 probe 1 ttl 1 15": self._trace,
            r"show ip route (\S+) (\S+)": self._route,
            r"show ip route": self._table,
            r"show ipv6 route (\S+)": "% Route not found {}".format,
        }

    def _archive(self) -> str:
        if not self.archive:
            return "Archive feature not enabled"
        return (
            "The maximum archive configurations allowed is 10.\nThere are currently 1 archive configurations saved."
            "\nThe next archive file will be named flash:edge01-cfg-2\n Archive #  Name\n   1        flash:cfg-1"
        )

    def _timer(self) -> str:
        if self.pending is None:
            return "%No Rollback Confirmed Change pending\n"
        return (
            "Time configured(or reconfigured):  15:47:00 UTC Mon Jan 15 2024\nTimer type: absolute timer\n"
            f"Timer value: {self.pending[1]} min\nUser: rollback"
        )

    def _differences(self, old: str, new: str) -> str:
        for place in (old, new):
            if self.text(place) is None:
                return f"%Error opening {place} (No such file or directory)"
        found = differences(self.text(old) or "", self.text(new) or "")
        return "\n".join(["!Contextual Config Diffs:", *(found or ["!No changes were found"])]) + "\n"

    def _dir(self, file: str) -> str:
        if file not in self.files:
            return f"%Error opening {file} (No such file or directory)"
        name = file.partition(":")[2]
        size = len(self.files[file].encode())
        return (
            f"Directory of {file}\n\n   12  -rw-  {size:>10}  Jan 15 2024 14:30:00 +00:00  {name}\n\n"
            "2142715904 bytes total (1994403840 bytes free)"
        )

    def _verify(self, kind: str, file: str) -> str:
        digest = hashlib.new(kind, self.files[file].encode()).hexdigest()
        return f"{'.' * 18}Done!\nverify /{kind} ({file}) = {digest}\n"

    def _replace(self, file: str, minutes: str) -> str:
        if file not in self.files:
            return f"%Error opening {file} (No such file or directory)\n"
        if not self.archive:
            return "%Please turn config archive on before using Rollback Confirmed Change\n"
        if "end" not in self.files[file].splitlines():
            return "The input file is not a valid config file.\n"
        seconds = self.clock.seconds + 60 * int(minutes)
        self.pending = (seconds, int(minutes), self.running)
        wrong = [line for line in self.files[file].splitlines() if "GigabitEthernet9/" in line]
        if wrong:
            self.pending = None  # the trigger: back at once
            return (
                "The following commands failed to apply to the IOS image.\n********\n"
                + "\n".join(wrong)
                + "\n********\n\nRollback aborted after 5 passes\n"
            )
        self.running = self.after_cut or self.files[file]
        return (
            "Rollback Confirmed Change: Backing up current running config to flash:edge01-cfg-2\n\n"
            "Total number of passes: 1\nRollback Done\n"
        )

    def _confirm(self) -> str:
        if self.pending is None:
            return "%No Rollback Confirmed Change pending\n"
        self.pending = None
        return ""

    def _write(self) -> str:
        self.startup = self.running
        return "Building configuration...\n[OK]\n"[:-1]

    def _ping(self, host: str, count: str) -> str:
        if host.startswith("nowhere"):
            return "% Unrecognized host or address, or protocol not running.\n"
        sent = int(count)
        answered = round(sent * (1 - self.loss(host)))
        marks = "." * (sent - answered) + "!" * answered
        return (
            f"Type escape sequence to abort.\nSending {sent}, 100-byte ICMP Echos to {host}, timeout is 2 seconds:"
            f"\n{marks}\nSuccess rate is {100 * answered // sent} percent ({answered}/{sent})"
            + (", round-trip min/avg/max = 1/2/4 ms" if answered else "")
        )

    def _trace(self, host: str) -> str:
        found = self.trace(host)
        if found is None:
            return "% Unrecognized host or address.\n"
        lines = [f"  {n} {hop} 1 msec" if hop else f"  {n}  *" for n, hop in enumerate(found, start=1)]
        vrf = "VRF info: (vrf in name/id, vrf out name/id)"
        return "\n".join(
            ["Type escape sequence to abort.", f"Tracing the route to {host} (10.20.0.5)", vrf, *lines]
        )

    def _table(self) -> str:
        rows = []
        for network, mask, via in re.findall(r"^ip route (\S+) (\S+) (\S+)$", self.running, re.MULTILINE):
            length = sum(int(part).bit_count() for part in mask.split("."))
            code = "S*" if length == 0 else "S"
            rows.append(f"{code:<5} {network}/{length} [1/0] via {via}")
        return "\n".join(
            [
                "Codes: L - local, C - connected, S - static, R - RIP, M - mobile, B - BGP",
                "       ia - IS-IS inter area, * - candidate default, U - per-user static route",
                "",
                "Gateway of last resort is 10.1.1.1 to network 0.0.0.0",
                "",
                *rows,
                "      10.1.1.0/24 is variably subnetted, 2 subnets, 2 masks",
                "C        10.1.1.0/24 is directly connected, GigabitEthernet0/1",
                "L        10.1.1.2/32 is directly connected, GigabitEthernet0/1",
            ]
        )

    def _route(self, network: str, mask: str) -> str:
        for line in self.running.splitlines():
            if line.startswith(f"ip route {network} {mask} "):
                via = line.split()[-1]
                length = sum(int(part).bit_count() for part in mask.split("."))
                return (
                    f'Routing entry for {network}/{length}\n  Known via "static", distance 1, metric 0\n'
                    f"  Routing Descriptor Blocks:\n  * {via}\n      Route metric is 0, traffic share count is 1"
                )
        return "% Network not in table"
