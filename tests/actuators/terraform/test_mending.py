"""What helps when a step on a stack failed, each remedy carried out on the real core."""

from __future__ import annotations

from pathlib import Path

import pytest

from actuators import terraform
from actuators.terraform import TerraformApply, TerraformImport, TerraformStateRm, TerraformUnlock, places, saved
from actuators.terraform.steps import Expect
from actuators.terraform.values import read_complaints
from bot.domain.actuation import Context, Fault, Presence, Registry, Remedy, Verdict
from bot.domain.errors import ActuatorError
from tests.actuators.terraform.approving import approved
from tests.support.actuation import fails
from tests.support.terraform import Stack, kept

REGISTRY = Registry(*terraform.register())
SECRET = "hunter-2-and-more"


def apply_step(commit: str) -> TerraformApply:
    """Return a step that may do a little."""
    limits = Expect(add=2, change=1, destroy=1)
    return TerraformApply(id="infra", target="payments-infra", commit=commit, expect=limits)


async def failing(step: TerraformApply, context: Context) -> Fault:
    """Apply, and return how that failed, as the engine hands it on."""
    with pytest.raises(ActuatorError) as failed:
        await REGISTRY.actuator(step).apply(step, context)
    seen = await REGISTRY.actuator(step).observe(step, context)
    return Fault(failed.value.brief, failed.value.output, seen.presence)


async def offered(step: TerraformApply, fault: Fault, context: Context) -> dict[str, Remedy]:
    """Return the remedies by their ids."""
    found = await REGISTRY.actuator(step).remedies(step, fault, context)  # type: ignore[attr-defined]  # it knows some
    return {remedy.id: remedy for remedy in found}


async def test_a_resource_that_exists_already_is_imported(stack: Stack) -> None:
    """The conflict tells address and identity; once imported, the same step gets through."""
    step = apply_step(stack.code.exists)
    context = await approved(stack, step)
    fault = await failing(step, context)
    assert "ConflictException" in fault.output
    assert fault.presence is Presence.ABSENT
    # The core keeps what a provisioner spoilt as tainted; a provider that refuses to create leaves nothing.
    tainted = TerraformStateRm(id="rm", target=step.target, commit=step.commit, address="terraform_data.trouble")
    await REGISTRY.actuator(tainted).apply(tainted, context)
    remedies = await offered(step, fault, context)
    assert list(remedies) == ["refresh", "state-list", "state-versions", "import-0"]
    remedy = remedies["import-0"]
    assert remedy.step == TerraformImport(
        id="import-0", target=step.target, commit=step.commit, address="terraform_data.trouble",
        identity="payments-logs",
    )  # fmt: skip
    actuator = REGISTRY.actuator(remedy.step)
    assert {check.verdict for check in await actuator.check(remedy.step, context)} == {Verdict.OK}
    assert (await actuator.observe(remedy.step, context)).presence is Presence.ABSENT
    outcome = await actuator.apply(remedy.step, context)
    assert kept(outcome.facts)[0]["serial"] < stack.server.document()["serial"]
    assert (await actuator.observe(remedy.step, context)).presence is Presence.PRESENT
    assert "no changes" in (await REGISTRY.actuator(step).apply(step, context)).words


async def test_an_address_that_is_taken_is_not_imported_over(stack: Stack) -> None:
    """Another resource at the address is named, and stays."""
    step = TerraformImport(
        id="i", target="payments-infra", commit=stack.code.good, address="terraform_data.app", identity="other"
    )
    context = stack.context(step)
    own = stack.server.names()["app"]["id"]
    assert f"terraform_data.app of payments-infra is {own} in the state already" in fails(
        await REGISTRY.actuator(step).check(step, context)
    )
    with pytest.raises(ActuatorError, match="in the state already"):
        await REGISTRY.actuator(step).apply(step, context)
    assert stack.server.state == stack.code.state


async def test_an_entry_without_a_resource_is_taken_out(stack: Stack, monkeypatch: pytest.MonkeyPatch) -> None:
    """An error about something that is gone offers to take it out of the state, and shows no credential."""
    monkeypatch.setenv("TOKEN_OF_THE_CLOUD", SECRET)
    stack = stack.but(env={"CLOUD_TOKEN": {"env": "TOKEN_OF_THE_CLOUD"}})
    step = apply_step(stack.code.gone)
    context = await approved(stack, step)
    fault = await failing(step, context)
    assert "token ***" in fault.output
    assert SECRET not in fault.output
    remedy = (await offered(step, fault, context))["state-rm-0"]
    assert isinstance(remedy.step, TerraformStateRm)
    actuator = REGISTRY.actuator(remedy.step)
    assert (await actuator.observe(remedy.step, context)).presence is Presence.ABSENT
    outcome = await actuator.apply(remedy.step, context)
    assert outcome.facts["removed"] == ["terraform_data.trouble"]
    assert "trouble" in [resource["name"] for resource in kept(outcome.facts)[0]["resources"]]
    assert "trouble" not in stack.server.names()
    assert (await actuator.observe(remedy.step, context)).presence is Presence.PRESENT
    (warned,) = await actuator.check(remedy.step, context)
    assert (warned.verdict, "stands for nothing" in warned.words) == (Verdict.WARN, True)


