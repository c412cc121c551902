"""Exactly the approved plan is applied, on the real core: the saved file, one that does the same, or its rest."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from actuators import terraform
from actuators.terraform import TerraformApply, approval, places
from actuators.terraform.apply import ApplyActuator
from bot.domain.actuation import Context, Fault, Presence, Registry, Remedy, Verdict
from bot.domain.errors import ActuatorError
from bot.domain.plan import Step
from tests.actuators.terraform.approving import approved, outside, sealed, waiting
from tests.support.actuation import Reports, fails
from tests.support.terraform import GOOD, Stack, commit_code, git

ACTUATOR = ApplyActuator()
REGISTRY = Registry(*terraform.register())
SECRET = "hunter-2-and-more"
HALF = """
resource "terraform_data" "app" {{
  input = "v2.3.1"
}}
resource "terraform_data" "logs" {{
  input = [terraform_data.app.output, "fixed"]
  lifecycle {{
    precondition {{
      condition     = fileexists("{folder}/${{terraform_data.app.output}}")
      error_message = "The bucket is not ready yet."
    }}
  }}
}}
"""
"""The first resource is changed, the second one refused: what it needs is known only by then."""


def going_back(stack: Stack, **fields: Any) -> TerraformApply:
    """Return the step to the code before the deployment."""
    limits = {"add": 1, "change": 1, "destroy": 1}
    document = {"id": "infra", "target": "payments-infra", "commit": stack.code.good, "expect": limits, **fields}
    return TerraformApply.model_validate(document)


def other_code(stack: Stack, folder: Path, *texts: str) -> tuple[Stack, tuple[str, ...]]:
    """Return the stack with a repository of its own, and the commits of its code."""
    (folder / "infra").mkdir(parents=True)
    git(folder, "init", "--quiet")
    commits = tuple(commit_code(folder, text) for text in texts)
    return stack.but(repository=str(folder)), commits


def drifted(stack: Stack, version: str) -> None:
    """Let somebody deploy another version."""
    document = stack.server.document()
    for resource in document["resources"]:
        if resource["name"] == "app":
            attributes = resource["instances"][0]["attributes"]
            attributes["input"]["value"] = attributes["output"]["value"] = version
    document["serial"] += 1
    stack.server.state = json.dumps(document).encode()


def inputs(stack: Stack) -> dict[str, str]:
    """Return the input of every resource that there is; one that could not be created has no instance."""
    there = [(r["name"], i["attributes"]) for r in stack.server.document()["resources"] for i in r["instances"]]
    return {name: str((attributes["input"] or {}).get("value")) for name, attributes in there}


async def refused(step: TerraformApply, context: Context) -> ActuatorError:
    """Apply, and return why that was refused."""
    with pytest.raises(ActuatorError) as refusal:
        await ACTUATOR.apply(step, context)
    return refusal.value


async def offered(step: TerraformApply, error: ActuatorError, context: Context) -> Remedy:
    """Return the remedy that applies the refused plan, as the journal gives it back: a step with another id."""
    found = await ACTUATOR.remedies(step, Fault(error.brief, error.output, Presence.ABSENT), context)
    (remedy,) = [remedy for remedy in found if remedy.id.startswith("apply-")]
    document = {**remedy.step.model_dump(mode="json"), "id": "remedy.apply.17.3"}
    return replace(remedy, step=REGISTRY.read(document))


async def test_exactly_the_file_that_was_shown_is_applied(stack: Stack) -> None:
    """The checks save the plan where the bot alone can read it; that file is applied unplanned, and then gone."""
    step, reports = going_back(stack), Reports()
    before = outside(stack)
    context = await approved(stack, step, reports=reports)
    assert outside(stack) == before
    (file,) = waiting(stack)
    assert (file.stat().st_mode | file.parent.stat().st_mode | file.parent.parent.stat().st_mode) & 0o077 == 0
    sha256 = places.digest(file.read_bytes())
    outcome = await ACTUATOR.apply(step, context)
    assert outcome.facts["plan_sha256"] == sha256
    assert "Planning" not in [seen.words for seen in reports.seen]
    assert stack.server.names()["app"]["input"]["value"] == "v2.3.1"
    assert [name.partition("/")[0] for name in stack.files()] == ["states"]


async def test_the_seal_is_the_same_for_the_same_changes_only(stack: Stack) -> None:
    """Every plan that would do the same has the same seal; other values, though the same counts, have another."""
    step = going_back(stack)
    first = sealed(await ACTUATOR.check(step, stack.context(step)))
    stack.server.moved_on()
    again = sealed(await ACTUATOR.check(step, stack.context(step)))
    assert again.seal == first.seal
    assert len(first.seal) == 64
    assert len(waiting(stack)) == 1, "a plan that is shown anew replaces the one before"
    drifted(stack, "v2.4.1")
    other = sealed(await ACTUATOR.check(step, stack.context(step)))
    assert (other.words, other.seal != first.seal) == (first.words, True)


async def test_an_approver_sees_every_attribute_and_no_secret(
    stack: Stack, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Old and new values, reasons of replacements, unknown ones marked; a secret also where its mark was lost."""
    text = """
    variable "password" {{
      sensitive = true
      default   = "{secret}"
    }}
    resource "terraform_data" "app" {{
      input            = {{ release = "{release}", login = var.password, note = "{note}" }}
      triggers_replace = "{release}"
    }}
    """
    old, new = (
        text.format(secret=f"{SECRET}-{n}", release=release, note=f"see {SECRET}-in-the-environment")
        for n, release in enumerate(("v2.4.0", "v2.3.1"))
    )
    other, (deployed, earlier) = other_code(stack, tmp_path / "repository", old, new)
    monkeypatch.setenv("TOKEN_OF_THE_CLOUD", f"{SECRET}-in-the-environment")
    other = other.but(env={"CLOUD_TOKEN": {"env": "TOKEN_OF_THE_CLOUD"}})
    many = {"add": 1, "change": 1, "destroy": 1}
    first = going_back(stack, commit=deployed, expect={**many, "destroy": 2})
    await ACTUATOR.apply(first, await approved(other, first))
    shown = sealed(await ACTUATOR.check(going_back(stack, commit=earlier), other.context(first))).detail
    assert SECRET not in shown
    lines = [line.strip() for line in shown.splitlines()]
    assert lines[0] == ("-/+ terraform_data.app (it cannot be changed in place; because of triggers_replace)")
    assert 'input.release: "v2.4.0" -> "v2.3.1"' in lines
    assert "input.login: (sensitive) -> (sensitive)" in lines
    assert any(line.startswith("id: ") and line.endswith("-> (known after apply)") for line in lines)
    assert any(line.startswith("output.login: ") for line in lines)


