"""What may help when a step on a stack failed: the two diagnoses, and remedies as far as the failure tells how."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from actuators.probes import LeavesNothing
from actuators.remedies import cannot_look, shown, titled
from actuators.terraform import approval, core, places
from actuators.terraform.steps import (
    TerraformApply,
    TerraformImport,
    TerraformRefresh,
    TerraformStateList,
    TerraformStateRestore,
    TerraformStateRm,
    TerraformStateVersions,
    TerraformUnlock,
)
from actuators.terraform.values import Complaint, Lock, read_complaints, read_lock, read_state
from bot.domain.actuation import Check, Context, Fault, Outcome, Remedy, Verdict
from bot.domain.errors import ActuatorError

_LOCK_TOLD = re.compile(r"is locked: (.+?), lock id ([A-Za-z0-9][^\s,;]*?)[.,;]?(?:\s|$)")
_RESCUED = re.compile(r"is kept in (/.+?) \(sha256 ([0-9a-f]{64})\)")
_MAY_LEAVE_A_LOCK = re.compile(r"was stopped|worker|interrupted|lost", re.IGNORECASE)
_MOST_COMPLAINTS = 3
"""Resources that remedies are offered for; the rest shows up again with the next attempt."""


class RefreshActuator(LeavesNothing):
    """A diagnosis: what is really there, against the state."""

    async def check(self, step: TerraformRefresh, context: Context) -> tuple[Check, ...]:
        """Look whether the state can be read."""
        return await _readable(step, context)

    async def apply(self, step: TerraformRefresh, context: Context) -> Outcome:
        """Read every resource, and tell which are not as the state has them."""
        async with core.opened(step, context) as tool:
            state, lines = await tool.state(), await tool.drift()
        facts = {"differing": len(lines), "serial": state.serial}
        if not lines:
            words = f"{step.target}: the state agrees with what is really there ({state.words()})."
            return Outcome(words, facts)
        words = f"{step.target}: {len(lines)} of {len(state.resources)} resources are not as the state has them."
        return Outcome(f"{words} The next plan takes that into account by itself.", facts, shown(lines))


class StateListActuator(LeavesNothing):
    """A diagnosis: what the state holds."""

    async def check(self, step: TerraformStateList, context: Context) -> tuple[Check, ...]:
        """Look whether the state can be read."""
        return await _readable(step, context)

    async def apply(self, step: TerraformStateList, context: Context) -> Outcome:
        """Read the state; addresses and identities only, since values may be secret."""
        async with core.opened(step, context) as tool:
            state = await tool.state()
        lines = [f"{address}  {identity}".rstrip() for address, identity in sorted(state.resources.items())]
        facts = {"serial": state.serial, "lineage": state.lineage, "resources": len(lines)}
        return Outcome(f"State of {step.target}: {state.words()}", facts, shown(lines))


async def _readable(step: TerraformRefresh | TerraformStateList, context: Context) -> tuple[Check, ...]:
    subject = f"State of {step.target}"
    try:
        async with core.opened(step, context) as tool:
            state = await tool.state()
    except ActuatorError as error:
        return (cannot_look(subject, error),)
    return (Check(subject, Verdict.OK, state.words()),)


async def remedies(step: TerraformApply, fault: Fault, context: Context) -> tuple[Remedy, ...]:
    """Return the remedies of a failed apply, diagnoses first."""
    try:
        places.stack_of(step, context)
    except ActuatorError:
        return ()
    lock = await _lock(step, fault, context)
    held = (_unlock(step, lock),) if lock is not None and lock.id else ()
    complaints = read_complaints(fault.output)[:_MOST_COMPLAINTS]
    mending = (remedy for n, found in enumerate(complaints) for remedy in _mend(step, found, n))
    return (*_diagnoses(step), *_unsaved(step, fault), *approval.remedy(step, fault), *held, *mending)


def rescued(file: str, sha256: str) -> str:
    """Return where a state lies that the backend did not take, in the words that the remedy goes by."""
    return f"is kept in {file} (sha256 {sha256})"


def _unsaved(step: TerraformApply, fault: Fault) -> Iterator[Remedy]:
    found = _RESCUED.search(fault.brief)
    if found is None:
        return
    try:
        state = read_state(Path(found[1]).read_text())
    except (OSError, ValueError):
        return
    if state is None:
        return
    yield Remedy(
        "unsaved-state",
        "Write the state that was not saved",
        f"Puts what the failed apply recorded ({state.words()}) in the place of the present state, which is kept"
        " first. Only while nobody else has written it.",
        TerraformStateRestore(
            id="state",
            target=step.target,
            commit=step.commit,
            lineage=state.lineage,
            file=found[1],
            sha256=found[2],
        ),
    )


def _diagnoses(step: TerraformApply) -> tuple[Remedy, ...]:
    return (
        Remedy(
            "refresh",
            "Compare the state with what is there",
            "Reads every resource and shows which are not as the state has them. Nothing is written.",
            TerraformRefresh(id="refresh", target=step.target, commit=step.commit),
        ),
        Remedy(
            "state-list",
            "Show what the state holds",
            "Shows the addresses and identities in the state, its serial and lineage.",
            TerraformStateList(id="state-list", target=step.target, commit=step.commit),
        ),
        Remedy(
            "state-versions",
            "Show earlier states",
            "Shows the versions of the state in S3 and those that the bot has kept, for terraform.state_restore.",
            TerraformStateVersions(id="state-versions", target=step.target, commit=step.commit),
        ),
    )


async def _lock(step: TerraformApply, fault: Fault, context: Context) -> Lock | None:
    """Return the lock that stood in the way; looked for, where the failure may have left one behind."""
    told = _LOCK_TOLD.search(fault.brief)
    lock = read_lock(fault.output) or (Lock(told[2], told[1]) if told else None)
    if lock is not None or (fault.brief and not _MAY_LEAVE_A_LOCK.search(fault.brief)):
        return lock
    try:
        async with core.opened(step, context) as tool:
            return read_lock(await tool.locked())
    except ActuatorError:
        return None


def _unlock(step: TerraformApply, lock: Lock) -> Remedy:
    held_by = lock.words()[:300]
    return Remedy(
        "unlock",
        "Release the lock on the state",
        f"Held by {held_by}. Only if that process no longer runs: two at once damage the state.",
        TerraformUnlock(id="unlock", target=step.target, commit=step.commit, lock=lock.id, held_by=held_by),
    )


def _mend(step: TerraformApply, found: Complaint, number: int) -> Iterator[Remedy]:
    # The address and identity were written by the tool; what does not fit is left to people.
    if found.exists and found.identity:
        try:
            importing = TerraformImport(
                id=f"import-{number}", target=step.target, commit=step.commit, address=found.address,
                identity=found.identity,
            )  # fmt: skip
        except ValueError:
            return
        yield Remedy(
            f"import-{number}",
            titled(f"Import {found.address}"),
            f"{found.identity} exists already: takes it into the state as {found.address}. Look at the identity; a"
            " wrong one puts somebody else's resource under this code.",
            importing,
        )
    if found.gone:
        try:
            removing = TerraformStateRm(
                id=f"state-rm-{number}", target=step.target, commit=step.commit, address=found.address
            )
        except ValueError:
            return
        yield Remedy(
            f"state-rm-{number}",
            titled(f"Take {found.address} out of the state"),
            "For an entry whose resource is gone. If it still exists it stays, unmanaged, and the next attempt"
            " creates another one. The state is kept first.",
            removing,
        )
