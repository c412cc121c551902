"""The store's tables.

The migrations create them, with the triggers that guard them; a test holds that both say the same. Documents are
kept as ``json`` and not as ``jsonb``: what is read is exactly what was written, the order of fields and the digits
of numbers included, because digests and records depend on them.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    Computed,
    DateTime,
    Double,
    ForeignKey,
    ForeignKeyConstraint,
    Identity,
    Index,
    Integer,
    MetaData,
    PrimaryKeyConstraint,
    Sequence,
    Text,
    UniqueConstraint,
    text,
)
from sqlalchemy import Enum as EnumColumn
from sqlmodel import Field, SQLModel

from bot.domain.lifecycle import FINAL, State
from bot.domain.records import RecordKind

metadata = MetaData(
    naming_convention={
        "pk": "%(table_name)s_pkey",
        "fk": "%(table_name)s_%(column_0_name)s_fkey",
        "uq": "%(table_name)s_%(column_0_N_name)s_key",
        "ck": "%(table_name)s_%(constraint_name)s_check",
    }
)
"""Every table of ours; the carrier's tables are its own affair."""

CHANGED_CHANNEL = "rollback_changed"
"""The channel on which the id of each changed rollback is notified."""

LOCK_INDEX = "rollback_lock_live_target"
"""The index that lets a target be locked by one live rollback only."""

ENDED = ", ".join(f"'{state.value}'" for state in sorted(FINAL))
"""The final states as a list in SQL."""

_NOW = text("clock_timestamp()")


def _values(kind: type[State | RecordKind]) -> list[str]:
    return [member.value for member in kind]


def _moment(*, required: bool = True, default: bool = False) -> Column[datetime]:
    return Column(DateTime(timezone=True), nullable=not required, server_default=_NOW if default else None)


class Row(SQLModel):
    """What every table has in common."""

    metadata = metadata


class RollbackRow(Row, table=True):
    """A rollback: its snapshots, its state, its lease. The truth is its journal; this is what is found quickly.

    `fence` rises with each lease. A lease with an owner that has lapsed was not given back: its worker died.
    `zone` is the network zone whose worker is to go on.
    """

    __tablename__ = "rollback"
    __table_args__ = (
        CheckConstraint("seq >= 1 AND state_seq BETWEEN 1 AND seq", name="seq"),
        CheckConstraint("fence >= 0", name="fence"),
        CheckConstraint("(lease_owner IS NULL) = (lease_until IS NULL)", name="lease"),
        CheckConstraint("plan_digest ~ '^[0-9a-f]{64}$' AND targets_digest ~ '^[0-9a-f]{64}$'", name="digest"),
        CheckConstraint("requester <> '' AND change <> '' AND service <> '' AND zone <> ''", name="named"),
        Index("rollback_active", "number", postgresql_where=text(f"state NOT IN ({ENDED})")),
        Index("rollback_change", "change", "number"),
        Index("rollback_service", "service", "number"),
    )

    id: str = Field(
        sa_column=Column(Text, Computed("numbered('rb-', 4, number)", persisted=True), primary_key=True)
    )
    number: int = Field(
        sa_column=Column(
            BigInteger,
            Sequence("rollback_number"),
            server_default=text("nextval('rollback_number')"),
            unique=True,
            nullable=False,
        )
    )
    change: str = Field(sa_column=Column(Text, nullable=False))
    service: str = Field(sa_column=Column(Text, nullable=False))
    zone: str = Field(sa_column=Column(Text, nullable=False))
    state: State = Field(
        sa_column=Column(EnumColumn(State, name="rollback_state", values_callable=_values), nullable=False)
    )
    seq: int = Field(sa_column=Column(BigInteger, nullable=False))
    state_seq: int = Field(sa_column=Column(BigInteger, nullable=False))
    plan: dict[str, Any] = Field(sa_column=Column(JSON, nullable=False))
    plan_digest: str = Field(sa_column=Column(Text, nullable=False))
    inventory: dict[str, Any] = Field(sa_column=Column(JSON, nullable=False))
    targets_digest: str = Field(sa_column=Column(Text, nullable=False))
    requester: str = Field(sa_column=Column(Text, nullable=False))
    fence: int = Field(sa_column=Column(BigInteger, nullable=False, server_default="0"))
    lease_owner: str | None = Field(default=None, sa_column=Column(Text))
    lease_until: datetime | None = Field(default=None, sa_column=_moment(required=False))
    wake_at: datetime | None = Field(default=None, sa_column=_moment(required=False))
    created_at: datetime = Field(sa_column=_moment(default=True))


