"""What a plan must satisfy beyond the form of its fields. Every violation is found at once."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import timedelta

from bot.domain.inventory import (
    Cache,
    Cluster,
    Database,
    Downstream,
    Endpoint,
    Inventory,
    LoadBalancer,
    ManagedDatabase,
    MetricsPage,
    NetworkDevice,
    PrometheusQueries,
    ServerGroup,
    Target,
    TerraformStack,
)
from bot.domain.plan import Backup, BackupKind, Plan, RowsWritten, Step
from bot.domain.plan_commands import wrong_with
from bot.domain.times import format_duration

Path = tuple[str | int, ...]
"""Where in the document, as keys and indexes."""


_EARLIER = "earlier phases have always ended before"


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong with a plan.

    Attributes:
        path: Where in the document.
        message: What is wrong.
        suggestion: What to write instead; may be empty.
    """

    path: Path
    message: str
    suggestion: str = ""


_TARGET_OF: dict[str, tuple[type[Target], ...]] = {
    "servers": (ServerGroup,),
    "command": (ServerGroup,),
    "config": (ServerGroup,),
    "postgres": (Database,),
    "http": (Endpoint,),
    "metrics": (MetricsPage, PrometheusQueries),
    "haproxy": (LoadBalancer,),
    "alb": (LoadBalancer,),
    "balancer": (MetricsPage, PrometheusQueries),
    "downstream": (Downstream,),
    "cache": (Cache,),
    "terraform": (TerraformStack,),
    "network": (NetworkDevice,),
    "rds": (ManagedDatabase,),
    "kubernetes": (Cluster,),
    "gitops": (Cluster,),
    "mesh": (Cluster,),
    "gateway": (Cluster,),
}
_BACKUP_TARGET: dict[BackupKind, tuple[type[Target], ...]] = {
    BackupKind.DATABASE: (Database, ManagedDatabase),
    BackupKind.ARTIFACT: (ServerGroup,),
    BackupKind.CONFIGURATION: (ServerGroup,),
}


def check_plan(plan: Plan, inventory: Inventory) -> tuple[Problem, ...]:
    """Return every problem of the plan against itself and the inventory; empty when it is sound."""
    return (
        *_ids(plan),
        *_needs(plan),
        *_targets(plan, inventory),
        *_dependencies(plan, inventory),
        *_commands(plan, inventory),
        *_backups(plan, inventory),
        *_limits(plan, inventory),
        *_verification(plan),
        *_durations(plan),
    )


def closest(word: str, known: Iterable[str]) -> str:
    """Return the suggestion for a mistyped word."""
    options = sorted(known)
    near = difflib.get_close_matches(word, options, n=1, cutoff=0.6)
    if near:
        return f"did you mean {near[0]!r}?"
    return f"known: {', '.join(options[:12])}" if options else ""


def _located(plan: Plan) -> Iterator[tuple[Path, Step]]:
    for p, phase in enumerate(plan.phases):
        for s, step in enumerate(phase.steps):
            yield ("phases", p, "steps", s), step
    for s, step in enumerate(plan.verification.steps):
        yield ("verification", "steps", s), step


def _ids(plan: Plan) -> Iterator[Problem]:
    seen: set[str] = set()
    for path, step in _located(plan):
        if step.id in seen:
            yield Problem((*path, "id"), f"step id {step.id!r} stands twice", "give every step its own id")
        seen.add(step.id)
    names: set[str] = set()
    for b, backup in enumerate(plan.backups):
        if backup.id in names:
            yield Problem(
                ("backups", b, "id"), f"backup id {backup.id!r} stands twice", "give every backup its own id"
            )
        names.add(backup.id)


def _needs(plan: Plan) -> Iterator[Problem]:
    groups: list[tuple[Path, Sequence[Step]]] = [
        (("phases", p, "steps"), phase.steps) for p, phase in enumerate(plan.phases)
    ]
    groups.append((("verification", "steps"), plan.verification.steps))
    for base, steps in groups:
        ids = {step.id for step in steps}
        for s, step in enumerate(steps):
            for n, needed in enumerate(step.needs):
                if needed not in ids:
                    yield Problem(
                        (*base, s, "needs", n),
                        f"step {step.id!r} needs {needed!r}, which is not in the same phase",
                        "; ".join(filter(None, (closest(needed, ids - {step.id}), _EARLIER))),
                    )
        cycle = find_cycle(steps)
        if cycle:
            yield Problem(base, f"the steps wait for each other: {' -> '.join(cycle)}", "remove one of these needs")


def find_cycle(steps: Sequence[Step]) -> tuple[str, ...]:
    """Return the ids of a cycle in `needs`, first and last the same; empty when there is none."""
    graph = {step.id: [n for n in step.needs if any(n == other.id for other in steps)] for step in steps}
    done: set[str] = set()

    def walk(node: str, trail: tuple[str, ...]) -> tuple[str, ...]:
        if node in trail:
            return (*trail[trail.index(node) :], node)
        if node in done:
            return ()
        for following in graph[node]:
            found = walk(following, (*trail, node))
            if found:
                return found
        done.add(node)
        return ()

    for start in graph:
        found = walk(start, ())
        if found:
            return found
    return ()


