"""The tool itself, run in a folder that holds the code of one commit, with every fault in words."""

from __future__ import annotations

import asyncio
import json
import re
import tempfile
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TypeVar

from actuators import processes, secrets
from actuators.redact import redact, tail
from actuators.terraform import code, places, saved
from actuators.terraform.changes import manifest_of
from actuators.terraform.saved import SavedPlan
from actuators.terraform.steps import StackStep
from actuators.terraform.values import (
    State,
    UnreadableError,
    plain,
    read_drift,
    read_lock,
    read_plan,
    read_state,
    summarised,
)
from bot.domain.actuation import Context
from bot.domain.errors import ActuatorError
from bot.domain.inventory import TerraformStack

_ALWAYS = {
    "CHECKPOINT_DISABLE": "1",
    "TF_IN_AUTOMATION": "1",
    "TF_INPUT": "0",
    "TF_CLI_ARGS": "",
}
_LARGEST = 64 * 1024 * 1024
"""Bytes of a state, or of a plan as JSON."""
_CHANGES = 2
"""The exit code of ``plan -detailed-exitcode`` when there is something to do."""
_LINES = 40
"""A refusal because of a lock has 20 lines, and the id stands among the first."""
_ERROR = re.compile(r"^Error: ", re.MULTILINE)
T = TypeVar("T")


class LockedError(ActuatorError):
    """Somebody else holds the state's lock."""


@dataclass(frozen=True)
class Core:
    """The tool in a run's own copy of the code.

    Attributes:
        target: The stack's name.
        commit: The commit of its code.
        stack: The stack.
        folder: The run's folder.
        module: The folder of the root module in it.
        env: The environment, credentials included.
        secrets: The credentials, to be masked.
    """

    target: str
    commit: str
    stack: TerraformStack
    folder: Path
    module: Path
    env: dict[str, str] = field(repr=False)
    secrets: tuple[str, ...] = field(repr=False)

    async def init(self) -> None:
        """Connect the backend and get the providers, exactly those that the code has locked."""
        backend = [f"-backend-config={key}={value}" for key, value in self.stack.backend.items()]
        await self.run("init", "-input=false", "-no-color", "-lockfile=readonly", *backend)

    async def plan(self, *, lock: bool = True) -> SavedPlan:
        """Make a plan against the real infrastructure, and save it.

        Args:
            lock: Whether the state's lock is taken for it, as it should be for a plan that is applied next.
        """
        done = await self.run(
            "plan", "-input=false", "-no-color", "-lock-timeout=0s" if lock else "-lock=false",
            "-detailed-exitcode", f"-out={self.folder / saved.PLAN}", *self._variables(), fine=(0, _CHANGES),
        )  # fmt: skip
        return replace(await self.saved_plan(), changes=done.returncode == _CHANGES)

    async def saved_plan(self) -> SavedPlan:
        """Read the plan that is saved in the run's folder."""
        file = self.folder / saved.PLAN
        file.chmod(0o600)
        # The digest first: what is changed while it is read is another file when it is applied.
        sha256 = places.digest(file.read_bytes())
        shown = await self.run("show", "-json", str(file), limit=_LARGEST)
        document = self.reading(read_plan, shown.out, "the saved plan")
        manifest = manifest_of(document, target=self.target, commit=self.commit)
        return SavedPlan(file, sha256, summarised(document), manifest, document)

    async def drift(self) -> list[str]:
        """Return a line for each resource that is not as the state has it. The state is not locked or written."""
        file = self.folder / "refresh.tfplan"
        arguments = ("-refresh-only", "-input=false", "-no-color", "-lock=false", f"-out={file}")
        await self.run("plan", *arguments, *self._variables())
        shown = await self.run("show", "-json", str(file), limit=_LARGEST)
        return self.reading(read_drift, shown.out, "the saved plan")

    async def locked(self) -> str:
        """Return what the tool says when it cannot get the state's lock; empty: it could."""
        arguments = ("-refresh=false", "-input=false", "-no-color", "-lock-timeout=0s", "-detailed-exitcode")
        try:
            await self.run("plan", *arguments, *self._variables(), fine=(0, _CHANGES))
        except LockedError as error:
            return error.output
        return ""

    async def pull(self) -> State | None:
        """Read the state; None: there is none."""
        done = await self.run("state", "pull", limit=_LARGEST)
        return self.reading(read_state, done.out, "the state")

    async def state(self) -> State:
        """Read the state.

        Raises:
            ActuatorError: If there is none: then backend, workspace or path are not those of the stack.
        """
        found = await self.pull()
        if found is None:
            raise ActuatorError(
                f"{self.target} has no state in workspace {self.stack.workspace} of its backend.",
                untouched="Nothing was changed.",
                resolution="Correct `backend` and `workspace` of the stack; a plan against nothing would create all"
                " of it once more.",
            )
        return found

    async def import_(self, address: str, identity: str) -> None:
        """Take an existing resource into the state."""
        options = ("-input=false", "-no-color", "-lock-timeout=0s", *self._variables())
        await self.run("import", *options, address, identity)

    async def run(
        self,
        *arguments: str,
        fine: tuple[int, ...] = (0,),
        limit: int = processes.OUTPUT_LIMIT,
        on_line: Callable[[str], None] | None = None,
        stdin: bytes | None = None,
    ) -> processes.Finished:
        """Run the tool to its end; it may take as long as the caller waits.

        Raises:
            LockedError: If somebody else holds the state's lock.
            ActuatorError: If it ended with another exit code than those that are fine.
        """
        argv = (self.stack.binary, *arguments)
        done = await processes.run(
            argv, env=self.env, timeout=None, cwd=str(self.module), on_stdout_line=on_line, output_limit=limit,
            stdin=stdin,
        )  # fmt: skip
        # Terraform 1.15 tells of some errors (a file of variables that is missing) and goes on without.
        if done.returncode not in fine or _ERROR.search(plain(done.err)):
            raise self._refused(arguments, done)
        if done.truncated and limit == _LARGEST:
            raise self._unreadable(f"the output of {arguments[0]}", f"it is larger than {_LARGEST} bytes")
        return done

    def reading(self, read: Callable[[str], T], text: str, what: str) -> T:
        """Read the tool's output.

        Raises:
            ActuatorError: If it has not the documented form.
        """
        try:
            return read(text)
        except UnreadableError as error:
            raise self._unreadable(what, str(error)) from None

    def _variables(self) -> list[str]:
        return [f"-var-file={name}" for name in self.stack.var_files]

    def _unreadable(self, what: str, why: str) -> ActuatorError:
        return ActuatorError(
            f"{what[0].upper()}{what[1:]} of {self.target} cannot be read: {why}.",
            untouched="Nothing was changed.",
            resolution="Look at the backend and at the versions of the tool; a damaged state can be restored.",
        )

    def _refused(self, arguments: tuple[str, ...], done: processes.Finished) -> ActuatorError:
        said = redact(plain(done.err if done.err.strip() else done.out), secrets=self.secrets).strip()
        output = tail(said, _LINES) or f"exit code {done.returncode}"
        verb = " ".join(word for word in arguments[:2] if word.isalpha())
        lock = read_lock(said)
        if lock is not None:
            told = f", lock id {lock.id}" if lock.id else ""
            return LockedError(
                f"The state of {self.target} is locked: {lock.words()}{told}.",
                untouched="Nothing was changed.",
                resolution="Wait until they have finished, or ask; release the lock only if nobody works there.",
                transient=True,
                output=output,
            )
        first = next((line for line in said.splitlines() if line.startswith("Error: ")), output.splitlines()[0])
        return ActuatorError(
            f"{self.stack.binary} {verb} failed on {self.target}: {first.removeprefix('Error: ').rstrip('.')}.",
            untouched=_LEFT.get(verb, "Nothing was changed."),
            resolution="Read what it said; compare the state with what is really there.",
            output=output,
        )


