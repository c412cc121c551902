"""A Junos router's command line: commits, candidate, lock, rescue configuration, and `commit confirmed`."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable
from dataclasses import dataclass, field

from tests.support.routers import Router, Terminal, differences


@dataclass
class Commit:
    """A commit of Junos."""

    when: str
    how: str
    config: str


@dataclass
class Juniper(Router):
    """Junos: commits, candidate, lock, rescue configuration, `commit confirmed`."""

    commits: list[Commit] = field(default_factory=list)
    rescue: str = ""
    locked_by: str = ""
    rights: tuple[str, ...] = ("configure", "network", "rollback", "view", "view-configuration")
    deadline: float | None = None

    def terminal(self) -> Terminal:
        """Return a new session."""
        return Terminal(self._operational)

    @property
    def _operational(self) -> str:
        return f"\r\n{{master:0}}\r\nrollback@{self.name}> "

    def config(self) -> str:
        """Return what is in force."""
        return self.commits[0].config

    def state(self) -> object:
        """Return everything that a step could change."""
        self.tick()
        return [(commit.when, commit.how, commit.config) for commit in self.commits], self.rescue, self.deadline

    def tick(self) -> None:
        """Go back when the timer has ended."""
        if self.deadline is not None and self.clock.seconds >= self.deadline:
            self.deadline = None
            self._commit(self.commits[1].config, "by root via other")

    def _commit(self, config: str, how: str) -> None:
        minute, second = divmod(len(self.commits), 60)
        self.commits.insert(0, Commit(f"2024-01-15 16:{minute:02}:{second:02} UTC", how, config))
        del self.commits[50:]

    def answer(self, command: str, terminal: Terminal) -> str:
        """Carry a command out and return what is printed."""
        if terminal.candidate is not None:
            command = command.removeprefix("run ") if command.startswith("run ") else f"[edit] {command}"
        for pattern, act in self.commands(terminal).items():
            match = re.fullmatch(pattern, command)
            if match:
                return act(*match.groups())
        return f"{' ' * 20}^\nunknown command.\n"

    def commands(self, terminal: Terminal) -> dict[str, Callable[..., str]]:
        """Return what the device can do, in either mode."""

        def length() -> str:
            terminal.paging = False
            return "Screen length set to 0"

        return {
            r"set cli screen-length 0": length,
            r"set cli screen-width 0": lambda: "Screen width set to 0",
            r"show cli authorization": self._authorization,
            r"show system commit": self._listed,
            r"show log messages \| last 30": lambda: "Jan 15 15:47:00  edge01 mgd[12]: UI_COMMIT: User 'deploy'",
            r"show configuration \| compare rollback (\d+)": lambda n: self._compare(
                self.commits[int(n)].config, self.config()
            ),
            r"show configuration \| compare /config/rescue.conf.gz": lambda: self._compare(
                self.rescue, self.config()
            ),
            r"file checksum sha-256 /config/rescue.conf.gz": self._checksum,
            r"configure exclusive": lambda: self._configure(terminal),
            r"\[edit\] rollback (rescue|\d+)": lambda which: self._load(terminal, which),
            r"\[edit\] commit confirmed (\d+) comment \"[^\"]+\"": lambda n: self._confirmed(terminal, int(n)),
            r"\[edit\] commit comment \"[^\"]+\"": lambda: self._for_good(terminal),
            r"\[edit\] exit configuration-mode": lambda: self._exit(terminal),
            r"ping (\S+) count (\d+) rapid": self._ping,
            r"traceroute (\S+) no-resolve wait 1 ttl 15": self._trace,
            r"show route (\S+) exact": self._route,
            r"show route table inet.0 active-path": self._table,
        }

    def _authorization(self) -> str:
        granted = [f"    {right:<12}-- Can do what {right} is for" for right in self.rights]
        return "\n".join(["Current user: 'rollback' login class: 'rollback'", "Permissions:", *granted])

    def _listed(self) -> str:
        return "\n".join(f"{n:<4}{commit.when} {commit.how}" for n, commit in enumerate(self.commits))

    def _compare(self, old: str, new: str) -> str:
        found = differences(old, new)
        return "\n".join(["[edit system]", *found]) if found else ""

    def _checksum(self) -> str:
        if not self.rescue:
            return "error: could not stat: /config/rescue.conf.gz"
        return f"SHA256 (/config/rescue.conf.gz) = {hashlib.sha256(self.rescue.encode()).hexdigest()}"

    def _configure(self, terminal: Terminal) -> str:
        if self.locked_by:
            return (
                "error: configuration database locked by:\n"
                f"  {self.locked_by} terminal pts/0 (pid 4711) on since 2024-01-15 15:40:00 UTC\n"
                "      exclusive [edit]"
            )
        terminal.candidate, terminal.prompt = self.config(), f"\r\n[edit]\r\nrollback@{self.name}# "
        return "warning: uncommitted changes will be discarded on exit\nEntering configuration mode"

    def _load(self, terminal: Terminal, which: str) -> str:
        if which == "rescue":
            terminal.candidate = self.rescue
        else:
            terminal.candidate = self.commits[int(which)].config
        return "load complete"

    def _confirmed(self, terminal: Terminal, minutes: int) -> str:
        candidate = terminal.candidate or ""
        if "ge-9/" in candidate:
            return "[edit interfaces]\n  'ge-9/0/0'\n    no such interface\nerror: configuration check-out failed"
        self.deadline = self.clock.seconds + 60 * minutes
        self._commit(candidate, f"by rollback via cli commit confirmed, rollback in {minutes}mins")
        return (
            f"commit confirmed will be automatically rolled back in {minutes} minutes unless confirmed\n"
            f"commit complete\n\n# commit confirmed will be rolled back in {minutes} minutes"
        )

    def _for_good(self, terminal: Terminal) -> str:
        self.deadline = None
        self._commit(terminal.candidate or "", "by rollback via cli")
        return "commit complete\n"

    def _exit(self, terminal: Terminal) -> str:
        terminal.candidate, terminal.prompt = None, self._operational
        return "Exiting configuration mode"

    def _ping(self, host: str, count: str) -> str:
        if host.startswith("nowhere"):
            return f"ping: cannot resolve {host}: Host name lookup failure"
        sent = int(count)
        answered = round(sent * (1 - self.loss(host)))
        return (
            f"PING {host} ({host}): 56 data bytes\n{'!' * answered}{'.' * (sent - answered)}\n--- {host} ping"
            f" statistics ---\n{sent} packets transmitted, {answered} packets received,"
            f" {100 - 100 * answered // sent}% packet loss"
        )

    def _trace(self, host: str) -> str:
        found = self.trace(host)
        if found is None:
            return f"traceroute: unknown host {host}"
        hops = [
            f"{n:>2}  {hop}  0.512 ms  0.498 ms  0.477 ms" if hop else f"{n:>2}  * * *"
            for n, hop in enumerate(found, start=1)
        ]
        return "\n".join([f"traceroute to {host} (10.20.0.5), 15 hops max, 52 byte packets", *hops])

    def _table(self) -> str:
        rows = ["inet.0: 3 destinations, 3 routes (3 active, 0 holddown, 0 hidden)", "+ = Active Route", ""]
        for prefix, hop in re.findall(r"route (\S+) next-hop (\S+);", self.config()):
            rows += [f"{prefix:<19}*[Static/5] 1d 02:03:04", f"{' ' * 19}>  to {hop} via ge-0/0/1.0"]
        rows += ["10.1.1.2/32        *[Local/0] 3w2d 01:00:00", f"{' ' * 22}Local via ge-0/0/1.0"]
        return "\n".join(rows)

    def _route(self, prefix: str) -> str:
        found = re.search(rf"route {re.escape(prefix)} next-hop (\S+);", self.config())
        if not found:
            return ""
        return (
            "inet.0: 12 destinations, 12 routes (12 active, 0 holddown, 0 hidden)\n"
            "+ = Active Route, - = Last Active, * = Both\n\n"
            f"{prefix}        *[Static/5] 1d 02:03:04\n                    >  to {found[1]} via ge-0/0/1.0"
        )
