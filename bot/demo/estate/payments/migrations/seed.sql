-- A template whose figures the driver fills in, which is why a lone per cent sign is doubled.
-- Customers and 36 hours of their transactions, the same at every run.
-- Three in 25 customers (12 in 100) are from the time before a country was asked for; the synthetic one is not.
INSERT INTO users (email, full_name, country, created_at)
SELECT
    CASE n WHEN 22 THEN 'synthetic@payments.example' ELSE 'customer' || n || '@mail.example' END,
    'Customer ' || n,
    CASE WHEN n %% 25 < 3 THEN NULL ELSE (ARRAY['DE', 'FR', 'GB', 'CH', 'ES'])[n %% 5 + 1] END,
    now() - interval '3 years' + n * interval '12 hours'
FROM generate_series(1, %(users)s) AS n;

INSERT INTO transactions (user_id, amount, created_at)
SELECT
    n * 7 %% %(users)s + 1,
    (n * 37 %% 9900 + 100) / 100.0,
    now() - (%(transactions)s - n) * interval '36 hours' / %(transactions)s
FROM generate_series(1, %(transactions)s) AS n;
