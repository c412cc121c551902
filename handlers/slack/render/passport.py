"""What an approver must know before the click: rows of the card until the rollback begins."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Final

from bot.domain import events
from bot.domain.actuation import Verdict
from bot.domain.announcements import ask_of
from bot.domain.authority import Policy, approving_roles
from bot.domain.criteria import milliseconds, percent
from bot.domain.run import Run
from bot.domain.times import in_words, utc_minute
from handlers.slack.render import standing
from handlers.slack.render.message import Block
from handlers.slack.render.rich import Line, clip, paragraph, row, text, user, words

_DIGEST: Final = 12
_BACKUPS: Final = 6


def change(run: Run) -> Line:
    """Return which change it is."""
    return row("Change", run.plan.title_line())


def reverted(run: Run) -> Line:
    """Return what goes back, and where."""
    versions = run.plan.versions
    moved = f"{clip(versions.deployed, 80)} → {clip(versions.restored, 80)}"
    return row("Reverted", f"{run.plan.service} {moved}, on {_several(run.plan.targets(), 12)}")


def requested(run: Run) -> Line:
    """Return who asked, when and why."""
    event: events.Requested | None = run.last(events.Requested)
    if event is None:
        return row("Requested by", [user(run.requester)])
    said = [user(run.requester), text(f" at {utc_minute(event.at)}")]
    if run.trigger != event.why:
        said += [text(": "), *words(event.why, most=400)]
    return row("Requested by", said)


def trigger(run: Run) -> Line:
    """Return the reason in one line."""
    return row("Trigger", run.trigger, most=400)


def window(run: Run) -> Line:
    """Return the window and the expected duration, and whether the one is too short for the other."""
    expected = run.plan.expected()
    late = " ⚠️ longer than the window" if expected > run.plan.window else ""
    return row("Window", f"{in_words(run.plan.window)}; expected duration {in_words(expected)}{late}")


def point_of_no_return(run: Run) -> Line:
    """Return the moment after which data is lost, and how far off it was when the rollback was requested."""
    point = run.plan.point_of_no_return
    moment = run.plan.deployed_at + point.after
    asked = run.history[0].at if run.history else moment
    left = moment - asked
    when = (
        f"{standing.span(left)} left at the request"
        if left > timedelta()
        else f"⚠️ passed {standing.span(-left)} before the request"
    )
    return row("Point of no return", f"{utc_minute(moment)}, {when}; {clip(point.reason, 300)}")


def metrics(run: Run, policy: Policy) -> list[Line]:
    """Return the metrics as they were checked, against thresholds and baseline, and what the criteria advise."""
    checked: events.Checked | None = run.last(events.Checked)
    if checked is None:
        return []
    reading, limits, baseline = checked.reading, policy.thresholds, run.plan.baseline
    rate = "unknown" if reading.error_rate is None else percent(reading.error_rate)
    speed = "unknown" if reading.p95 is None else milliseconds(reading.p95)
    usual = milliseconds(baseline.p95)
    parts = [
        f"error rate {rate} (threshold {percent(limits.error_rate)}, baseline {percent(baseline.error_rate)})",
        f"response time {speed} p95 (threshold {milliseconds(limits.slowdown * baseline.p95)}, baseline {usual})",
    ]
    if reading.availability is not None:
        parts.append(f"availability {percent(reading.availability)} (threshold {percent(limits.availability)})")
    return [row("Metrics", "; ".join(parts)), row("Criteria", checked.decision.advice.value)]


def backups(run: Run) -> Line:
    """Return the backups and how old they were at the deployment."""
    shown = [
        f"{backup.id} ({backup.kind.value}, {utc_minute(backup.taken_at)}, {_before(backup.taken_at, run)})"
        for backup in run.plan.backups[:_BACKUPS]
    ]
    more = len(run.plan.backups) - _BACKUPS
    return row("Backups", "; ".join([*shown, *([f"and {more} more"] if more > 0 else [])]), most=900)


def digests(run: Run) -> Line:
    """Return the beginnings of the digests that an approval binds to."""
    checked: events.Checked | None = run.last(events.Checked)
    bound = [("plan", run.plan.digest()), ("targets", run.inventory.digest())]
    bound += [(f"what {f.step} does", f.seal) for f in (checked.findings if checked else ()) if f.seal]
    said = [
        [text(f"{', ' if n else ''}{name} "), text(seal[:_DIGEST], code=True)]
        for n, (name, seal) in enumerate(bound)
    ]
    return row("Approval binds to", [part for parts in said for part in parts])


def authority(run: Run, policy: Policy) -> list[Line]:
    """Return who may approve now and why, and until when."""
    asked: events.AuthorityAsked | None = run.last(events.AuthorityAsked)
    if asked is None:
        return []
    roles, why = approving_roles(policy, ask_of(run), now=asked.at)
    holders = [person for person in policy.holders(roles, service=run.plan.service) if person.id != run.requester]
    named = _several(tuple(f"{person.name} ({_roles(person.roles, roles)})" for person in holders), 6) or "nobody"
    return [row("May approve", f"{named}; {why}"), row("Expires", utc_minute(asked.expires_at))]


def checks(run: Run) -> Block | None:
    """Return what was found, the blocking first; what is fine is only named."""
    checked: events.Checked | None = run.last(events.Checked)
    if checked is None:
        return None
    by = {verdict: [f for f in checked.findings if f.verdict is verdict] for verdict in Verdict}
    counts = (
        (Verdict.FAIL, "blocking"),
        (Verdict.WARN, "to be weighed"),
        (Verdict.OK, "fine"),
    )
    said = ", ".join(f"{len(by[verdict])} {name}" for verdict, name in counts if by[verdict]) or "none were made"
    lines = [row("Checks", said)]
    for verdict, sign, most in ((Verdict.FAIL, "❌", 6), (Verdict.WARN, "⚠️", 5)):
        for finding in by[verdict][:most]:
            told = " ".join(part for part in (finding.words, finding.resolution) if part)
            lines.append(
                [text(f"{sign} "), text(clip(finding.subject, 80), bold=True), text(f": {clip(told, 280)}")]
            )
        if len(by[verdict]) > most:
            lines.append([text(f"{sign} … and {len(by[verdict]) - most} more, see the thread")])
    if by[Verdict.OK]:
        lines.append([text(f"✅ {_several(tuple(clip(f.subject, 60) for f in by[Verdict.OK]), 10)}")])
    return paragraph(lines)


def _before(moment: datetime, run: Run) -> str:
    age = run.plan.deployed_at - moment
    return f"{standing.span(age)} before the deployment" if age >= timedelta() else "⚠️ taken after the deployment"


def _several(names: tuple[str, ...], most: int) -> str:
    more = len(names) - most
    return ", ".join(names[:most]) + (f" and {more} more" if more > 0 else "")


def _roles(held: tuple[object, ...], wanted: tuple[object, ...]) -> str:
    return ", ".join(role.words() for role in wanted if role in held)  # type: ignore[attr-defined]
