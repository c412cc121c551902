-- The ledger as payments v2.3.1 knows it: one currency, numeric amounts.
CREATE TABLE schema_migrations (
    version text PRIMARY KEY,
    applied_at timestamptz NOT NULL DEFAULT now()
);
CREATE TABLE users (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    email text NOT NULL UNIQUE,
    full_name text NOT NULL,
    country char(2), -- asked for since 2021; older customers have none
    created_at timestamptz NOT NULL DEFAULT now()
);
CREATE TABLE transactions (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    user_id bigint NOT NULL REFERENCES users (id),
    amount numeric(12, 2) NOT NULL CHECK (amount > 0),
    created_at timestamptz NOT NULL DEFAULT now()
);
-- Serves the daily limit without touching the table.
CREATE INDEX transactions_daily ON transactions (user_id, created_at) INCLUDE (amount);
INSERT INTO schema_migrations (version) VALUES ('20240110120000');
