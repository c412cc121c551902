"""Starts payments v2.4.0."""

import sys

from ..kit.ledger import Release  # noqa: TID252 - a release folder is a package whose name differs from ours
from ..kit.program import main  # noqa: TID252 - as above
from ..kit.settings import COMMON  # noqa: TID252 - as above
from .ledger import CurrencyLedger

RELEASE = Release(version="v2.4.0", build="20240115-0912", schema="20240115120000")
SHAPE = {
    **COMMON,
    "limits": {"max_amount_minor": int, "daily_limit_minor": int},
    "currency": {"settlement": str},
}

if __name__ == "__main__":
    sys.exit(
        main(sys.argv[1:], release=RELEASE, shape=SHAPE, make_ledger=CurrencyLedger.from_settings),
    )
