"""Makes what the upgrade tests begin from, by the code of a release.

    python -m tests.upgrade.make REVISION FOLDER

REVISION is the release's commit, FOLDER the one that holds its scripts; ``tests/upgrade/released_0001`` was made by
revision 7dee934. The release's tree is unpacked into a temporary folder, and the scripts of FOLDER are run within
it, with this interpreter and its libraries: ``runs.py`` leaves rollbacks in every standing point on a real
PostgreSQL, ``documents.py`` reads plans and inventories, ``statements.py`` notes the SQL that the release speaks.
What they write is committed and not made again: a release does not change any more.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tarfile
import tempfile
from io import BytesIO
from pathlib import Path

SCRIPTS = ("runs.py", "documents.py", "statements.py")


def unpack(revision: str, folder: Path) -> None:
    """Unpack the tree of a revision."""
    root = Path(__file__).parents[2]
    tree = subprocess.run(["git", "archive", revision], cwd=root, check=True, capture_output=True).stdout
    with tarfile.open(fileobj=BytesIO(tree)) as archive:
        archive.extractall(folder, filter="data")


def main() -> None:
    """Run the scripts of a release within its tree."""
    revision, folder = sys.argv[1], Path(sys.argv[2]).resolve()
    with tempfile.TemporaryDirectory(prefix="released-") as name:
        tree = Path(name)
        unpack(revision, tree)
        for script in SCRIPTS:
            # -P: what the release imports comes from its own tree first, and only then from beside the script.
            command = [sys.executable, "-P", str(folder / script), str(folder)]
            places = os.pathsep.join((name, str(folder)))
            subprocess.run(command, cwd=tree, env={**os.environ, "PYTHONPATH": places}, check=True)


if __name__ == "__main__":
    main()
