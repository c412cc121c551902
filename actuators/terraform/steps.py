"""The steps on a Terraform or OpenTofu stack. Each names the commit of the code that it works with."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated, ClassVar, Literal

from pydantic import Field, model_validator

from actuators.remedies import Diagnosis
from bot.domain.inventory import Model
from bot.domain.plan import Step
from bot.domain.times import Duration, parse_duration

Commit = Annotated[str, Field(pattern=r"^[0-9a-f]{40}(?:[0-9a-f]{24})?$")]
"""A full commit id: a branch, a tag or a short id may mean something else tomorrow."""

Address = Annotated[str, Field(pattern=r"^[A-Za-z_][^\s\x00-\x1f]{0,499}$")]
"""The address of a resource, e.g. ``module.web["a"].aws_instance.app[0]``."""

Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


def _absent(value: object) -> bool:
    """Leave a field that was added later out of the canonical plan where it is not used: digests stay the same."""
    return value is None


class Expect(Model):
    """The most that a plan may do. A replacement is one to add and one to destroy, as Terraform counts.

    Attributes:
        add: Resources created.
        change: Resources changed in place.
        destroy: Resources destroyed, or no longer managed.
    """

    add: int = Field(ge=0)
    change: int = Field(ge=0)
    destroy: int = Field(ge=0)

    def words(self) -> str:
        """Return the limits for people."""
        return f"{self.add} to add, {self.change} to change, {self.destroy} to destroy"


class _Slow(Step):
    """What the steps on a stack share: a look is a whole plan against every resource."""

    looking: ClassVar[timedelta | None] = timedelta(minutes=5)


class TerraformApply(_Slow):
    """Bring the infrastructure to what earlier code describes.

    The plan is made by the checks, shown, and saved; exactly that plan is applied.

    Attributes:
        commit: The commit of the earlier code.
        expect: The most that the plan may do.
        seal: The digest of the only plan that may be applied, where it is known beforehand; None: of the one that
            the checks have shown.
    """

    kind: Literal["terraform.apply"] = "terraform.apply"
    commit: Commit
    expect: Expect
    seal: Sha256 | None = Field(default=None, exclude_if=_absent)
    expected: Duration = parse_duration("5m")

    def words(self) -> str:
        """Return the step in words, for people."""
        return self.title or f"Apply the code of {self.commit[:10]} to {self.target}"


class TerraformRefresh(Diagnosis):
    """Show where the real infrastructure differs from the state (``plan -refresh-only``). Nothing is written.

    Attributes:
        commit: The code whose backend and providers are used.
    """

    kind: Literal["terraform.refresh"] = "terraform.refresh"
    commit: Commit
    expected: Duration = parse_duration("1m")

    def words(self) -> str:
        """Return the step in words, for people."""
        return self.title or f"Real infrastructure of {self.target} against its state"


class TerraformStateList(Diagnosis):
    """Show what the state holds, with serial and lineage.

    Attributes:
        commit: The code whose backend is used.
    """

    kind: Literal["terraform.state_list"] = "terraform.state_list"
    commit: Commit

    def words(self) -> str:
        """Return the step in words, for people."""
        return self.title or f"State of {self.target}"


class TerraformStateVersions(Diagnosis):
    """Show the earlier states that can be restored: versions of the S3 object, and what the bot has kept.

    Attributes:
        commit: The code whose backend is used.
    """

    kind: Literal["terraform.state_versions"] = "terraform.state_versions"
    commit: Commit

    def words(self) -> str:
        """Return the step in words, for people."""
        return self.title or f"Earlier states of {self.target}"


class TerraformImport(_Slow):
    """Take a resource that exists into the state, so that it is no longer created a second time.

    Attributes:
        commit: The code that describes the resource.
        address: The resource's address in the code.
        identity: What the provider calls it: the resource's import id.
    """

    kind: Literal["terraform.import"] = "terraform.import"
    commit: Commit
    address: Address
    identity: str = Field(pattern=r"^[^\s\x00-\x1f-][^\x00-\x1f]{0,499}$")

    def words(self) -> str:
        """Return the step in words, for people."""
        return self.title or f"Import {self.identity} as {self.address} on {self.target}"


class TerraformStateRm(_Slow):
    """Take a resource out of the state. The resource itself stays, and is no longer managed.

    Attributes:
        commit: The code whose backend is used.
        address: The resource's address in the state.
    """

    kind: Literal["terraform.state_rm"] = "terraform.state_rm"
    commit: Commit
    address: Address

    def words(self) -> str:
        """Return the step in words, for people."""
        return self.title or f"Take {self.address} out of the state of {self.target}"


class TerraformUnlock(_Slow):
    """Release exactly this lock of the state; another one stays.

    Attributes:
        commit: The code whose backend is used.
        lock: The lock's id.
        held_by: Who held it, in words.
    """

    kind: Literal["terraform.unlock"] = "terraform.unlock"
    commit: Commit
    lock: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.:/-]{0,199}$")
    held_by: str = Field(default="", max_length=300)

    def words(self) -> str:
        """Return the step in words, for people."""
        return self.title or f"Release the lock {self.lock} on the state of {self.target}"


class TerraformStateRestore(_Slow):
    """Push an earlier state back, where the present one is damaged. Only the record changes, no infrastructure.

    Attributes:
        commit: The code whose backend is used.
        lineage: The state's lineage; both the present state and the earlier one must have it.
        version: The version of the object that the backend ``s3`` keeps the state in.
        file: A state on the worker's machine instead, e.g. one that a step of the bot kept.
        sha256: The file's digest.
    """

    kind: Literal["terraform.state_restore"] = "terraform.state_restore"
    commit: Commit
    lineage: str = Field(pattern=r"^[A-Za-z0-9-]{1,64}$")
    version: str | None = Field(default=None, min_length=1, max_length=1024)
    file: str | None = Field(default=None, pattern=r"^/")
    sha256: Sha256 | None = None

    @model_validator(mode="after")
    def _one(self) -> TerraformStateRestore:
        if (self.version is None) == (self.file is None):
            raise ValueError("name exactly one earlier state: `version` or `file`")
        if (self.file is None) != (self.sha256 is None):
            raise ValueError("`file` and `sha256` go together: a file's name alone pins nothing")
        return self

    def words(self) -> str:
        """Return the step in words, for people."""
        return self.title or f"Restore the state of {self.target} from {self.source()}"

    def source(self) -> str:
        """Return the earlier state for people."""
        return f"version {self.version}" if self.version is not None else str(self.file)


StackStep = (
    TerraformApply
    | TerraformRefresh
    | TerraformStateList
    | TerraformStateVersions
    | TerraformImport
    | TerraformStateRm
    | TerraformUnlock
    | TerraformStateRestore
)
