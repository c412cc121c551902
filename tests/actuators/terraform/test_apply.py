"""terraform.apply on the real core: planned, compared with what was approved, and applied as that saved plan."""

from __future__ import annotations

import asyncio
import json
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from actuators.terraform import TerraformApply
from actuators.terraform.apply import ApplyActuator
from bot.domain.actuation import Fault, Presence, Progress, Verdict
from bot.domain.errors import ActuatorError
from bot.domain.inventory import Inventory
from tests.actuators.terraform.approving import approved, outside
from tests.support.actuation import Reports, fails
from tests.support.terraform import FAILED, Code, Stack, commit_code, git, kept

ACTUATOR = ApplyActuator()


def going_back(code: Code, **fields: Any) -> TerraformApply:
    """Return the step to the code before the deployment."""
    limits = {"add": 1, "change": 1, "destroy": 1}
    document = {"id": "infra", "target": "payments-infra", "commit": code.good, "expect": limits, **fields}
    return TerraformApply.model_validate(document)


async def test_check_shows_what_the_plan_would_do(stack: Stack) -> None:
    """The approver sees tool, code, serial and lineage, and the addresses; nothing is written anywhere."""
    step, before = going_back(stack.code), outside(stack)
    checks = await ACTUATOR.check(step, stack.context(step))
    told = "\n".join(check.words for check in checks)
    assert {check.verdict for check in checks} == {Verdict.OK}
    assert "terraform 1." in told
    document = stack.server.document()
    assert f"serial {document['serial']}, lineage {document['lineage']}, 2 resources" in told
    assert "1 to add, 1 to change, 1 to destroy" in told
    assert "- terraform_data.extra, ~ terraform_data.app, + terraform_data.logs" in told
    assert outside(stack) == before


async def test_earlier_code_comes_back(stack: Stack) -> None:
    """Exactly the saved plan is applied; the state before is kept for the bot alone, and no code stays behind."""
    step, reports, repository = going_back(stack.code), Reports(), stack.code.looks()
    context = await approved(stack, step, reports=reports)
    assert (await ACTUATOR.observe(step, context)).presence is Presence.ABSENT
    outcome = await ACTUATOR.apply(step, context)
    assert (await ACTUATOR.observe(step, context)).presence is Presence.PRESENT
    assert sorted(stack.server.names()) == ["app", "logs"]
    assert stack.server.names()["app"]["input"]["value"] == "v2.3.1"
    assert {key: outcome.facts[key] for key in ("add", "change", "destroy")} == {
        "add": 1,
        "change": 1,
        "destroy": 1,
    }
    assert len(outcome.facts["plan_sha256"]) == 64
    assert outcome.facts["serial"] == stack.server.document()["serial"]
    document, open_to_others = kept(outcome.facts)
    assert document["resources"] == json.loads(stack.code.state)["resources"]
    assert open_to_others == 0
    (file,) = stack.files()
    assert outcome.facts["kept_state"].endswith(file)
    assert stack.code.looks() == repository
    assert [seen.done for seen in reports.seen if seen.total] == [0, 1, 2, 3]


async def test_a_second_time_finds_nothing_to_do(stack: Stack) -> None:
    """Applying again plans, finds no changes and writes no state."""
    step = going_back(stack.code)
    await ACTUATOR.apply(step, await approved(stack, step))
    before = stack.everything()
    assert "no changes" in (await ACTUATOR.apply(step, stack.context(step))).words
    assert stack.everything() == before


@pytest.mark.parametrize("less", ["add", "change", "destroy"])
async def test_more_than_was_approved_is_refused(stack: Stack, less: str) -> None:
    """A plan beyond any one limit is refused with its summary before anything is applied."""
    limits = {"add": 1, "change": 1, "destroy": 1, less: 0}
    step, before = going_back(stack.code, expect=limits), outside(stack)
    with pytest.raises(ActuatorError, match=f"1 instead of 0 to {less}") as refused:
        await ACTUATOR.apply(step, stack.context(step))
    assert not refused.value.transient
    assert "- terraform_data.extra" in refused.value.output
    assert outside(stack) == before
    if less == "destroy":
        told = fails(await ACTUATOR.check(step, stack.context(step)))
        assert "1 instead of 0 to destroy (terraform_data.extra)" in told


