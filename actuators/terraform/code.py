"""The stack's code at a pinned commit, in a folder of its own. The repository itself is only read."""

from __future__ import annotations

from fnmatch import fnmatchcase
from pathlib import Path

from actuators import processes
from actuators.redact import redact, tail
from bot.domain.errors import ActuatorError
from bot.domain.inventory import TerraformStack

_GIT = ("git", "-c", "core.hooksPath=/dev/null", "-c", "advice.detachedHead=false")
_ENV = {"GIT_TERMINAL_PROMPT": "0", "GIT_OPTIONAL_LOCKS": "0", "LC_ALL": "C"}
_SECONDS = 120.0
_REF_PREFIXES = ("refs/heads/", "refs/tags/", "refs/remotes/")


async def verify(stack: TerraformStack, commit: str) -> str:
    """Return in words where a commit is, once it is known to be one of the repository and permitted.

    Raises:
        ActuatorError: If it is not.
    """
    found = await _git(stack, "cat-file", "-t", commit)
    if not found.ok or found.out.strip() != "commit":
        lost = "not a commit" if found.ok else "not there"
        raise _unusable(
            f"Commit {commit} is {lost} in {stack.repository}{_why(found) if not found.ok else ''}.",
            f"Look at the path and its owner; bring the commit there (`git -C {stack.repository} fetch --all`).",
        )
    if not stack.refs:
        return f"{commit[:10]} is in {stack.repository}"
    listed = await _git(stack, "for-each-ref", f"--contains={commit}", "--format=%(refname)")
    names = [_short(line) for line in listed.out.splitlines() if line]
    fitting = [name for name in names if any(fnmatchcase(name, pattern) for pattern in stack.refs)]
    if not fitting:
        raise _unusable(
            f"Commit {commit} is in no branch or tag that the inventory permits ({', '.join(stack.refs)}); it is in"
            f" {', '.join(names[:5]) or 'none at all'}.",
            "Name a commit that was reviewed and released, or correct `refs` of the stack.",
        )
    return f"{commit[:10]} is in {fitting[0]}"


async def check_out(stack: TerraformStack, commit: str, folder: Path) -> None:
    """Bring the code of a commit into a new folder.

    Raises:
        ActuatorError: If it cannot be read, or is not what was pinned.
    """
    await verify(stack, commit)
    # A shared clone reads the objects where they are and writes nothing to the repository.
    steps = (
        (*_GIT, "clone", "--quiet", "--shared", "--no-checkout", "--template=", stack.repository, str(folder)),
        (*_GIT, "-C", str(folder), "checkout", "--quiet", "--detach", commit),
        (*_GIT, "-C", str(folder), "rev-parse", "HEAD"),
    )
    for argv in steps:
        done = await processes.run(argv, env=_ENV, timeout=_SECONDS)
        if not done.ok:
            raise _unusable(
                f"The code of {commit[:10]} cannot be checked out{_why(done)}.",
                "Look at the repository and at the disk of the worker.",
            )
    if done.out.strip() != commit:
        raise _unusable(f"What was checked out is not {commit}.", "Look at the repository.")
    module = folder / stack.path
    if not module.is_dir():
        raise _unusable(
            f"At {commit[:10]} the repository has no folder {stack.path}.",
            "Correct `path` of the stack, or name a commit that has it.",
        )
    for name in stack.var_files:
        if not (module / name).is_file():
            raise _unusable(
                f"At {commit[:10]} there is no variables file {name} in {stack.path}.",
                "Correct `var_files` of the stack, or name a commit that has it.",
            )


async def _git(stack: TerraformStack, *arguments: str) -> processes.Finished:
    return await processes.run((*_GIT, "-C", stack.repository, *arguments), env=_ENV, timeout=_SECONDS)


def _short(ref: str) -> str:
    return next((ref.removeprefix(prefix) for prefix in _REF_PREFIXES if ref.startswith(prefix)), ref)


def _why(done: processes.Finished) -> str:
    said = tail(redact(done.err), 2).strip().replace("\n", " ")
    return f": {said.removesuffix('.')}" if said else ""


def _unusable(brief: str, resolution: str) -> ActuatorError:
    return ActuatorError(brief, untouched="Nothing was changed.", resolution=resolution)
