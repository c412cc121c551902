"""What a plan must satisfy beyond the form of its fields."""

from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bot.domain.plan import Plan
from bot.domain.plan_rules import Problem, check_plan, closest, find_cycle
from tests.support import plans
from tests.support.plans import MODERATE, act, probe

INVENTORY = plans.inventory()


def _phases(*steps: dict[str, Any]) -> list[dict[str, Any]]:
    return [{"name": "Only", "expected": "5m", "steps": list(steps)}]


def _probes(*steps: dict[str, Any]) -> dict[str, Any]:
    return {"expected": "5m", "steps": list(steps)}


def _backup(**changes: Any) -> dict[str, Any]:
    return {**plans.document()["backups"][0], **changes}


def test_sound() -> None:
    """The specification's example has no problem."""
    assert check_plan(plans.plan(), INVENTORY) == ()


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        pytest.param(
            {"phases": _phases(act("a"), act("b"), act("a"))},
            Problem(("phases", 0, "steps", 2, "id"), "step id 'a' stands twice", "give every step its own id"),
            id="step twice",
        ),
        pytest.param(
            {"phases": _phases(act("metrics"))},
            Problem(
                ("verification", "steps", 4, "id"),
                "step id 'metrics' stands twice",
                "give every step its own id",
            ),
            id="step twice, in a phase and in the verification",
        ),
        pytest.param(
            {"backups": [*plans.document()["backups"], _backup(kind="database")]},
            Problem(("backups", 3, "id"), "backup id 'db-before' stands twice", "give every backup its own id"),
            id="backup twice",
        ),
        pytest.param(
            {"phases": _phases(act("first"), act("second", needs=["frist"]))},
            Problem(
                ("phases", 0, "steps", 1, "needs", 0),
                "step 'second' needs 'frist', which is not in the same phase",
                "did you mean 'first'?; earlier phases have always ended before",
            ),
            id="needs a mistyped step",
        ),
        pytest.param(
            {"phases": _phases(act("only", needs=["health"]))},
            Problem(
                ("phases", 0, "steps", 0, "needs", 0),
                "step 'only' needs 'health', which is not in the same phase",
                "earlier phases have always ended before",
            ),
            id="needs a step of another phase",
        ),
        pytest.param(
            {"phases": _phases(act("a", needs=["b"]), act("b", needs=["c"]), act("c", needs=["a"]))},
            Problem(
                ("phases", 0, "steps"),
                "the steps wait for each other: a -> b -> c -> a",
                "remove one of these needs",
            ),
            id="cycle",
        ),
        pytest.param(
            {"verification": _probes(probe("a", needs=["a"]))},
            Problem(
                ("verification", "steps"), "the steps wait for each other: a -> a", "remove one of these needs"
            ),
            id="a probe waits for itself",
        ),
        pytest.param(
            {"phases": _phases({**act("a"), "target": "payment-servers"})},
            Problem(
                ("phases", 0, "steps", 0, "target"),
                "target 'payment-servers' is not in the inventory",
                "did you mean 'payments-servers'?",
            ),
            id="unknown target",
        ),
        pytest.param(
            {"phases": _phases({**act("a"), "target": "payments-db"})},
            Problem(
                ("phases", 0, "steps", 0, "target"),
                "target 'payments-db' is a database, which servers.start cannot act on",
                "did you mean 'payments-servers'?",
            ),
            id="target of another kind",
        ),
        pytest.param(
            {"metrics": "payments-metric"},
            Problem(
                ("metrics",),
                "target 'payments-metric' is not in the inventory",
                "did you mean 'payments-metrics'?",
            ),
            id="unknown metrics",
        ),
        pytest.param(
            {"metrics": "payments-db"},
            Problem(
                ("metrics",),
                "target 'payments-db' is a database, not a source of metrics",
                "did you mean 'payments-metrics'?",
            ),
            id="metrics of a database",
        ),
        pytest.param(
            {
                "phases": _phases(
                    {"id": "a", "kind": "postgres.restore", "target": "payments-db", "backup": "db-befor"}
                )
            },
            Problem(
                ("phases", 0, "steps", 0, "backup"),
                "backup 'db-befor' is not among the plan's backups",
                "did you mean 'db-before'?",
            ),
            id="unknown backup",
        ),
        pytest.param(
            {"backups": [*plans.document()["backups"], _backup(id="late", taken_at="2024-01-15 15:46")]},
            Problem(
                ("backups", 3, "taken_at"),
                "backup 'late' was taken after the deployment, so it holds the failed state",
                "name the backup that was taken before deployed_at",
            ),
            id="backup of the failed state",
        ),
        pytest.param(
            {"backups": [*plans.document()["backups"], _backup(id="odd", target="nowhere")]},
            Problem(("backups", 3, "target"), "target 'nowhere' is not in the inventory", "known: payments-db"),
            id="backup of an unknown target",
        ),
        pytest.param(
            {"backups": [*plans.document()["backups"], _backup(id="odd", target="payments-servers")]},
            Problem(
                ("backups", 3, "target"),
                "target 'payments-servers' is a server_group",
                "did you mean 'payments-db'?",
            ),
            id="backup of a target of another kind",
        ),
        pytest.param(
            {"verification": _probes(probe("m"), act("oops"))},
            Problem(
                ("verification", "steps", 1, "kind"),
                "servers.start changes its target; verification only reads",
                "move the step into a phase",
            ),
            id="verification that acts",
        ),
        pytest.param(
            {"verification": _probes({"id": "h", "kind": "http.health", "target": "payments-api"})},
            Problem(
                ("verification", "steps"),
                "nothing verifies that the metrics are back at the baseline",
                "add a metrics.baseline step",
            ),
            id="verification without metrics",
        ),
        pytest.param(
            {"window": "0s"},
            Problem(("window",), "the rollback window is empty", "write for example 30m"),
            id="no window",
        ),
        pytest.param(
            {"window": "24m"},
            Problem(
                ("window",),
                "the phases are expected to take 25m, longer than the window of 24m",
                "widen the window or shorten the phases",
            ),
            id="longer than the window",
        ),
    ],
)
def test_problem(changes: dict[str, Any], problem: Problem) -> None:
    """Each violation is found alone, with the place in the document and what to write instead."""
    assert check_plan(plans.plan(**changes), INVENTORY) == (problem,)