async def test_a_failure_tells_no_secret_of_the_plan(stack: Stack, tmp_path: Path) -> None:
    """A provider's error may quote what the code marks as sensitive: it is masked as in the plan."""
    text = f"""
    variable "password" {{
      sensitive = true
      default   = "{SECRET}"
    }}
    resource "terraform_data" "app" {{
      provisioner "local-exec" {{
        command = "echo ${{var.password}}; exit 1"
      }}
    }}
    """
    other, (commit,) = other_code(stack, tmp_path / "repository", text)
    step = going_back(stack, commit=commit, expect={"add": 2, "change": 2, "destroy": 3})
    deployed = json.loads(stack.server.state)
    stack.server.state = json.dumps({**deployed, "resources": []}).encode()
    error = await refused(step, await approved(other, step))
    assert "exit status 1" in error.output
    assert SECRET not in f"{error.brief} {error.output}"


async def test_another_worker_applies_a_plan_that_does_the_same(stack: Stack, tmp_path: Path) -> None:
    """Where the saved plan is not, the plan is made anew, and applied because its seal is the approved one."""
    step = going_back(stack)
    context = await approved(stack, step)
    taken_over = replace(stack, folder=tmp_path / "other-worker").context(step)
    outcome = await ACTUATOR.apply(step, replace(taken_over, approved=context.approved))
    assert outcome.facts["destroy"] == 1
    assert sorted(stack.server.names()) == ["app", "logs"]


async def test_a_stale_plan_that_still_does_the_same_is_made_anew(stack: Stack) -> None:
    """Another write of the state that changes nothing of the plan costs a new plan and no second approval."""
    step, reports = going_back(stack), Reports()
    context = await approved(stack, step, reports=reports)
    stack.server.moved_on()
    await ACTUATOR.apply(step, context)
    assert "Planning" in [seen.words for seen in reports.seen]
    assert sorted(stack.server.names()) == ["app", "logs"]
    assert waiting(stack) == []