@pytest.mark.parametrize("known", [True, False])
async def test_a_lock_that_was_left_is_released(stack: Stack, *, known: bool) -> None:
    """The lock's holder is named, from the failure or, after a lost worker, from the backend itself."""
    step = apply_step(stack.code.good)
    context = stack.context(step)
    stack.server.left_locked()
    fault = await failing(step, context) if known else Fault("")
    remedy = (await offered(step, fault, context))["unlock"]
    assert "deploy@ci-7 (apply) since 2024-01-15 15:40:00 UTC" in remedy.words
    assert isinstance(remedy.step, TerraformUnlock)
    actuator = REGISTRY.actuator(remedy.step)
    assert "no longer runs" in "".join(c.resolution for c in await actuator.check(remedy.step, context))
    assert (await actuator.observe(remedy.step, context)).presence is Presence.ABSENT
    assert "is released" in (await actuator.apply(remedy.step, context)).words
    assert (await actuator.observe(remedy.step, context)).presence is Presence.PRESENT
    assert stack.server.lock == {}


async def test_a_step_on_the_record_is_told_of_a_lock(stack: Stack) -> None:
    """A lock is a warning to whoever approves an import, and the import itself does not go over it."""
    step = TerraformImport(
        id="i",
        target="payments-infra",
        commit=stack.code.good,
        address="terraform_data.logs",
        identity="payments-logs",
    )
    context = stack.context(step)
    stack.server.left_locked()
    told = {check.verdict: check.words for check in await REGISTRY.actuator(step).check(step, context)}
    assert told[Verdict.WARN] == "Locked by deploy@ci-7 (apply) since 2024-01-15 15:40:00 UTC"
    with pytest.raises(ActuatorError, match="is locked"):
        await REGISTRY.actuator(step).apply(step, context)
    assert stack.server.state == stack.code.state


async def test_the_lock_of_somebody_else_stays(stack: Stack) -> None:
    """Only the lock that a person looked at is released; a newer one is left alone and told."""
    step = TerraformUnlock(id="u", target="payments-infra", commit=stack.code.good, lock="another-lock")
    context, actuator = stack.context(step), REGISTRY.actuator(step)
    (free,) = await actuator.check(step, context)
    assert free.words == "The state is not locked"
    stack.server.left_locked()
    (other,) = await actuator.check(step, context)
    assert "Another lock is held now: deploy@ci-7" in other.words
    assert (await actuator.observe(step, context)).presence is Presence.PRESENT
    assert "now held by deploy@ci-7" in (await actuator.apply(step, context)).words
    assert stack.server.lock["Who"] == "deploy@ci-7"


async def test_a_lock_told_in_words_alone_is_offered_too(stack: Stack) -> None:
    """What an observer said of a lock is enough to name it."""
    step = apply_step(stack.code.good)
    brief = "The state of payments-infra is locked: deploy@ci-7 (apply), lock id 8d5f-01. Nothing was changed."
    remedy = (await offered(step, Fault(brief), stack.away().context(step)))["unlock"]
    assert isinstance(remedy.step, TerraformUnlock)
    assert (remedy.step.lock, remedy.step.held_by) == ("8d5f-01", "deploy@ci-7 (apply)")


async def test_diagnoses_show_addresses_and_no_values(stack: Stack) -> None:
    """State list and refresh show what is held and what differs; neither takes a lock nor writes."""
    step = apply_step(stack.code.good)
    context, before = stack.context(step), stack.everything()
    remedies = await offered(step, Fault("it failed"), context)
    listed = await REGISTRY.actuator(remedies["state-list"].step).apply(remedies["state-list"].step, context)
    assert [line.split()[0] for line in listed.output.splitlines()] == [
        "terraform_data.app",
        "terraform_data.extra",
    ]
    assert "v2.4.0" not in listed.output
    compared = await REGISTRY.actuator(remedies["refresh"].step).apply(remedies["refresh"].step, context)
    assert (compared.facts["differing"], "agrees" in compared.words) == (0, True)
    assert stack.everything() == before


