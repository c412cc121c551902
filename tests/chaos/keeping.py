"""Keeps the evidence of a chaos run in its folder, and reads it back to be judged, now and again."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from bot.domain import events
from bot.domain.inventory import Inventory
from bot.domain.plan import plan_model
from bot.domain.run import Run
from tests.chaos.evidence import Act, Entry, Evidence, Lease, Life, Lock, Nap, Outage, Told, Word
from tests.chaos.steps import register
from tests.support.pgserver import PgServer

_DATABASE = "store"
_WATCH = """
CREATE TABLE chaos_lease (
    number bigint GENERATED ALWAYS AS IDENTITY, at timestamptz NOT NULL DEFAULT clock_timestamp(),
    rollback_id text NOT NULL, fence bigint NOT NULL, owner text, until timestamptz
);
CREATE FUNCTION chaos_lease_changed() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
    INSERT INTO chaos_lease (rollback_id, fence, owner, until)
    VALUES (NEW.id, NEW.fence, NEW.lease_owner, NEW.lease_until);
    RETURN NULL;
END $$;
CREATE TRIGGER chaos_lease_changed AFTER UPDATE OF fence, lease_owner, lease_until ON rollback
FOR EACH ROW EXECUTE FUNCTION chaos_lease_changed();
"""
"""The store itself writes down every change of a lease, in the transaction that makes it."""

_TABLES = {
    "rollbacks": "SELECT id, change, state::text, plan::text, inventory::text FROM rollback ORDER BY number",
    "journal": "SELECT rollback_id AS run, seq, extract(epoch FROM at)::float8 AS at, fence, body::text "
    "FROM journal ORDER BY rollback_id, seq",
    "leases": "SELECT rollback_id AS run, extract(epoch FROM at)::float8 AS at, fence, owner, "
    "extract(epoch FROM until)::float8 AS until FROM chaos_lease ORDER BY rollback_id, number",
    "locks": "SELECT rollback_id AS run, target, extract(epoch FROM taken_at)::float8 AS taken, "
    "extract(epoch FROM ended_at)::float8 AS ended FROM rollback_lock ORDER BY target, taken_at",
}
"""What is kept of the store, by the name of its file."""


def watch_leases(store: PgServer) -> None:
    """Let the store write down every change of a lease."""
    store.execute(_WATCH, dbname=_DATABASE)


def keep(folder: Path, store: PgServer, *, changes: Sequence[str], counts: Mapping[str, int]) -> None:
    """Write what the store knows beside what the others have written already."""
    for name, query in _TABLES.items():
        rows = store.execute(f"SELECT to_json(t)::text FROM ({query}) t", dbname=_DATABASE)  # noqa: S608 - our own
        (folder / f"{name}.jsonl").write_text("".join(f"{row[0]}\n" for row in rows), encoding="utf-8")
    (folder / "people.json").write_text(json.dumps({"changes": list(changes), "counts": dict(counts)}), "utf-8")


def read(folder: Path) -> Evidence:
    """Return the evidence that a chaos run left in its folder."""
    model = plan_model(register(socket=folder).catalogue())
    rollbacks = list(_lines(folder / "rollbacks.jsonl"))
    journals: defaultdict[str, list[Entry]] = defaultdict(list)
    for row in _lines(folder / "journal.jsonl"):
        event = events.EVENT.validate_json(row["body"])
        journals[row["run"]].append(Entry(row["seq"], row["at"], row["fence"], event))
    diary = list(_lines(folder / "diary.jsonl"))
    people = json.loads((folder / "people.json").read_text(encoding="utf-8"))
    return Evidence(
        changes=tuple(people["changes"]),
        runs={
            row["id"]: Run(
                id=row["id"],
                plan=model.model_validate_json(row["plan"]),
                inventory=Inventory.model_validate_json(row["inventory"]),
            )
            for row in rollbacks
        },
        states={row["id"]: row["state"] for row in rollbacks},
        journals={run: tuple(entries) for run, entries in journals.items()},
        leases=tuple(Lease(**row) for row in _lines(folder / "leases.jsonl")),
        locks=tuple(Lock(**row) for row in _lines(folder / "locks.jsonl")),
        acts=_acts(folder / "witness.jsonl"),
        naps=_naps(diary),
        lives=_lives(diary),
        told=_told(diary),
        outages=_outages(diary),
        counts=people["counts"],
    )


def _lines(path: Path) -> Iterator[dict[str, Any]]:
    with path.open(encoding="utf-8") as stream:
        for line in stream:
            yield json.loads(line)


def _acts(path: Path) -> tuple[Act, ...]:
    begun: dict[int, dict[str, Any]] = {}
    words: defaultdict[int, list[Word]] = defaultdict(list)
    for row in _lines(path):
        if "act" in row:
            word = Word(row["op"], row["at"], row.get("sent", row["at"]), row.get("answer", {}))
            words[row["act"]].append(word)
            if row["op"] == "begin":
                begun[row["act"]] = row
    return tuple(
        Act(
            number=number,
            words=tuple(words[number]),
            **{key: row[key] for key in ("run", "step", "target", "worker", "reads_only")},
        )
        for number, row in begun.items()
    )


def _naps(diary: Sequence[Mapping[str, Any]]) -> tuple[Nap, ...]:
    """Return the freezes, until the waking or the end."""
    found = []
    asleep: dict[int, float] = {}
    for row in diary:
        if row["what"] == "SIGSTOP":
            asleep.setdefault(row["pid"], row["at"])
        elif row["what"] in ("SIGCONT", "ended") and row["pid"] in asleep:
            found.append(Nap(row["pid"], asleep.pop(row["pid"]), row["at"], woke=row["what"] == "SIGCONT"))
    return tuple(found)


def _lives(diary: Sequence[Mapping[str, Any]]) -> tuple[Life, ...]:
    lives: dict[int, dict[str, Any]] = {}
    for row in diary:
        match row["what"]:
            case "started":
                lives[row["pid"]] = {key: row[key] for key in ("worker", "zone", "pid")} | {"since": row["at"]}
            case "ready":
                lives[row["pid"]]["ready"] = row["at"]
            case "ended":
                lives[row["pid"]] |= {"until": row["at"], "code": row["code"]}
            case "SIGTERM":
                lives[row["pid"]].setdefault("told", row["at"])
            case "SIGKILL":
                lives[row["pid"]].setdefault("killed", row["at"])
            case _:
                pass
    return tuple(Life(**life) for life in lives.values())


def _outages(diary: Sequence[Mapping[str, Any]]) -> tuple[Outage, ...]:
    found = []
    away: Mapping[str, Any] = {}
    for row in diary:
        if row["what"] in ("store crashed", "store frozen"):
            away = row
        elif row["what"] in ("store up", "store thawed") and away:
            found.append(Outage(away["what"].removeprefix("store "), away["at"], row["at"]))
    return tuple(found)


def _told(diary: Sequence[Mapping[str, Any]]) -> tuple[Told, ...]:
    how: defaultdict[str, list[str]] = defaultdict(list)
    for row in diary:
        if row["what"] == "word":
            how[row["why"]].append(row["how"])
    return tuple(Told(why, tuple(answers)) for why, answers in how.items())
