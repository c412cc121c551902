"""Starts payments v2.3.1."""

import sys

from ..kit.ledger import Release  # noqa: TID252 - a release folder is a package whose name differs from ours
from ..kit.program import main  # noqa: TID252 - as above
from ..kit.settings import COMMON  # noqa: TID252 - as above
from .ledger import NumericLedger

RELEASE = Release(version="v2.3.1", build="20240110-1234", schema="20240110120000")
SHAPE = {**COMMON, "limits": {"max_amount": float, "daily_limit": float}}

if __name__ == "__main__":
    sys.exit(
        main(sys.argv[1:], release=RELEASE, shape=SHAPE, make_ledger=NumericLedger.from_settings),
    )