class LockRow(Row, table=True):
    """A target that a rollback has or had for itself; it ends in the same transaction as the last locking state."""

    __tablename__ = "rollback_lock"
    __table_args__ = (
        CheckConstraint("live = (ended_at IS NULL)", name="live"),
        Index(LOCK_INDEX, "target", unique=True, postgresql_where=text("live")),
    )

    rollback_id: str = Field(sa_column=Column(Text, ForeignKey("rollback.id"), primary_key=True))
    target: str = Field(sa_column=Column(Text, primary_key=True))
    live: bool = Field(sa_column_kwargs={"server_default": text("true"), "nullable": False})
    taken_at: datetime = Field(sa_column=_moment(default=True))
    ended_at: datetime | None = Field(default=None, sa_column=_moment(required=False))


class JournalRow(Row, table=True):
    """One event of a rollback, for ever. `fence` is the writer's lease, NULL for a person's decision."""

    __tablename__ = "journal"
    __table_args__ = (
        PrimaryKeyConstraint("rollback_id", "seq"),
        CheckConstraint("seq >= 1", name="seq"),
        Index(
            "journal_step",
            "rollback_id",
            "kind",
            "seq",
            postgresql_where=text("kind IN ('step_started', 'step_succeeded')"),
        ),
    )

    rollback_id: str = Field(sa_column=Column(Text, ForeignKey("rollback.id"), nullable=False))
    seq: int = Field(sa_column=Column(BigInteger, nullable=False))
    at: datetime = Field(sa_column=_moment(default=True))
    fence: int | None = Field(default=None, sa_column=Column(BigInteger))
    kind: str = Field(sa_column=Column(Text, Computed("body ->> 'kind'", persisted=True), nullable=False))
    who: str = Field(sa_column=Column(Text, Computed("body ->> 'who'", persisted=True), nullable=False))
    why: str = Field(sa_column=Column(Text, Computed("body ->> 'why'", persisted=True), nullable=False))
    body: dict[str, Any] = Field(sa_column=Column(JSON, nullable=False))


class AuditRow(Row, table=True):
    """A fact for the auditor, for ever. `at` is the writer's time, `db_at` the database's."""

    __tablename__ = "audit"

    number: int | None = Field(default=None, sa_column=Column(BigInteger, Identity(always=True), primary_key=True))
    at: datetime = Field(sa_column=_moment())
    db_at: datetime = Field(sa_column=_moment(default=True))
    who: str = Field(sa_column=Column(Text, nullable=False))
    what: str = Field(sa_column=Column(Text, nullable=False))
    why: str = Field(sa_column=Column(Text, nullable=False))
    detail: dict[str, Any] = Field(sa_column=Column(JSON, nullable=False))


class DeliveryRow(Row, table=True):
    """A delivery of the chat that has been taken in; kept for a week."""

    __tablename__ = "delivery"
    __table_args__ = (Index("delivery_at", "at"),)

    id: str = Field(sa_column=Column(Text, primary_key=True))
    at: datetime = Field(sa_column=_moment(default=True))


class MessageRow(Row, table=True):
    """An announcement that somebody claimed; `channel` and `ts` say where it was posted.

    `claimed_at` is when the last attempt to post it began or failed, `doubtful` whether that attempt may have
    posted it all the same, `tries` how often the chat refused it, `given_up_at` when nobody tried any more. `shown`
    names what an edited message shows since `edited_at`, and `refreshed` counts how often somebody wanted it to be
    shown again. The card's row says up to which event of the journal everything has been `said`, and to which
    `audience`: a digest of the policy.
    """

    __tablename__ = "message"
    __table_args__ = (
        PrimaryKeyConstraint("rollback_id", "key"),
        CheckConstraint("(channel IS NULL) = (ts IS NULL)", name="posted"),
        CheckConstraint("tries >= 0", name="tries"),
    )

    rollback_id: str = Field(sa_column=Column(Text, ForeignKey("rollback.id"), nullable=False))
    key: str = Field(sa_column=Column(Text, nullable=False))
    claimed_at: datetime = Field(sa_column=_moment(default=True))
    channel: str | None = Field(default=None, sa_column=Column(Text))
    ts: str | None = Field(default=None, sa_column=Column(Text))
    doubtful: bool = Field(sa_column_kwargs={"server_default": text("true"), "nullable": False})
    tries: int = Field(sa_column=Column(Integer, nullable=False, server_default="0"))
    given_up_at: datetime | None = Field(default=None, sa_column=_moment(required=False))
    shown: str | None = Field(default=None, sa_column=Column(Text))
    edited_at: datetime | None = Field(default=None, sa_column=_moment(required=False))
    refreshed: int = Field(sa_column=Column(BigInteger, nullable=False, server_default="0"))
    said: int | None = Field(default=None, sa_column=Column(BigInteger))
    audience: str | None = Field(default=None, sa_column=Column(Text))