async def test_another_plan_is_refused_and_offered(stack: Stack) -> None:
    """A plan with the same counts and another change is shown with what is strange in it, and applied only so."""
    step = going_back(stack)
    context = await approved(stack, step)
    drifted(stack, "v2.4.1")
    before = stack.server.state
    error = await refused(step, context)
    assert stack.server.state == before
    assert not error.transient
    assert "is not the approved" in error.brief
    assert "Not approved: terraform_data.app." in error.brief
    assert '    input: "v2.4.1" -> "v2.3.1"' in error.output.splitlines()
    remedy = await offered(step, error, context)
    assert isinstance(remedy.step, TerraformApply)
    seal = str(remedy.step.seal)
    assert remedy.settles
    assert remedy.title.startswith(f"Apply the new plan {seal[:8]} (1 to add, 1 to change, 1 to ")
    assert seal != context.approved[step.id]
    assert error.output.startswith(f"plan {seal}: 1 to add, 1 to change, 1 to destroy\n")
    shown = {places.digest(file.read_bytes()) for file in waiting(stack)}
    outcome = await ACTUATOR.apply(remedy.step, context)
    assert outcome.facts["plan_sha256"] in shown
    assert (await ACTUATOR.observe(step, context)).presence is Presence.PRESENT
    assert waiting(stack) == []


async def test_a_remedy_applies_no_other_plan_either(stack: Stack) -> None:
    """What somebody approved as a remedy binds as the first approval did."""
    step = going_back(stack)
    context = await approved(stack, step)
    drifted(stack, "v2.4.1")
    remedy = await offered(step, await refused(step, context), context)
    assert isinstance(remedy.step, TerraformApply)
    drifted(stack, "v2.4.2")
    before = stack.server.state
    error = await refused(remedy.step, context)
    assert f"not the approved {str(remedy.step.seal)[:12]}" in error.brief
    assert stack.server.state == before


async def test_without_an_approved_plan_nothing_is_applied(stack: Stack) -> None:
    """A journal without a seal permits nothing; what would be done is shown, and can be approved as a remedy."""
    step = going_back(stack)
    context = stack.context(step)
    error = await refused(step, context)
    assert "No plan for payments-infra was shown and approved" in error.brief
    assert stack.server.state == stack.code.state
    remedy = await offered(step, error, context)
    await ACTUATOR.apply(remedy.step, context)  # type: ignore[arg-type]  # it is one of its own
    assert sorted(stack.server.names()) == ["app", "logs"]


async def test_the_rest_of_a_half_done_plan_is_applied(stack: Stack, tmp_path: Path) -> None:
    """What is left after a failure is part of what was approved, though values are known now that were not then."""
    other, (commit,) = other_code(stack, tmp_path / "repository", HALF.format(folder=tmp_path))
    step = going_back(stack, commit=commit)
    context = await approved(other, step)
    error = await refused(step, context)
    assert "not ready yet" in error.output
    assert inputs(stack) == {"app": "v2.3.1"}
    (tmp_path / "v2.3.1").touch()
    outcome = await ACTUATOR.apply(step, context)
    assert {name: outcome.facts[name] for name in ("add", "change", "destroy")} == {
        "add": 1,
        "change": 0,
        "destroy": 0,
    }
    assert sorted(stack.server.names()) == ["app", "logs"]
    assert waiting(stack) == []


async def test_what_came_in_after_half_of_it_is_refused(stack: Stack, tmp_path: Path) -> None:
    """A retry does the rest of what was approved, and nothing that somebody else made necessary meanwhile."""
    other, (commit,) = other_code(stack, tmp_path / "repository", HALF.format(folder=tmp_path))
    step = going_back(stack, commit=commit)
    context = await approved(other, step)
    await refused(step, context)
    (tmp_path / "v2.3.1").touch()
    drifted(stack, "v9")
    error = await refused(step, context)
    assert "Not approved: terraform_data.app." in error.brief
    assert inputs(stack) == {"app": "v9"}


async def test_what_was_left_half_made_needs_an_approval_of_its_own(stack: Stack, tmp_path: Path) -> None:
    """A resource that was created in part is to be replaced: that was not approved, nor is it within `expect`."""
    spoilt = """
    resource "terraform_data" "logs" {{
      provisioner "local-exec" {{
        command = "test -e {folder}/ready"
      }}
    }}
    """
    text = GOOD.replace('resource "terraform_data" "logs" {}', "") + spoilt.format(folder=tmp_path)
    other, (commit,) = other_code(stack, tmp_path / "repository", text)
    step = going_back(stack, commit=commit)
    context = await approved(other, step)
    await refused(step, context)
    (tmp_path / "ready").touch()
    step = step.model_copy(update={"expect": step.expect.model_copy(update={"destroy": 0})})
    error = await refused(step, context)
    assert "1 instead of 0 to destroy (terraform_data.logs)" in error.brief
    assert "-/+ terraform_data.logs (it was left half made)" in error.output
    remedy = await offered(step, error, context)
    assert "(1 to add, 1 to destroy)" in remedy.title
    await ACTUATOR.apply(remedy.step, context)  # type: ignore[arg-type]  # it is one of its own
    assert (await ACTUATOR.observe(step, context)).presence is Presence.PRESENT


