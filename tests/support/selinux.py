"""Doubles of SELinux' tools for a host: these machines have no kernel with it."""

from __future__ import annotations

from tests.support.hosts import Folder

_GETENFORCE = "#!/bin/sh\necho Enforcing\n"
_RESTORECON = """#!/bin/sh
# A file that is listed in `mislabelled` has another context than the policy says.
dry=
while [ $# -gt 0 ]; do case $1 in -n) dry=1; shift ;; -v) shift ;; --) shift; break ;; *) exit 9 ;; esac; done
for path; do
  name=$(basename "$path")
  grep -qx "$name" mislabelled || continue
  if [ "$dry" ]; then echo "Would relabel $path from user_home_t to etc_t"; continue; fi
  echo "Relabeled $path from user_home_t to etc_t"
  grep -vx "$name" mislabelled >mislabelled.new
  mv mislabelled.new mislabelled
done
"""


def enforce(folder: Folder, *mislabelled: str) -> None:
    """Let SELinux be enforcing on a host, and some files have a wrong context.

    Args:
        folder: The host.
        mislabelled: The files' names.
    """
    folder.write("bin/getenforce", _GETENFORCE, mode=0o755)
    folder.write("bin/restorecon", _RESTORECON, mode=0o755)
    folder.write("mislabelled", "".join(f"{name}\n" for name in mislabelled))