async def test_a_state_that_the_backend_did_not_take_is_kept_and_restored(stack: Stack) -> None:
    """What an apply did stands nowhere else: the state is kept, and a remedy writes it; then all is done."""
    step, good = apply_step(stack.code.good), stack
    # This backend takes no writes: it answers that it does not know the method.
    stack = stack.but(backend={**stack.server.backend(), "update_method": "PUT"})
    fault = await failing(step, await approved(stack, step))
    assert "could not be written after applying" in fault.brief
    assert stack.server.state == stack.code.state
    context = good.context(step)
    remedy = (await offered(step, fault, context))["unsaved-state"]
    (file,) = stack.folder.glob("states/*/*-unsaved-*")
    assert remedy.step.file == str(file)  # type: ignore[attr-defined]  # it has one
    assert file.stat().st_mode & 0o077 == 0
    actuator = REGISTRY.actuator(remedy.step)
    assert {check.verdict for check in await actuator.check(remedy.step, context)} == {Verdict.OK}
    await actuator.apply(remedy.step, context)
    assert sorted(stack.server.names()) == ["app", "logs"]
    assert (await REGISTRY.actuator(step).observe(step, context)).presence is Presence.PRESENT


async def test_a_state_that_was_restored_is_not_told_of_again(stack: Stack) -> None:
    """A later failure of another kind is told as what it is: an old state must not be offered once more."""
    step = apply_step(stack.code.good)
    stack = stack.but(backend={**stack.server.backend(), "update_method": "PUT"})
    context = await approved(stack, step)
    assert "could not be written after applying" in (await failing(step, context)).brief
    (file,) = stack.folder.glob("states/*/*-unsaved-*")
    stack.server.state = file.read_bytes()
    file.with_name("cut-off-unsaved-1.tfstate").write_bytes(file.read_bytes()[:40])
    stack.server.left_locked()
    with pytest.raises(ActuatorError, match="is locked"):
        await REGISTRY.actuator(step).apply(step, context)


async def test_a_retry_before_the_state_is_written_repeats_nothing(stack: Stack) -> None:
    """While the state does not know what was done, the plan would do it twice: the remedy is offered again."""
    step = apply_step(stack.code.good)
    stack = stack.but(backend={**stack.server.backend(), "update_method": "PUT"})
    context = await approved(stack, step)
    await failing(step, context)
    (file,) = stack.folder.glob("states/*/*-unsaved-*")
    fault = await failing(step, context)
    assert list(stack.folder.glob("states/*/*-unsaved-*")) == [file]
    assert "was never written" in fault.brief
    assert (await offered(step, fault, context))["unsaved-state"].step.file == str(file)  # type: ignore[attr-defined]  # it has one


@pytest.mark.parametrize("noted", [True, False])
def test_what_a_killed_worker_could_not_save_is_kept(stack: Stack, *, noted: bool) -> None:
    """The state that the tool left in the run's folder stands nowhere else: it outlives the folder."""
    step = apply_step(stack.code.good)
    context = stack.context(step)
    killed = saved.runs_of(step, context) / f"{context.token(step)}.killed"
    module = killed / "code" / places.stack_of(step, context).path
    module.mkdir(parents=True)
    (module / "errored.tfstate").write_bytes(stack.code.state)
    saved.forget_step(step, context, noted=noted)
    (file,) = stack.folder.glob("states/*/*-unsaved-*")
    assert file.read_bytes() == stack.code.state
    assert not killed.exists()


def test_a_worker_killed_in_the_folder_of_the_approved_plan_loses_no_state(stack: Stack) -> None:
    """The folder stays for the next attempt, which must know first what was not saved."""
    step = apply_step(stack.code.good)
    context = stack.context(step)
    shown = saved.runs_of(step, context) / f"{context.token(step)}.shown"
    module = shown / "code" / places.stack_of(step, context).path
    module.mkdir(parents=True)
    (shown / "shown.json").touch()
    (module / "errored.tfstate").write_bytes(stack.code.state)
    saved.forget_step(step, context, noted=False)
    assert len(list(stack.folder.glob("states/*/*-unsaved-*"))) == 1
    assert shown.exists()


@pytest.mark.parametrize("content", [None, "", "no state"])
async def test_a_kept_state_that_is_lost_is_not_offered(stack: Stack, tmp_path: Path, content: str | None) -> None:
    """A remedy whose file is gone, empty or unreadable would fail: it is left out."""
    file = tmp_path / "unsaved.tfstate"
    if content is not None:
        file.write_text(content)
    step = apply_step(stack.code.good)
    fault = Fault(f"The state could not be written. What it should hold is kept in {file} (sha256 {'0' * 64}).")
    assert list(await offered(step, fault, stack.context(step))) == ["refresh", "state-list", "state-versions"]


async def test_what_a_tool_says_is_no_option(stack: Stack) -> None:
    """An identity or address that could be read as something else is left to people."""
    step = apply_step(stack.code.good)
    said = (
        "Error: creating S3 Bucket (-rf): ConflictException\n\n  with terraform_data.a,\n\n"
        f"Error: reading: NoSuchBucket\n\n  with terraform_data.{'b' * 500},\n\n"
    )
    assert [(found.exists, found.gone) for found in read_complaints(said)] == [(True, False), (False, True)]
    remedies = await offered(step, Fault("it failed", said), stack.context(step))
    assert list(remedies) == ["refresh", "state-list", "state-versions"]
