"""network.rollback against a Juniper router that goes back by itself."""

from __future__ import annotations

import hashlib
from typing import Any

import pytest

from actuators.network import NetworkRollback
from actuators.network.guarded import GuardedActuator
from actuators.network.junos import Junos
from bot.domain.actuation import Presence, Verdict
from bot.domain.errors import ActuatorError
from tests.actuators.network.conftest import Site, told
from tests.actuators.network.juniper import Commit, Juniper
from tests.actuators.network.worlds import J_FAILED, J_GOOD, PINNED, ROLLBACK
from tests.support.actuation import fails

ACTUATOR = GuardedActuator(Junos())
CONFIRMED = 'commit confirmed 5 comment "rb-0004 rollback"'


def hows(router: Juniper) -> list[str]:
    """Return how the latest commits were made."""
    return [commit.how for commit in router.commits[:2]]


async def test_a_commit_comes_back_confirmed(junos: Site[Juniper]) -> None:
    """Found by its time, committed under the timer, looked at from a fresh login, and committed for good."""
    context = junos.context(ROLLBACK)
    before = await ACTUATOR.observe(ROLLBACK, context)
    assert (before.presence, "in 4 lines" in before.words) == (Presence.ABSENT, True)
    outcome = await ACTUATOR.apply(ROLLBACK, context)
    assert "gateway.internal answered 5 of 5 pings; route to 10.0.0.0/8" in outcome.words
    assert "commit complete" in outcome.output
    assert junos.router.config() == J_GOOD
    assert hows(junos.router) == [
        "by rollback via cli",
        "by rollback via cli commit confirmed, rollback in 5mins",
    ]
    asked = [word for word in junos.router.asked if word.startswith(("configure", "roll", "commit", "ping"))]
    assert asked == [
        *("configure exclusive", "rollback 2", CONFIRMED),
        *("ping gateway.internal count 5 rapid", "configure exclusive"),
        'commit comment "rb-0004 rollback confirmed"',
    ]
    junos.later(600)
    assert (await ACTUATOR.observe(ROLLBACK, context)).presence is Presence.PRESENT


async def test_running_it_twice_never_goes_forward_again(junos: Site[Juniper]) -> None:
    """Numbers move with each commit, the pinned time does not: the second run finds it and leaves it."""
    await ACTUATOR.apply(ROLLBACK, junos.context(ROLLBACK))
    state = junos.router.state()
    again = await ACTUATOR.apply(ROLLBACK, junos.context(ROLLBACK))
    assert again.words == "edge has the wanted configuration already"
    assert junos.router.state() == state
    assert junos.router.commits[4].when == PINNED


async def test_the_check_shows_the_change_without_secrets(junos: Site[Juniper]) -> None:
    """The approver sees what comes (+) and goes (-), which number the commit has now, and no password."""
    state = junos.router.state()
    checks = await ACTUATOR.check(ROLLBACK, junos.context(ROLLBACK))
    assert not fails(checks)
    words = told(checks, Verdict.OK)
    assert f"the commit of {PINNED} is `rollback 2` now" in words
    (change,) = [check for check in checks if check.seal]
    assert change.words == "2 lines come, 2 go"
    assert "+route 10.0.0.0/8 next-hop 10.1.1.1;" in change.detail
    assert "-route 10.0.0.0/8 next-hop 10.1.1.9;" in change.detail
    assert "encrypted-password ***" in change.detail
    assert "$6$" not in change.detail
    assert junos.router.state() == state


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"rights": ("view",)}, "lacking: configure, network, rollback, view-configuration"),
        ({"commits": [Commit("2024-01-15 15:20:11 UTC", "by deploy via netconf", J_FAILED)]}, "0 of its 1 commits"),
        ({"commits": [Commit(PINNED, "by alice via cli", J_GOOD)] * 2}, "2 of its 2 commits are of"),
        ({"instead": {"show system commit": "error: permission denied"}}, "does not list its commits: error: perm"),
        ({"instead": {"show configuration | compare rollback 2": "error: no"}}, "cannot be compared: error: no"),
    ],
)
async def test_what_would_go_wrong_is_found_beforehand(
    junos: Site[Juniper], change: dict[str, Any], words: str
) -> None:
    """Permissions, a commit that is gone, one that is not the only of its time, and what cannot be read."""
    for name, value in change.items():
        setattr(junos.router, name, value)
    assert words in fails(await ACTUATOR.check(ROLLBACK, junos.context(ROLLBACK)))


async def test_a_commit_about_to_be_forgotten_is_refused(junos: Site[Juniper]) -> None:
    """The two commits of the rollback itself must not push the wanted one out of the device's memory."""
    between = [
        Commit(f"2024-01-15 15:30:{n:02} UTC", "by deploy via netconf", f"{J_FAILED}#{n}\n") for n in range(46)
    ]
    junos.router.commits[1:1] = between
    found = fails(await ACTUATOR.check(ROLLBACK, junos.context(ROLLBACK)))
    assert "is rollback 48 and about to be forgotten" in found


async def test_a_locked_configuration_is_left_alone(junos: Site[Juniper]) -> None:
    """Whoever edits is named, and nothing is changed."""
    junos.router.locked_by = "alice"
    with pytest.raises(ActuatorError, match="being edited by somebody else") as caught:
        await ACTUATOR.apply(ROLLBACK, junos.context(ROLLBACK))
    assert "alice terminal pts/0" in caught.value.output
    assert junos.router.config() == J_FAILED