class SpeakerRow(Row, table=True):
    """The one row that says which process speaks in the chat.

    `fence` rises with each process that takes the floor, `until` is when it lapses or was given back, and
    `silent_since` when the floor of the process before ended.
    """

    __tablename__ = "speaker"
    __table_args__ = (
        CheckConstraint("one", name="one"),
        CheckConstraint("fence >= 1", name="fence"),
        CheckConstraint("owner <> ''", name="owner"),
    )

    one: bool = Field(sa_column=Column(Boolean, primary_key=True, server_default=text("true")))
    owner: str = Field(sa_column=Column(Text, nullable=False))
    fence: int = Field(sa_column=Column(BigInteger, nullable=False, server_default="1"))
    until: datetime = Field(sa_column=_moment())
    silent_since: datetime | None = Field(default=None, sa_column=_moment(required=False))


class AccessTokenRow(Row, table=True):
    """A token by which a person or a pipeline is known outside of the chat; only its digest is kept."""

    __tablename__ = "access_token"
    __table_args__ = (CheckConstraint("digest <> '' AND user_id <> '' AND created_by <> ''", name="named"),)

    digest: str = Field(sa_column=Column(Text, primary_key=True))
    user_id: str = Field(sa_column=Column(Text, nullable=False))
    label: str = Field(sa_column=Column(Text, nullable=False, server_default=""))
    created_by: str = Field(sa_column=Column(Text, nullable=False))
    created_at: datetime = Field(sa_column=_moment(default=True))
    revoked_at: datetime | None = Field(default=None, sa_column=_moment(required=False))


class ProgressRow(Row, table=True):
    """How far a step has come. The table is unlogged: it may be lost and costs no flush."""

    __tablename__ = "progress"
    __table_args__ = (PrimaryKeyConstraint("rollback_id", "step"), {"prefixes": ["UNLOGGED"]})

    rollback_id: str = Field(sa_column=Column(Text, nullable=False))
    step: str = Field(sa_column=Column(Text, nullable=False))
    done: float = Field(sa_column=Column(Double, nullable=False))
    total: float | None = Field(default=None, sa_column=Column(Double))
    unit: str = Field(sa_column=Column(Text, nullable=False))
    words: str = Field(sa_column=Column(Text, nullable=False))
    at: datetime = Field(sa_column=_moment(default=True))


class DocumentRow(Row, table=True):
    """A JSON document by bucket and key; `number` keeps the order in which they were first written."""

    __tablename__ = "document"
    __table_args__ = (PrimaryKeyConstraint("bucket", "key"),)

    bucket: str = Field(sa_column=Column(Text, nullable=False))
    key: str = Field(sa_column=Column(Text, nullable=False))
    number: int | None = Field(default=None, sa_column=Column(BigInteger, Identity(always=True), nullable=False))
    document: dict[str, Any] = Field(sa_column=Column(JSON, nullable=False))
    at: datetime = Field(sa_column=_moment(default=True))


class RecordRow(Row, table=True):
    """An incident, a problem or a change of the built-in register. A change keeps the number it has."""

    __tablename__ = "record"
    __table_args__ = (
        ForeignKeyConstraint(["rollback_id"], ["rollback.id"]),
        UniqueConstraint("rollback_id", "kind"),
        CheckConstraint("number <> '' AND (kind <> 'change' OR number = change)", name="number"),
    )

    number: str = Field(sa_column=Column(Text, primary_key=True))
    kind: RecordKind = Field(
        sa_column=Column(EnumColumn(RecordKind, name="record_kind", values_callable=_values), nullable=False)
    )
    rollback_id: str = Field(sa_column=Column(Text, nullable=False))
    change: str = Field(sa_column=Column(Text, nullable=False))
    fields: dict[str, str] = Field(sa_column=Column(JSON, nullable=False))
    created_at: datetime = Field(sa_column=_moment(default=True))
    updated_at: datetime = Field(sa_column=_moment(default=True))


class RecordLinkRow(Row, table=True):
    """A link between two records. The change may have no record yet when its incident is linked."""

    __tablename__ = "record_link"
    __table_args__ = (
        PrimaryKeyConstraint("source", "target", "relation"),
        CheckConstraint("source <> target", name="two"),
        Index("record_link_target", "target"),
    )

    number: int | None = Field(default=None, sa_column=Column(BigInteger, Identity(always=True), nullable=False))
    source: str = Field(sa_column=Column(Text, nullable=False))
    target: str = Field(sa_column=Column(Text, nullable=False))
    relation: str = Field(sa_column=Column(Text, nullable=False))


class CarrierSchemaRow(Row, table=True):
    """One of procrastinate's own migrations that has been applied."""

    __tablename__ = "carrier_schema"

    name: str = Field(sa_column=Column(Text, primary_key=True))
    at: datetime = Field(sa_column=_moment(default=True))