_LEFT = {
    "apply": "What it had done until then stays, and stands in the state.",
    "state push": "The state is as it was.",
}


@asynccontextmanager
async def opened(step: StackStep, context: Context) -> AsyncIterator[Core]:
    """Give the tool in a fresh copy of the step's code; the copy is removed afterwards unless its plan is kept.

    Raises:
        ActuatorError: If target, credentials, code or backend are not usable.
    """
    stack = places.stack_of(step, context)
    env, hidden = _environment(stack)
    runs = saved.runs_of(step, context)
    await asyncio.to_thread(saved.sweep, runs, now=context.clock.now())
    folder = Path(tempfile.mkdtemp(prefix=f"{context.token(step)}.", dir=runs))
    module = folder / "code" / stack.path
    try:
        await code.check_out(stack, step.commit, folder / "code")
        core = Core(step.target, step.commit, stack, folder, module, env, hidden)
        await core.init()
        yield core
    finally:
        saved.leave(folder, module=module)


@asynccontextmanager
async def reopened(step: StackStep, context: Context, folder: Path) -> AsyncIterator[Core]:
    """Give the tool in the copy of the code that a kept plan was made in; it is not initialised.

    Raises:
        ActuatorError: If target, credentials or code are not usable.
    """
    stack = places.stack_of(step, context)
    env, hidden = _environment(stack)
    await code.verify(stack, step.commit)
    module = folder / "code" / stack.path
    try:
        yield Core(step.target, step.commit, stack, folder, module, env, hidden)
    finally:
        saved.leave(folder, module=module)


async def version(stack: TerraformStack) -> str:
    """Return the tool and its version.

    Raises:
        ActuatorError: If it cannot be run.
    """
    done = await processes.run((stack.binary, "version", "-json"), env=dict(_ALWAYS), timeout=60)
    try:
        return f"{Path(stack.binary).name} {json.loads(done.out)['terraform_version']}"
    except (ValueError, KeyError, TypeError):
        raise ActuatorError(
            f"{stack.binary} does not tell its version: {done.complaint()}.",
            untouched="Nothing was contacted.",
            resolution="Name Terraform or OpenTofu in `binary` of the stack.",
        ) from None


def _environment(stack: TerraformStack) -> tuple[dict[str, str], tuple[str, ...]]:
    hidden = {name: secrets.resolve(ref) for name, ref in stack.env.items()}
    env = {**_ALWAYS, "TF_WORKSPACE": stack.workspace, **hidden}
    if stack.plugin_cache is not None:
        env["TF_PLUGIN_CACHE_DIR"] = stack.plugin_cache
    return env, tuple(hidden.values())