async def test_a_commit_that_the_device_refuses_is_an_error(junos: Site[Juniper]) -> None:
    """Only `commit complete` counts: what the device printed instead is told, and nothing is in force."""
    junos.router.commits[2].config = f"{J_GOOD}interfaces ge-9/0/0;\n"
    with pytest.raises(ActuatorError, match=r"no `commit complete`.*error: configuration check-out failed"):
        await ACTUATOR.apply(ROLLBACK, junos.context(ROLLBACK))
    assert junos.router.config() == J_FAILED
    assert (await ACTUATOR.observe(ROLLBACK, junos.context(ROLLBACK))).presence is Presence.ABSENT


async def test_a_configuration_that_is_not_loaded_is_not_committed(junos: Site[Juniper]) -> None:
    """Without `load complete` there is no commit."""
    junos.router.instead["rollback 2"] = "error: could not open configuration file"
    with pytest.raises(ActuatorError, match="was not loaded: error: could not open"):
        await ACTUATOR.apply(ROLLBACK, junos.context(ROLLBACK))
    assert CONFIRMED not in junos.router.asked


@pytest.mark.parametrize("command", ["commit confirmed", "commit comment"])
@pytest.mark.parametrize("carried_out", [True, False])
async def test_a_connection_cut_on_commit_is_taken_up_again(
    junos: Site[Juniper], command: str, *, carried_out: bool
) -> None:
    """A fresh login tells whether the commit was made; one that was is not made again."""
    junos.router.cut = {command: carried_out}
    context = junos.context(ROLLBACK)
    if command == "commit confirmed" and not carried_out:
        with pytest.raises(ActuatorError, match="does not have the wanted configuration"):
            await ACTUATOR.apply(ROLLBACK, context)
    await ACTUATOR.apply(ROLLBACK, context)
    assert (await ACTUATOR.observe(ROLLBACK, context)).presence is Presence.PRESENT
    assert [commit.config for commit in junos.router.commits].count(J_GOOD) == 3


async def test_what_is_not_reached_takes_itself_back(junos: Site[Juniper]) -> None:
    """Unconfirmed it is unknown, in words; after the timer the old configuration is there, and it is absent."""
    junos.router.commits[2].config = J_GOOD.replace("next-hop 10.1.1.1", "next-hop 10.1.1.7; shutdown")
    with pytest.raises(ActuatorError, match=r"gateway\.internal answered 0 of 5 pings"):
        await ACTUATOR.apply(ROLLBACK, junos.context(ROLLBACK))
    seen = await ACTUATOR.observe(ROLLBACK, junos.context(ROLLBACK))
    assert seen.presence is Presence.UNKNOWN
    assert "(timer: 5mins); unconfirmed, the device takes it back by itself" in seen.words
    junos.later(300)
    assert (await ACTUATOR.observe(ROLLBACK, junos.context(ROLLBACK))).presence is Presence.ABSENT
    assert junos.router.config() == J_FAILED


async def test_an_unconfirmed_commit_is_not_there(junos: Site[Juniper]) -> None:
    """`commit` must be answered by `commit complete` too."""
    junos.router.instead['commit comment "rb-0004 rollback confirmed"'] = "error: commit failed: disk full"
    with pytest.raises(ActuatorError, match="the change is not confirmed: error: commit failed: disk full"):
        await ACTUATOR.apply(ROLLBACK, junos.context(ROLLBACK))
    assert (await ACTUATOR.observe(ROLLBACK, junos.context(ROLLBACK))).presence is Presence.UNKNOWN


async def test_the_rescue_configuration_comes_back_if_it_is_the_pinned_one(junos: Site[Juniper]) -> None:
    """It has no time, so its content is pinned; another one, or none, is refused."""
    step = NetworkRollback(id="rescue", target="edge", rescue=hashlib.sha256(J_GOOD.encode()).hexdigest())
    assert "its rescue configuration cannot be read" in fails(await ACTUATOR.check(step, junos.context(step)))
    junos.router.rescue = "route 0.0.0.0/0 next-hop 10.9.9.9;\n"
    assert "another one" in fails(await ACTUATOR.check(step, junos.context(step)))
    junos.router.rescue = J_GOOD
    assert "the rescue configuration is `rollback rescue` now" in told(
        await ACTUATOR.check(step, junos.context(step)), Verdict.OK
    )
    await ACTUATOR.apply(step, junos.context(step))
    assert junos.router.config() == J_GOOD
    assert (await ACTUATOR.observe(step, junos.context(step))).presence is Presence.PRESENT


async def test_the_latest_commit_is_there_already(junos: Site[Juniper]) -> None:
    """A pinned commit that is in force needs nothing."""
    step = NetworkRollback(id="rollback", target="edge", committed=junos.router.commits[0].when)
    assert (await ACTUATOR.observe(step, junos.context(step))).presence is Presence.PRESENT
    assert "none: the wanted configuration is in force" in told(
        await ACTUATOR.check(step, junos.context(step)), Verdict.OK
    )


@pytest.mark.parametrize("fields", [{}, {"committed": PINNED, "rescue": "0" * 64}, {"committed": "1"}])
def test_a_step_without_exactly_one_pin_is_refused(fields: dict[str, str]) -> None:
    """A bare number is no pin: each commit moves it."""
    with pytest.raises(ValueError, match="committed"):
        NetworkRollback.model_validate({"id": "rollback", "target": "edge", **fields})
