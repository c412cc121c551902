-- Amounts in minor units and in the customer's own currency, for payments v2.4.0.
CREATE TABLE exchange_rates (
    currency char(3) NOT NULL,
    settlement char(3) NOT NULL,
    valid_from date NOT NULL,
    rate numeric(18, 8) NOT NULL CHECK (rate > 0),
    PRIMARY KEY (currency, settlement, valid_from)
);
INSERT INTO exchange_rates (currency, settlement, valid_from, rate)
VALUES ('EUR', 'EUR', '2000-01-01', 1), ('GBP', 'EUR', '2000-01-01', 1.16), ('CHF', 'EUR', '2000-01-01', 1.06);

ALTER TABLE users ADD COLUMN currency char(3);
UPDATE users SET currency = CASE country WHEN 'GB' THEN 'GBP' WHEN 'CH' THEN 'CHF' ELSE 'EUR' END
WHERE country IS NOT NULL;

ALTER TABLE transactions ADD COLUMN amount_minor bigint, ADD COLUMN currency char(3);
UPDATE transactions SET amount_minor = amount * 100, currency = coalesce(users.currency, 'EUR')
FROM users WHERE users.id = transactions.user_id;
ALTER TABLE transactions
    ALTER COLUMN amount_minor SET NOT NULL,
    ADD CHECK (amount_minor > 0),
    ALTER COLUMN currency SET NOT NULL,
    DROP COLUMN amount;
INSERT INTO schema_migrations (version) VALUES ('20240115120000');
