"""downstream.ttl: what DNS answers for the service's names, and how long resolvers may keep it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

import dns.asyncresolver
import dns.exception
import dns.flags
import dns.message
import dns.resolver

from actuators.downstream.steps import DownstreamTtl, downstream_of
from actuators.probes import LeavesNothing
from actuators.remedies import cannot_look, shown
from bot.domain.actuation import Check, Context, Outcome, Verdict
from bot.domain.balancers import split_address
from bot.domain.errors import ActuatorError
from bot.domain.inventory import Downstream
from bot.domain.times import in_words, utc_second

_SECONDS = 5.0
"""For one name, tries at other servers included."""
_KINDS = ("A", "AAAA")
_PORT = 53


@dataclass(frozen=True)
class Answer:
    """What DNS says of one name.

    Attributes:
        name: The name.
        lines: The records as ``dig +noall +answer`` shows them.
        addresses: Where the name leads.
        ttl: The longest time for which any record on the way may still be kept, in seconds.
        authoritative: Whether the server owns the name; another one tells what is left in its own cache.
        server: The server that answered.
    """

    name: str
    lines: tuple[str, ...]
    addresses: tuple[str, ...]
    ttl: int
    authoritative: bool
    server: str

    def words(self, now: datetime) -> str:
        """Return the answer in words."""
        if not self.lines:
            return f"{self.name} has no address (asked {self.server})."
        until = utc_second(now + timedelta(seconds=self.ttl))
        places = ", ".join(self.addresses) or "no address"
        keep = f"may be kept for {in_words(timedelta(seconds=self.ttl))}, until {until}"
        if self.authoritative:
            return f"{self.name} leads to {places} and {keep} (told by {self.server}, which owns the name)."
        return f"{self.name} leads to {places} and {keep} by {self.server}; other resolvers may keep it for longer."


class TtlActuator(LeavesNothing):
    """A diagnosis: asks for addresses and reads the records' time to live."""

    async def check(self, step: DownstreamTtl, context: Context) -> tuple[Check, ...]:
        """Look whether the names can be asked for. Whatever DNS says, it is no obstacle to a rollback."""
        subject = f"DNS of {step.target}"
        try:
            answers, failures = await _ask(downstream_of(step, context))
        except ActuatorError as error:
            return (cannot_look(subject, error),)
        words = " ".join([answer.words(context.clock.now()) for answer in answers] + failures)
        if failures:
            resolution = "Correct `names` or `resolver` of the downstream in the inventory."
            return (Check(subject, Verdict.WARN, words, resolution),)
        return (Check(subject, Verdict.OK, words),)

    async def apply(self, step: DownstreamTtl, context: Context) -> Outcome:
        """Ask for every name."""
        answers, failures = await _ask(downstream_of(step, context))
        if not answers:
            raise ActuatorError(
                f"DNS tells nothing of {step.target}: {' '.join(failures)}",
                untouched="DNS was only asked.",
                resolution="Correct `names` or `resolver` of the downstream in the inventory, or ask by `dig`.",
                transient=True,
            )
        words = [answer.words(context.clock.now()) for answer in answers]
        facts = {
            "ttl_seconds": {answer.name: answer.ttl for answer in answers},
            "addresses": {answer.name: list(answer.addresses) for answer in answers},
        }
        output = shown(line for answer in answers for line in answer.lines)
        return Outcome(" ".join([*words, *failures]), facts, output)


async def _ask(target: Downstream) -> tuple[list[Answer], list[str]]:
    """Ask for all names; return the answers, and in words what could not be found out.

    Raises:
        ActuatorError: If nobody can be asked.
    """
    if not target.names:
        raise ActuatorError(
            "No names are given to ask for.",
            untouched="Nothing was asked.",
            resolution="Add `names` to the downstream in the inventory.",
        )
    resolver = _resolver(target)
    answers, failures = [], []
    for name in target.names:
        try:
            answers.append(await _look_up(resolver, name))
        except dns.resolver.NXDOMAIN:
            failures.append(f"{name} does not exist.")
        except dns.resolver.LifetimeTimeout:
            failures.append(f"{name}: no answer within {_SECONDS:g} seconds from {_servers(resolver)}.")
        except dns.exception.DNSException as error:
            failures.append(f"{name}: {str(error).rstrip('.') or type(error).__name__}.")
        except OSError as error:
            failures.append(f"{name}: {_servers(resolver)} cannot be reached: {error.strerror or error}.")
    return answers, failures


def _resolver(target: Downstream) -> dns.asyncresolver.Resolver:
    try:
        resolver = dns.asyncresolver.Resolver(configure=target.resolver is None)
        if target.resolver is not None:
            address, port = _address(target.resolver)
            resolver.nameservers, resolver.port = [address], port
    except (dns.exception.DNSException, ValueError) as error:
        raise ActuatorError(
            f"No DNS server can be asked: {error}.",
            untouched="Nothing was asked.",
            resolution="Name a server in `resolver` of the downstream: an address, or address:port.",
        ) from None
    resolver.lifetime = _SECONDS
    return resolver


def _address(text: str) -> tuple[str, int]:
    with_port = text.count(":") == 1 or text.startswith("[")
    return split_address(text) if with_port and not text.endswith("]") else (text.strip("[]"), _PORT)


def _servers(resolver: dns.asyncresolver.Resolver) -> str:
    return ", ".join(str(server) for server in resolver.nameservers)


async def _look_up(resolver: dns.asyncresolver.Resolver, name: str) -> Answer:
    lines: dict[str, int] = {}
    addresses: list[str] = []
    authoritative = True
    server = ""
    for kind in _KINDS:
        answer = await resolver.resolve(name, kind, search=False, raise_on_no_answer=False)
        response: dns.message.Message = answer.response
        authoritative &= bool(response.flags & dns.flags.AA)
        server = f"{answer.nameserver}"
        for records in response.answer:
            lines |= dict.fromkeys(records.to_text().splitlines(), int(records.ttl))
        addresses += [record.to_text() for record in answer.rrset or ()]
    ttl = max(lines.values(), default=0)
    return Answer(name, tuple(lines), tuple(addresses), ttl, authoritative=authoritative, server=server)