async def test_a_locked_state_says_who_holds_it(stack: Stack) -> None:
    """A lock is unknown to an observer, a warning to a check, and a passing fault to an apply."""
    step, context = going_back(stack.code), stack.context(going_back(stack.code))
    stack.server.left_locked()
    seen = await ACTUATOR.observe(step, context)
    assert seen.presence is Presence.UNKNOWN
    assert "deploy@ci-7 (apply) since 2024-01-15" in seen.words
    warned = [check for check in await ACTUATOR.check(step, context) if check.verdict is Verdict.WARN]
    assert [check.subject for check in warned] == ["Lock of payments-infra"]
    with pytest.raises(ActuatorError, match="is locked: deploy@ci-7") as locked:
        await ACTUATOR.apply(step, context)
    assert locked.value.transient
    assert stack.server.state == stack.code.state


async def test_a_state_that_moved_on_is_planned_again(stack: Stack) -> None:
    """A plan that somebody else's write made stale is not applied; the next attempt plans anew."""
    step, reports = going_back(stack.code), Reports()

    def interfere(progress: Progress) -> None:
        if progress.words == "Applying the saved plan":
            stack.server.moved_on()

    reports.on_report = interfere
    context = await approved(stack, step, reports=reports)
    with pytest.raises(ActuatorError, match="changed by somebody else") as stale:
        await ACTUATOR.apply(step, context)
    assert stale.value.transient
    assert "extra" in stack.server.names()
    reports.on_report = None
    await ACTUATOR.apply(step, context)
    assert "extra" not in stack.server.names()


async def test_a_changed_plan_file_is_not_applied(stack: Stack) -> None:
    """Only the file that was looked at is applied."""
    step, reports = going_back(stack.code), Reports()

    def interfere(progress: Progress) -> None:
        if progress.words == "Applying the saved plan":
            (file,) = stack.folder.rglob("saved.tfplan")
            file.write_bytes(b"another")

    reports.on_report = interfere
    context = await approved(stack, step, reports=reports)
    with pytest.raises(ActuatorError, match="was changed after it had been looked at"):
        await ACTUATOR.apply(step, context)
    assert stack.server.state == stack.code.state


async def test_what_a_killed_attempt_left_is_removed(stack: Stack) -> None:
    """A saved plan may hold secrets, so the next attempt takes those of the last one away."""
    step = going_back(stack.code)
    context = stack.context(step)
    left = stack.folder / "runs" / f"{context.token(step)}.left"
    left.mkdir(parents=True)
    (left / "saved.tfplan").write_bytes(b"secret")
    with pytest.raises(ActuatorError):
        await ACTUATOR.apply(step, stack.away().context(step))
    assert stack.files() == []


@pytest.mark.parametrize(
    ("commit", "refs", "told"),
    [
        ("f" * 40, (), "is not there"),
        ("tree", (), "is not a commit"),
        ("exists", ("main", "v*"), "is in no branch or tag that the inventory permits"),
    ],
)
async def test_only_permitted_commits_are_used(stack: Stack, commit: str, refs: tuple[str, ...], told: str) -> None:
    """A commit that is missing, no commit, or on no permitted branch is refused before the backend is asked."""
    if commit == "tree":
        commit = stack.code.git("rev-parse", "HEAD^{tree}")
    elif commit == "exists":
        commit = stack.code.exists
    step, chosen = going_back(stack.code, commit=commit), stack.but(refs=refs).away()
    assert told in fails(await ACTUATOR.check(step, chosen.context(step)))
    with pytest.raises(ActuatorError, match=told):
        await ACTUATOR.apply(step, chosen.context(step))
    assert stack.files() == []


async def test_a_permitted_commit_says_where_it_is(stack: Stack) -> None:
    """The check names the branch or tag that permits the commit."""
    step = going_back(stack.code)
    checks = await ACTUATOR.check(step, stack.but(refs=("v*",)).context(step))
    assert f"{stack.code.good[:10]} is in v2.3.1" in [check.words for check in checks]


async def test_without_a_state_nothing_is_created(stack: Stack) -> None:
    """An empty backend is a wrong one: a plan against it would create everything once more."""
    step = going_back(stack.code, expect={"add": 9, "change": 9, "destroy": 9})
    stack.server.state = b""
    assert "has no state" in fails(await ACTUATOR.check(step, stack.context(step)))
    with pytest.raises(ActuatorError, match="has no state"):
        await ACTUATOR.apply(step, stack.context(step))
    assert stack.server.state == b""


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ({"binary": "no-such-terraform"}, "no-such-terraform is not there"),
        ({"binary": "true"}, "does not tell its version"),
        ({"path": "elsewhere"}, "has no folder elsewhere"),
        ({"repository": "/nowhere"}, "cannot change to '/nowhere'"),
        ({"env": {"CLOUD_TOKEN": {"env": "NOT_SET_ANYWHERE"}}}, "NOT_SET_ANYWHERE is not set"),
        ({"folder": "/proc/nowhere"}, "cannot be written"),
        ({"var_files": ["missing.tfvars"]}, "variables file"),
    ],
)
async def test_a_wrong_inventory_is_told(stack: Stack, fields: dict[str, Any], told: str) -> None:
    """Each entry that cannot be used is a finding with what to do."""
    step = going_back(stack.code)
    assert told in fails(await ACTUATOR.check(step, stack.but(**fields).context(step)))