async def test_a_folder_that_was_meddled_with_is_not_used(stack: Stack) -> None:
    """Where the kept code can no longer be initialised, the plan is made anew from the repository."""
    step = going_back(stack)
    context = await approved(stack, step)
    (waiting(stack)[0].parent / "code" / "infra" / "main.tf").write_text("no code")
    await ACTUATOR.apply(step, context)
    assert sorted(stack.server.names()) == ["app", "logs"]


async def test_another_plan_in_the_place_of_the_approved_one_is_not_applied(stack: Stack) -> None:
    """What counts is what a saved plan does, whatever is noted about its file."""
    step = going_back(stack)
    context = await approved(stack, step)
    mine = waiting(stack)[0]
    elsewhere = going_back(stack, id="other", commit=stack.code.exists)
    await ACTUATOR.check(elsewhere, stack.context(elsewhere))
    (other,) = [file for file in waiting(stack) if file != mine]
    mine.write_bytes(other.read_bytes())
    note = json.loads((mine.parent / "shown.json").read_text())
    note["sha256"] = places.digest(mine.read_bytes())
    (mine.parent / "shown.json").write_text(json.dumps(note))
    await ACTUATOR.apply(step, context)
    assert sorted(stack.server.names()) == ["app", "logs"]


@pytest.mark.parametrize("meant", [True, False])
async def test_a_plan_may_pin_its_seal(stack: Stack, *, meant: bool) -> None:
    """A step that names the only plan that it may apply is refused beforehand where the plan is another."""
    first = going_back(stack)
    seal = sealed(await ACTUATOR.check(first, stack.context(first))).seal if meant else "0" * 64
    step = going_back(stack, seal=seal)
    checks = await ACTUATOR.check(step, stack.context(step))
    if meant:
        assert sealed(checks).seal == seal
    else:
        assert "not the pinned 000000000000" in fails(checks)
        assert waiting(stack) == []


async def test_a_locked_state_does_not_keep_the_plan_from_being_shown(stack: Stack) -> None:
    """The plan is made without the lock; once the lock is free, exactly it is applied."""
    step = going_back(stack)
    stack.server.left_locked()
    context = stack.context(step)
    checks = await ACTUATOR.check(step, context)
    assert [check.subject for check in checks if check.verdict is Verdict.WARN] == ["Lock of payments-infra"]
    context = replace(context, approved={step.id: sealed(checks).seal})
    assert "is locked: deploy@ci-7" in (await refused(step, context)).brief
    assert len(waiting(stack)) == 1, "the attempt after this one needs it"
    stack.server.lock = {}
    await ACTUATOR.apply(step, context)
    assert sorted(stack.server.names()) == ["app", "logs"]


async def test_an_approval_of_nothing_permits_nothing(stack: Stack) -> None:
    """Where the checks found nothing to do, a change that is needed later is not approved."""
    step = going_back(stack, commit=stack.code.failed)
    context = await approved(stack, step)
    assert waiting(stack) == []
    drifted(stack, "v2.4.1")
    assert "is not the approved" in (await refused(step, context)).brief


async def test_a_plan_that_needs_more_than_the_step_permits_is_planned_anew(stack: Stack) -> None:
    """A file that was shown for other limits is no way around those of the step."""
    step = going_back(stack)
    context = await approved(stack, step)
    step = step.model_copy(update={"expect": step.expect.model_copy(update={"add": 0})})
    assert "1 instead of 0 to add" in (await refused(step, context)).brief


def test_a_seal_that_is_not_used_leaves_digests_as_they_were(stack: Stack) -> None:
    """A step without it has the same canonical form as before there was one."""
    step: Step = going_back(stack)
    assert "seal" not in step.model_dump(mode="json")


def test_only_a_refusal_offers_a_new_plan() -> None:
    """Words of a provider that look like a refusal are none."""
    limits = {"add": 0, "change": 0, "destroy": 0}
    step = TerraformApply.model_validate({"id": "i", "target": "t", "commit": "a" * 40, "expect": limits})
    fault = Fault("it failed", f"said\nplan {'0' * 64}: 1 to add, 0 to change, 0 to destroy")
    assert list(approval.remedy(step, fault)) == []
