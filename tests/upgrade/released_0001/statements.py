"""Notes every statement that the code released with the schema 0001 speaks to the store.

It is run by `tests.upgrade.make` within the tree of that release.
"""

from __future__ import annotations

import importlib
import json
import pkgutil
import sys
from pathlib import Path

from sqlalchemy import TextClause

import storage


def main() -> None:
    """Write ``statements.json`` into the folder that is given: SQL by module and name."""
    found: dict[str, str] = {}
    for module in pkgutil.iter_modules(storage.__path__):
        if module.ispkg:
            continue
        names = vars(importlib.import_module(f"storage.{module.name}"))
        statements = {name: value.text for name, value in names.items() if isinstance(value, TextClause)}
        found |= {f"{module.name}.{name}": sql for name, sql in statements.items() if " " in sql}
    out = Path(sys.argv[1]) / "statements.json"
    out.write_text(json.dumps(dict(sorted(found.items())), indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
