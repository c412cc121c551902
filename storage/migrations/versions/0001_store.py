"""The store: rollbacks and their journal, locks, audit, messages, records and documents.

The states and transitions stand here as they were when this was written: a later lifecycle is a later migration.
"""

from __future__ import annotations

from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

_TYPES = """
CREATE TYPE rollback_state AS ENUM (
    'requested', 'checking', 'awaiting_authority', 'authorised', 'executing', 'held', 'verifying', 'complete',
    'closed', 'refused', 'expired', 'stood_down', 'aborted'
);
CREATE TYPE record_kind AS ENUM ('incident', 'problem', 'change');
CREATE SEQUENCE rollback_number AS bigint;
CREATE SEQUENCE incident_number AS bigint;
CREATE SEQUENCE problem_number AS bigint;

-- numbered('rb-', 4, 7) is rb-0007; more digits are kept, never cut.
CREATE FUNCTION numbered(prefix text, digits integer, n bigint) RETURNS text LANGUAGE sql IMMUTABLE
RETURN prefix || lpad(n::text, greatest(digits, length(n::text)), '0');
"""

_TABLES = """
CREATE TABLE rollback (
    id text GENERATED ALWAYS AS (numbered('rb-', 4, number)) STORED,
    number bigint NOT NULL DEFAULT nextval('rollback_number'),
    change text NOT NULL,
    service text NOT NULL,
    zone text NOT NULL,
    state rollback_state NOT NULL,
    seq bigint NOT NULL,
    state_seq bigint NOT NULL,
    plan json NOT NULL,
    plan_digest text NOT NULL,
    inventory json NOT NULL,
    targets_digest text NOT NULL,
    requester text NOT NULL,
    fence bigint NOT NULL DEFAULT 0,
    lease_owner text,
    lease_until timestamptz,
    wake_at timestamptz,
    created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    CONSTRAINT rollback_pkey PRIMARY KEY (id),
    CONSTRAINT rollback_number_key UNIQUE (number),
    CONSTRAINT rollback_seq_check CHECK (seq >= 1 AND state_seq BETWEEN 1 AND seq),
    CONSTRAINT rollback_fence_check CHECK (fence >= 0),
    CONSTRAINT rollback_lease_check CHECK ((lease_owner IS NULL) = (lease_until IS NULL)),
    CONSTRAINT rollback_digest_check
        CHECK (plan_digest ~ '^[0-9a-f]{64}$' AND targets_digest ~ '^[0-9a-f]{64}$'),
    CONSTRAINT rollback_named_check CHECK (requester <> '' AND change <> '' AND service <> '' AND zone <> '')
);
ALTER SEQUENCE rollback_number OWNED BY rollback.number;
CREATE INDEX rollback_active ON rollback (number)
    WHERE state NOT IN ('closed', 'expired', 'refused', 'stood_down');
CREATE INDEX rollback_change ON rollback (change, number);

CREATE TABLE rollback_lock (
    rollback_id text NOT NULL CONSTRAINT rollback_lock_rollback_id_fkey REFERENCES rollback (id),
    target text NOT NULL,
    live boolean NOT NULL DEFAULT true,
    taken_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    ended_at timestamptz,
    CONSTRAINT rollback_lock_pkey PRIMARY KEY (rollback_id, target),
    CONSTRAINT rollback_lock_live_check CHECK (live = (ended_at IS NULL))
);
CREATE UNIQUE INDEX rollback_lock_live_target ON rollback_lock (target) WHERE live;

CREATE TABLE journal (
    rollback_id text NOT NULL CONSTRAINT journal_rollback_id_fkey REFERENCES rollback (id),
    seq bigint NOT NULL,
    at timestamptz NOT NULL DEFAULT clock_timestamp(),
    fence bigint,
    kind text NOT NULL GENERATED ALWAYS AS (body ->> 'kind') STORED,
    who text NOT NULL GENERATED ALWAYS AS (body ->> 'who') STORED,
    why text NOT NULL GENERATED ALWAYS AS (body ->> 'why') STORED,
    body json NOT NULL,
    CONSTRAINT journal_pkey PRIMARY KEY (rollback_id, seq),
    CONSTRAINT journal_seq_check CHECK (seq >= 1)
);

CREATE TABLE audit (
    number bigint GENERATED ALWAYS AS IDENTITY CONSTRAINT audit_pkey PRIMARY KEY,
    at timestamptz NOT NULL,
    db_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    who text NOT NULL,
    what text NOT NULL,
    why text NOT NULL,
    detail json NOT NULL
);

CREATE TABLE delivery (
    id text CONSTRAINT delivery_pkey PRIMARY KEY,
    at timestamptz NOT NULL DEFAULT clock_timestamp()
);
CREATE INDEX delivery_at ON delivery (at);

CREATE TABLE message (
    rollback_id text NOT NULL CONSTRAINT message_rollback_id_fkey REFERENCES rollback (id),
    key text NOT NULL,
    claimed_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    channel text,
    ts text,
    CONSTRAINT message_pkey PRIMARY KEY (rollback_id, key),
    CONSTRAINT message_posted_check CHECK ((channel IS NULL) = (ts IS NULL))
);

CREATE UNLOGGED TABLE progress (
    rollback_id text NOT NULL,
    step text NOT NULL,
    done double precision NOT NULL,
    total double precision,
    unit text NOT NULL,
    words text NOT NULL,
    at timestamptz NOT NULL DEFAULT clock_timestamp(),
    CONSTRAINT progress_pkey PRIMARY KEY (rollback_id, step)
);

CREATE TABLE document (
    bucket text NOT NULL,
    key text NOT NULL,
    number bigint NOT NULL GENERATED ALWAYS AS IDENTITY,
    document json NOT NULL,
    at timestamptz NOT NULL DEFAULT clock_timestamp(),
    CONSTRAINT document_pkey PRIMARY KEY (bucket, key)
);

CREATE TABLE record (
    number text CONSTRAINT record_pkey PRIMARY KEY,
    kind record_kind NOT NULL,
    rollback_id text NOT NULL CONSTRAINT record_rollback_id_fkey REFERENCES rollback (id),
    change text NOT NULL,
    fields json NOT NULL,
    created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    updated_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    CONSTRAINT record_rollback_id_kind_key UNIQUE (rollback_id, kind),
    CONSTRAINT record_number_check CHECK (number <> '' AND (kind <> 'change' OR number = change))
);

CREATE TABLE record_link (
    number bigint NOT NULL GENERATED ALWAYS AS IDENTITY,
    source text NOT NULL,
    target text NOT NULL,
    relation text NOT NULL,
    CONSTRAINT record_link_pkey PRIMARY KEY (source, target, relation),
    CONSTRAINT record_link_two_check CHECK (source <> target)
);
CREATE INDEX record_link_target ON record_link (target);

CREATE TABLE carrier_schema (
    name text CONSTRAINT carrier_schema_pkey PRIMARY KEY,
    at timestamptz NOT NULL DEFAULT clock_timestamp()
);
"""