def test_all_at_once() -> None:
    """Every violation is found at once, not only the first."""
    steps = (act("a", needs=["b"]), {**act("a"), "target": "nowhere"})
    found = check_plan(plans.plan(phases=_phases(*steps), window="1m", metrics="nowhere"), INVENTORY)
    assert [problem.path for problem in found] == [
        ("phases", 0, "steps", 1, "id"),
        ("phases", 0, "steps", 0, "needs", 0),
        ("phases", 0, "steps", 1, "target"),
        ("metrics",),
        ("window",),
    ]


def test_foreign_actuator() -> None:
    """A step of an actuator that is not ours may name any target: its actuator's own check judges it."""

    class Foreign(plans.Drain):
        kind: Any = "dns.switch"

    plan = plans.plan()
    phase = plan.phases[0].model_copy(update={"steps": (Foreign(id="x", target="payments-api"),)})
    assert check_plan(plan.model_copy(update={"phases": (phase,)}), INVENTORY) == ()


def test_closest() -> None:
    """A mistyped word gets the nearest known one, a strange one the list, and nothing where nothing is known."""
    assert closest("restor", ["swap", "restore"]) == "did you mean 'restore'?"
    assert closest("zzz", ["swap", "restore"]) == "known: restore, swap"
    assert closest("zzz", []) == ""
    assert closest("zzz", [f"n{i:02d}" for i in range(20)]).count(",") == 11


Graph = dict[str, list[str]]


@st.composite
def graphs(draw: st.DrawFn) -> Graph:
    """Draw any directed graph of up to seven steps, which may need steps that are not there."""
    names = [f"s{i}" for i in range(draw(st.integers(1, 7)))]
    return {name: draw(st.lists(st.sampled_from([*names, "elsewhere"]), unique=True, max_size=4)) for name in names}


def _plan(graph: Graph) -> Plan:
    return plans.plan_of([[act(name, needs=needs) for name, needs in graph.items()]], verification=[probe("m")])


def _can_all_run(graph: Graph) -> bool:
    """Take steps away that need nothing that is left, until nothing moves: what remains waits for itself."""
    left = {name: {need for need in needs if need in graph} for name, needs in graph.items()}
    while ready := [name for name, needs in left.items() if not needs & left.keys()]:
        for name in ready:
            del left[name]
    return not left


@MODERATE
@given(graph=graphs())
def test_cycles(graph: Graph) -> None:
    """A cycle is found exactly if some steps can never begin, and it is one: each step needs the next."""
    cycle = find_cycle(_plan(graph).phases[0].steps)
    assert bool(cycle) is not _can_all_run(graph)
    if cycle:
        assert cycle[0] == cycle[-1]
        assert len(set(cycle)) == len(cycle) - 1
        assert all(following in graph[step] for step, following in pairwise(cycle))