async def test_local_state_with_files_of_variables(code: Code, stack: Stack, tmp_path: Path) -> None:
    """The backend `local` works alike, and the variables' files are those of the commit."""
    module = tmp_path / "copy" / "infra"
    repository = module.parent
    replaced = replace(stack, code=replace(code, repository=repository))
    module.mkdir(parents=True)
    text = 'terraform {\n  backend "local" {}\n}\nvariable "release" {}\nresource "terraform_data" "app" {\n'
    (module / "main.tf").write_text(text + "  input = var.release\n}\n")
    (module / "live.tfvars").write_text('release = "v2.3.1"\n')
    git(repository, "init", "--quiet")
    git(repository, "add", "--all")
    git(repository, "commit", "--quiet", "-m", "all")
    state = tmp_path / "state" / "terraform.tfstate"
    state.parent.mkdir()
    state.write_text(json.dumps({**json.loads(code.state), "resources": json.loads(code.state)["resources"][:1]}))
    local = replaced.but(backend={"path": str(state)}, var_files=["live.tfvars"])
    step = going_back(
        code, commit=git(repository, "rev-parse", "HEAD"), expect={"add": 0, "change": 1, "destroy": 0}
    )
    await ACTUATOR.apply(step, await approved(local, step))
    (app,) = json.loads(state.read_text())["resources"]
    assert app["instances"][0]["attributes"]["input"]["value"] == "v2.3.1"


async def test_a_cancelled_apply_gives_the_lock_back(stack: Stack, tmp_path: Path) -> None:
    """The tool is interrupted: it records what it had begun, releases its lock, and leaves no process or code."""
    fifo, repository = tmp_path / "begun", tmp_path / "repository"
    os.mkfifo(fifo)
    (repository / "infra").mkdir(parents=True)
    git(repository, "init", "--quiet")
    slow = f'provisioner "local-exec" {{\n    command = "echo $$ > {fifo}; exec sleep 60"\n  }}'
    commit = commit_code(repository, f'{FAILED}\nresource "terraform_data" "slow" {{\n  {slow}\n}}\n')
    step = going_back(stack.code, commit=commit)
    context = await approved(stack.but(repository=str(repository)), step)
    pipe, begun = os.open(fifo, os.O_RDWR | os.O_NONBLOCK), asyncio.Event()
    asyncio.get_running_loop().add_reader(pipe, begun.set)
    async with asyncio.timeout(60), asyncio.TaskGroup() as group:
        applying = group.create_task(ACTUATOR.apply(step, context))
        await begun.wait()
        process = int(os.read(pipe, 100))
        applying.cancel()
    assert applying.cancelled()
    asyncio.get_running_loop().remove_reader(pipe)
    os.close(pipe)
    assert stack.server.lock == {}
    assert sorted(stack.server.names()) == ["app", "extra", "slow"]
    with pytest.raises(ProcessLookupError):
        os.kill(process, 0)


async def test_a_damaged_state_is_told(stack: Stack) -> None:
    """A state in another form is a finding, and unknown to an observer."""
    step = going_back(stack.code)
    stack.server.state = b'{"version": 99}'
    assert "payments-infra" in fails(await ACTUATOR.check(step, stack.context(step)))
    assert (await ACTUATOR.observe(step, stack.context(step))).presence is Presence.UNKNOWN


async def test_another_kind_of_target_is_refused(stack: Stack) -> None:
    """A step on a target that is no stack has neither a plan nor remedies."""
    step = going_back(stack.code, target="page")
    endpoint = {"endpoints": {"page": {"service": "payments", "url": "http://127.0.0.1:1"}}}
    context = replace(stack.context(step), inventory=Inventory.model_validate(endpoint))
    assert "page is no Terraform stack" in fails(await ACTUATOR.check(step, context))
    assert await ACTUATOR.remedies(step, Fault("it failed"), context) == ()
