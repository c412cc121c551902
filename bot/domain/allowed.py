"""Commands that an inventory allows by name: what is run, what may be filled in, and how its effect is told."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import PurePosixPath
from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from bot.domain.times import Duration, parse_duration

_SLOT = re.compile(r"\{([a-z][a-z0-9_]{0,40})\}")
_LONGEST_VALUE = 200


def _compiles(text: str) -> str:
    try:
        re.compile(text)
    except re.error as error:
        raise ValueError(f"{text!r} is no regular expression: {error}") from None
    return text


Pattern = Annotated[str, Field(min_length=1, max_length=300), AfterValidator(_compiles)]
"""A regular expression."""

Argument = Annotated[str, Field(max_length=4000, pattern=r"^[^\x00\n\r]*$")]
"""One argument: given to the program as it is, or ``{name}`` for the value of a parameter."""

ParameterName = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,40}$")]
"""The name of a parameter."""

ExitCodes = tuple[Annotated[int, Field(ge=0, le=255)], ...]


class _Command(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    argv: tuple[Argument, ...] = Field(min_length=1)
    sudo: bool = False

    @model_validator(mode="after")
    def _program_pinned(self) -> _Command:
        if not re.fullmatch(r"/[^{}]+", self.argv[0]):
            raise ValueError(f"argv must begin with the program's absolute path, not {self.argv[0][:80]!r}")
        spliced = next((part for part in self.argv if _SLOT.search(part) and not _SLOT.fullmatch(part)), None)
        if spliced is not None:
            raise ValueError(f"a parameter fills a whole element of argv; write it alone, not as {spliced[:80]!r}")
        return self

    def slots(self) -> tuple[str, ...]:
        """Return the parameters' names in the order of their places; a name may stand more than once."""
        return tuple(found[1] for element in self.argv if (found := _SLOT.fullmatch(element)))


class Observing(_Command):
    """A command that only looks, and tells by its end whether the effect is there.

    Attributes:
        argv: The program's path and its arguments, with the same parameters as the command.
        sudo: Whether it runs by ``sudo -n``.
        there: Exit codes that say that the effect is there.
        absent: Exit codes that say that it is not. Any other one says nothing.
        output: A regular expression that the output must hold besides; without it, the effect is not there.
        timeout: How long it may take.
    """

    there: ExitCodes = Field(default=(0,), min_length=1)
    absent: ExitCodes = Field(min_length=1)
    output: Pattern | None = None
    timeout: Duration = parse_duration("20s")

    @model_validator(mode="after")
    def _told_apart(self) -> Observing:
        both = set(self.there) & set(self.absent)
        if both:
            raise ValueError(f"exit code {min(both)} cannot say both, that the effect is there and that it is not")
        return self


class AllowedCommand(_Command):
    """A command that plans may name. Nothing but its parameters can be filled in.

    Attributes:
        argv: The program's path and its arguments. An element ``{name}`` is replaced by that parameter's value as a
            whole; no shell looks at any of them.
        sudo: Whether it runs by ``sudo -n``, exactly as it stands here, so that sudoers may allow just that.
        parameters: What a value must match in full, by the parameter's name.
        exit_codes: Those that count as done.
        timeout: How long it may take on a host.
        observe: Tells whether the effect is there. Without it nobody can tell after a crash, and a person decides.
        markers: A folder on the hosts, which the login may write to, where each run notes that it began and ended.
            Needed without `observe`, and for what runs by sudo, because that may outlive a lost connection.
        output_secret: Whether what it says is shown to nobody.
    """

    parameters: dict[ParameterName, Pattern] = Field(default_factory=dict)
    exit_codes: ExitCodes = Field(default=(0,), min_length=1)
    timeout: Duration = parse_duration("60s")
    observe: Observing | None = None
    markers: PurePosixPath | None = None
    output_secret: bool = False

    @model_validator(mode="after")
    def _filled(self) -> AllowedCommand:
        slots = self.slots()
        for name in sorted({*slots, *(self.observe.slots() if self.observe else ())} - self.parameters.keys()):
            raise ValueError(f"argv has {{{name}}}, and `parameters` does not say what it may be")
        for name in self.parameters:
            if slots.count(name) != 1:
                raise ValueError(f"the parameter {name!r} must fill exactly one element of argv: {{{name}}}")
        return self

    @model_validator(mode="after")
    def _repeatable(self) -> AllowedCommand:
        if self.markers is None and (self.observe is None or self.sudo):
            why = "what runs by sudo may outlive a lost connection" if self.sudo else "it has no `observe`"
            raise ValueError(f"name a folder for `markers`: {why}, and nobody could tell whether it has run")
        if self.markers is not None and not self.markers.is_absolute():
            raise ValueError(f"the folder for `markers` must be an absolute path, not {self.markers}")
        return self

    def problems(self, values: Mapping[str, str]) -> Iterator[str]:
        """Yield what is wrong with a plan's values of the parameters; nothing, if they may be filled in."""
        for name in sorted(self.parameters.keys() - values.keys()):
            yield f"the parameter {name} is missing"
        for name, value in sorted(values.items()):
            pattern = self.parameters.get(name)
            if pattern is None:
                yield f"there is no parameter {name}"
            elif len(value) > _LONGEST_VALUE or not value.isprintable() or not re.fullmatch(pattern, value):
                yield f"{name}: {value[:80]!r} does not match {pattern} in full"
            elif value.startswith("-") and not pattern.startswith(("-", r"\-")):
                yield f"{name}: {value[:80]!r} would be read as an option; its pattern does not begin with a dash"


def filled(command: _Command, values: Mapping[str, str]) -> tuple[str, ...]:
    """Return the argument list with each parameter's value in its place.

    Raises:
        KeyError: If a value is missing.
    """
    return tuple(values[found[1]] if (found := _SLOT.fullmatch(part)) else part for part in command.argv)