_APPEND_ONLY = """
CREATE FUNCTION append_only() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION '% is append only: % is refused', TG_TABLE_NAME, TG_OP USING ERRCODE = 'restrict_violation';
END $$;
CREATE TRIGGER journal_append_only BEFORE UPDATE OR DELETE ON journal
    FOR EACH ROW EXECUTE FUNCTION append_only();
CREATE TRIGGER journal_no_truncate BEFORE TRUNCATE ON journal
    FOR EACH STATEMENT EXECUTE FUNCTION append_only();
CREATE TRIGGER audit_append_only BEFORE UPDATE OR DELETE ON audit
    FOR EACH ROW EXECUTE FUNCTION append_only();
CREATE TRIGGER audit_no_truncate BEFORE TRUNCATE ON audit
    FOR EACH STATEMENT EXECUTE FUNCTION append_only();
CREATE TRIGGER rollback_kept BEFORE DELETE ON rollback
    FOR EACH ROW EXECUTE FUNCTION append_only();
CREATE TRIGGER rollback_snapshot BEFORE UPDATE OF
    number, change, service, zone, plan, plan_digest, inventory, targets_digest, requester, created_at ON rollback
    FOR EACH ROW EXECUTE FUNCTION append_only();
"""

_LIFECYCLE = """
CREATE FUNCTION rollback_permitted(before rollback_state, after rollback_state) RETURNS boolean
LANGUAGE sql IMMUTABLE
RETURN CASE before
    WHEN 'requested' THEN after IN ('checking', 'stood_down')
    WHEN 'checking' THEN after IN ('awaiting_authority', 'authorised', 'refused', 'stood_down')
    WHEN 'awaiting_authority' THEN after IN ('authorised', 'stood_down', 'expired', 'refused')
    WHEN 'authorised' THEN after IN ('executing', 'stood_down', 'refused')
    WHEN 'executing' THEN after IN ('held', 'verifying', 'aborted')
    WHEN 'held' THEN after IN ('executing', 'verifying', 'aborted')
    WHEN 'verifying' THEN after IN ('held', 'complete', 'aborted')
    WHEN 'complete' THEN after IN ('closed')
    WHEN 'aborted' THEN after IN ('closed')
    ELSE false
END;

-- The states in which the targets are locked.
CREATE FUNCTION rollback_locking(state rollback_state) RETURNS boolean LANGUAGE sql IMMUTABLE
RETURN state IN (
    'requested', 'checking', 'awaiting_authority', 'authorised', 'executing', 'held', 'verifying'
);

CREATE FUNCTION rollback_guard() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'INSERT' THEN
        IF NEW.state <> 'requested' OR NEW.seq <> 1 OR NEW.state_seq <> 1 OR NEW.fence <> 0 THEN
            RAISE EXCEPTION 'a rollback begins as requested, with its first event'
                USING ERRCODE = 'check_violation';
        END IF;
        RETURN NEW;
    END IF;
    IF NEW.seq NOT IN (OLD.seq, OLD.seq + 1) OR NEW.fence NOT IN (OLD.fence, OLD.fence + 1) THEN
        RAISE EXCEPTION '%: seq and fence rise one by one', OLD.id USING ERRCODE = 'check_violation';
    END IF;
    IF NEW.state <> OLD.state THEN
        IF NOT rollback_permitted(OLD.state, NEW.state) THEN
            RAISE EXCEPTION '%: % -> % is not permitted', OLD.id, OLD.state, NEW.state
                USING ERRCODE = 'check_violation';
        END IF;
        IF NEW.seq = OLD.seq OR NEW.state_seq <> NEW.seq THEN
            RAISE EXCEPTION '%: a state changes by an event', OLD.id USING ERRCODE = 'check_violation';
        END IF;
    ELSIF NEW.state_seq <> OLD.state_seq THEN
        RAISE EXCEPTION '%: state_seq follows the state', OLD.id USING ERRCODE = 'check_violation';
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER rollback_guard BEFORE INSERT OR UPDATE OF state, seq, state_seq, fence ON rollback
    FOR EACH ROW EXECUTE FUNCTION rollback_guard();

-- After the statement both must stand: the event, and the row that points at it.
CREATE FUNCTION rollback_moved() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NOT EXISTS (SELECT FROM journal WHERE rollback_id = NEW.id AND seq = NEW.seq) THEN
        RAISE EXCEPTION '%: event % is not in the journal', NEW.id, NEW.seq USING ERRCODE = 'check_violation';
    END IF;
    IF NOT rollback_locking(NEW.state) THEN
        UPDATE rollback_lock SET live = false, ended_at = clock_timestamp() WHERE rollback_id = NEW.id AND live;
    END IF;
    RETURN NULL;
END $$;
CREATE TRIGGER rollback_moved AFTER INSERT OR UPDATE OF seq ON rollback
    FOR EACH ROW EXECUTE FUNCTION rollback_moved();

CREATE FUNCTION journal_written() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NOT EXISTS (
        SELECT FROM rollback
        WHERE id = NEW.rollback_id AND seq = NEW.seq AND (NEW.fence IS NULL OR fence = NEW.fence)
    ) THEN
        RAISE EXCEPTION '%: event % does not follow the rollback', NEW.rollback_id, NEW.seq
            USING ERRCODE = 'check_violation';
    END IF;
    PERFORM pg_notify('rollback_changed', NEW.rollback_id);
    RETURN NULL;
END $$;
CREATE TRIGGER journal_written AFTER INSERT ON journal FOR EACH ROW EXECUTE FUNCTION journal_written();

CREATE FUNCTION progress_written() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_notify('rollback_changed', NEW.rollback_id);
    RETURN NULL;
END $$;
CREATE TRIGGER progress_written AFTER INSERT OR UPDATE ON progress
    FOR EACH ROW EXECUTE FUNCTION progress_written();

CREATE FUNCTION lock_guard() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'DELETE' OR NEW.rollback_id <> OLD.rollback_id OR NEW.target <> OLD.target OR NOT OLD.live
        OR EXISTS (SELECT FROM rollback WHERE id = OLD.rollback_id AND rollback_locking(state))
    THEN
        RAISE EXCEPTION 'the lock of % on % ends with the rollback', OLD.rollback_id, OLD.target
            USING ERRCODE = 'restrict_violation';
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER lock_guard BEFORE UPDATE OR DELETE ON rollback_lock
    FOR EACH ROW EXECUTE FUNCTION lock_guard();
"""


def upgrade() -> None:
    # The statements hold colons and percent signs of their own: nothing in them is a parameter.
    connection = op.get_bind().execution_options(no_parameters=True)
    for script in (_TYPES, _TABLES, _APPEND_ONLY, _LIFECYCLE):
        connection.exec_driver_sql(script)


def downgrade() -> None:
    raise NotImplementedError("The journal is never thrown away: restore the store's backup instead.")
