"""Who must hear of something about a rollback, and what authority it needs."""

from __future__ import annotations

from bot.domain import events
from bot.domain.authority import Ask, Policy, Role, approving_roles, may_do
from bot.domain.manual import ManualStep
from bot.domain.run import Run


def ask_of(run: Run) -> Ask:
    """Return what authority the run needs."""
    checked: events.Checked | None = run.last(events.Checked)
    reserved = [{Role(role) for role in target.touch} for _, target in run.inventory.items() if target.touch]
    return Ask(
        service=run.plan.service,
        requester=run.requester,
        touch=tuple(sorted(set.intersection(*reserved))) if reserved else None,
        **({"reading": checked.reading} if checked else {}),
    )


def to_ask(run: Run, policy: Policy, event: events.AuthorityAsked) -> list[str]:
    """Return who may authorise the rollback, as asked for; never the requester."""
    roles, _ = approving_roles(policy, ask_of(run), now=event.at)
    holders = policy.holders(roles, service=run.plan.service)
    return [person.id for person in holders if person.id != run.requester]


def to_confirm(run: Run, policy: Policy) -> list[str]:
    """Return who may confirm a loss: the operators, but whoever authorised the rollback."""
    authorised: events.Authorised | None = run.last(events.Authorised)
    holders = policy.holders(policy.operators, service=run.plan.service)
    return [person.id for person in holders if authorised is None or person.id != authorised.who]


def to_do(run: Run, policy: Policy, event: events.ManualAsked) -> list[str]:
    """Return who must hear that a step waits for them: the lead, and whoever holds a role that the step names."""
    step = run.plan.step(event.step)
    roles = step.roles if isinstance(step, ManualStep) else ()
    named = [p.id for p in policy.people if roles and may_do(policy, ask_of(run), p.id, roles=roles).granted]
    return list(dict.fromkeys((*lead(run), *named)))


def escalation(run: Run) -> list[str]:
    """Return the plan's escalation path, each person once."""
    return list(dict.fromkeys(contact.user for contact in run.plan.communication.escalation))


def responsible(run: Run) -> list[str]:
    """Return the lead and the escalation path: who must hear that a rollback does not go on by itself."""
    return list(dict.fromkeys((*lead(run), *escalation(run))))


def lead(run: Run) -> list[str]:
    """Return who leads; nobody, as long as the policy does."""
    return [run.lead] if run.lead[:1] in ("U", "W") else []