def _targets(plan: Plan, inventory: Inventory) -> Iterator[Problem]:
    names = [name for name, _ in inventory.items()]
    for path, step in _located(plan):
        target = inventory.find(step.target)
        wanted = _TARGET_OF.get(step.kind.split(".")[0], ())
        if target is None:
            yield Problem(
                (*path, "target"),
                f"target {step.target!r} is not in the inventory",
                closest(step.target, names),
            )
        elif wanted and not isinstance(target, wanted):
            fitting = [name for name, other in inventory.items() if isinstance(other, wanted)]
            yield Problem(
                (*path, "target"),
                f"target {step.target!r} is a {target.kind}, which {step.kind} cannot act on",
                closest(step.target, fitting),
            )
    metrics = inventory.find(plan.metrics)
    if not isinstance(metrics, MetricsPage | PrometheusQueries):
        problem = "is not in the inventory" if metrics is None else f"is a {metrics.kind}, not a source of metrics"
        yield Problem(("metrics",), f"target {plan.metrics!r} {problem}", closest(plan.metrics, inventory.metrics))


def _dependencies(plan: Plan, inventory: Inventory) -> Iterator[Problem]:
    for d, name in enumerate(plan.dependencies):
        target = inventory.find(name)
        if not isinstance(target, Endpoint | Cache):
            found = (
                "is not in the inventory" if target is None else f"is a {target.kind}, not an endpoint or a cache"
            )
            known = [*inventory.endpoints, *inventory.caches]
            yield Problem(("dependencies", d), f"target {name!r} {found}", closest(name, known))


def _commands(plan: Plan, inventory: Inventory) -> Iterator[Problem]:
    for path, step in _located(plan):
        for field, message, suggestion in wrong_with(step, inventory):
            yield Problem((*path, field), message, suggestion)


def _limits(plan: Plan, inventory: Inventory) -> Iterator[Problem]:
    """A limit that nobody can measure would count as passed when it is too late to correct it."""
    point = plan.point_of_no_return
    for key, limit in (("rows", point.rows), ("query", point.query)):
        if limit is None:
            continue
        path: Path = ("point_of_no_return", key)
        target = inventory.find(limit.target)
        if not isinstance(target, Database):
            found = "is not in the inventory" if target is None else f"is a {target.kind}, not a database"
            yield Problem(
                (*path, "target"), f"target {limit.target!r} {found}", closest(limit.target, inventory.databases)
            )
        if not any(step.destroys for step in plan.steps()):
            yield Problem(
                path, "no step of the plan takes live data away, so nothing would measure this", "leave it out"
            )
    if point.rows is not None:
        target = inventory.find(point.rows.target)
        yield from _counted(plan, point.rows, target.count_tables if isinstance(target, Database) else ())


def _counted(plan: Plan, rows: RowsWritten, of_inventory: Sequence[str]) -> Iterator[Problem]:
    known = plan.baseline.row_counts
    path: Path = ("point_of_no_return", "rows", "tables")
    tables = rows.tables or of_inventory or tuple(known)
    if not tables:
        yield Problem(
            path, "neither the plan nor the inventory names a table to count", "name one, with its baseline"
        )
    for t, table in enumerate(tables):
        if table not in known:
            yield Problem(
                (*path, t) if rows.tables else path,
                f"the baseline has no row count of {table!r} to compare with",
                closest(table, known) or "add it to baseline.row_counts",
            )


def _backups(plan: Plan, inventory: Inventory) -> Iterator[Problem]:
    ids = [backup.id for backup in plan.backups]
    for path, step in _located(plan):
        for backup_id in step.backup_ids():
            if backup_id not in ids:
                yield Problem(
                    (*path, "backup"),
                    f"backup {backup_id!r} is not among the plan's backups",
                    closest(backup_id, ids),
                )
    for b, backup in enumerate(plan.backups):
        yield from _backup_target(("backups", b), backup, inventory)
        if backup.taken_at > plan.deployed_at:
            yield Problem(
                ("backups", b, "taken_at"),
                f"backup {backup.id!r} was taken after the deployment, so it holds the failed state",
                "name the backup that was taken before deployed_at",
            )


def _backup_target(path: Path, backup: Backup, inventory: Inventory) -> Iterator[Problem]:
    target = inventory.find(backup.target)
    wanted = _BACKUP_TARGET[backup.kind]
    if not isinstance(target, wanted):
        problem = "is not in the inventory" if target is None else f"is a {target.kind}"
        fitting = [name for name, other in inventory.items() if isinstance(other, wanted)]
        yield Problem((*path, "target"), f"target {backup.target!r} {problem}", closest(backup.target, fitting))


def _verification(plan: Plan) -> Iterator[Problem]:
    for s, step in enumerate(plan.verification.steps):
        if not step.reads_only:
            yield Problem(
                ("verification", "steps", s, "kind"),
                f"{step.kind} changes its target; verification only reads",
                "move the step into a phase",
            )
        elif step.diagnoses:
            yield Problem(
                ("verification", "steps", s, "kind"),
                f"{step.kind} only shows what it finds and never fails for it, so it verifies nothing",
                "verify with a probe that expects something",
            )
    if not any(step.kind.startswith("metrics.") for step in plan.verification.steps):
        yield Problem(
            ("verification", "steps"),
            "nothing verifies that the metrics are back at the baseline",
            "add a metrics.baseline step",
        )


def _durations(plan: Plan) -> Iterator[Problem]:
    if plan.window <= timedelta(0):
        yield Problem(("window",), "the rollback window is empty", "write for example 30m")
    elif plan.expected() > plan.window:
        yield Problem(
            ("window",),
            f"the phases are expected to take {format_duration(plan.expected())}, "
            f"longer than the window of {format_duration(plan.window)}",
            "widen the window or shorten the phases",
        )
