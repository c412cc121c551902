"""haproxy.weights against a real HAProxy with real clients."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from actuators.balancer import HaproxyWeights, haproxy_nodes
from actuators.balancer.haproxy import HaproxyWeightsActuator
from bot.domain.actuation import Check, Context, Fault, Presence, Remedy, Verdict
from bot.domain.errors import ActuatorError
from tests.support.actuation import Reports, fails, make_context, make_plan
from tests.support.haproxy import Haproxy, Side, balancer, real_haproxy

pytestmark = real_haproxy
ACTUATOR = HaproxyWeightsActuator()
GREEN = HaproxyWeights(id="switch", target="lb", backend="payments", weights={"green": 100, "blue": 0})
Pair = tuple[Side, Side]


def world(step: HaproxyWeights, target: dict[str, Any], *, reports: Reports | None = None) -> Context:
    """Return the context of a run of one step."""
    return make_context(make_plan(step), {"load_balancers": {"lb": target}}, reports=reports)


def told(checks: tuple[Check, ...], verdict: Verdict) -> str:
    """Return the words of the checks of a verdict."""
    return "\n".join(check.words for check in checks if check.verdict is verdict)


@asynccontextmanager
async def clients(haproxy: Haproxy) -> AsyncIterator[Counter[str]]:
    """Send requests without a pause while the block runs; yield who answered."""
    answered: Counter[str] = Counter()
    going = True

    async def send() -> None:
        while going:
            answered.update(await haproxy.requests(5))

    async with asyncio.TaskGroup() as group:
        for _ in range(3):
            group.create_task(send())
        yield answered
        going = False


async def test_traffic_goes_over_without_a_failed_request(haproxy: Haproxy) -> None:
    """Blue serves every client before the switch, green every one after it, and nobody sees an error meanwhile."""
    assert await haproxy.requests(20) == {"blue": 20}
    async with clients(haproxy) as answered:
        await haproxy.requests(10)
        await ACTUATOR.apply(GREEN, world(GREEN, haproxy.target()))
        await haproxy.requests(10)
    assert set(answered) == {"blue", "green"}
    assert await haproxy.requests(20) == {"green": 20}


async def test_switch_is_observed_and_repeated_without_harm(haproxy: Haproxy) -> None:
    """Absent before, present after; the outcome names what stood before, and a second run changes nothing."""
    reports = Reports()
    context = world(GREEN, haproxy.target(), reports=reports)
    before = await ACTUATOR.observe(GREEN, context)
    assert (before.presence, before.words) == (Presence.ABSENT, "lb: green 0, blue 100")
    outcome = await ACTUATOR.apply(GREEN, context)
    assert outcome.words == "green 100, blue 0 on lb; before: green 0, blue 100"
    assert outcome.facts["before"] == {"weights": {"green": 0, "blue": 100}, "ready": True}
    assert [progress.done for progress in reports.seen] == [0, 1]
    after = await ACTUATOR.observe(GREEN, context)
    assert (after.presence, after.words) == (Presence.PRESENT, "green 100, blue 0 on lb")
    again = await ACTUATOR.apply(GREEN, context)
    assert again.words == "green 100, blue 0 on lb"
    assert "before" not in again.facts


async def test_a_reload_keeps_the_switch(haproxy: Haproxy) -> None:
    """The state is saved where HAProxy takes it from, so a reload leaves the traffic where it is."""
    checks = await ACTUATOR.check(GREEN, world(GREEN, haproxy.target()))
    assert {check.verdict for check in checks} == {Verdict.OK}
    assert "a reload takes it from there" in told(checks, Verdict.OK)
    await ACTUATOR.apply(GREEN, world(GREEN, haproxy.target()))
    await haproxy.reload()
    assert await haproxy.requests(10) == {"green": 10}


@pytest.mark.parametrize("how", ["not loaded", "not saved"])
async def test_a_reload_that_would_bring_blue_back_is_told(tmp_path: Path, pair: Pair, how: str) -> None:
    """Without a state file, or where HAProxy does not load it, approvers are warned, and it does happen."""
    async with balancer(tmp_path, pair, load="none" if how == "not loaded" else "global") as haproxy:
        target = haproxy.target() if how == "not loaded" else haproxy.target(state_file=None)
        warned = told(await ACTUATOR.check(GREEN, world(GREEN, target)), Verdict.WARN)
        assert "old weights back" in warned
        await ACTUATOR.apply(GREEN, world(GREEN, target))
        await haproxy.reload()
        assert await haproxy.requests(10) == {"blue": 10}


async def test_a_switch_that_was_not_saved_is_not_there_yet(haproxy: Haproxy) -> None:
    """Weights that somebody set and nobody saved do not count: a reload would take them back."""
    context = world(GREEN, haproxy.target())
    await haproxy.ask("set weight payments/green 100;set weight payments/blue 0")
    seen = await ACTUATOR.observe(GREEN, context)
    assert seen.presence is Presence.ABSENT
    assert "not yet kept for a reload" in seen.words
    await ACTUATOR.apply(GREEN, context)
    assert (await ACTUATOR.observe(GREEN, context)).presence is Presence.PRESENT


async def test_a_state_file_that_cannot_be_written_is_told_before_and_after(haproxy: Haproxy) -> None:
    """The check fails where the state cannot be saved; forced all the same, the weights stand, and that is told."""
    (haproxy.folder / "file").write_text("")
    context = world(GREEN, haproxy.target(state_file=str(haproxy.folder / "file" / "state")))
    assert "the bot may not write" in fails(await ACTUATOR.check(GREEN, context))
    with pytest.raises(ActuatorError, match="cannot be saved") as caught:
        await ACTUATOR.apply(GREEN, context)
    assert "set and in force" in caught.value.untouched
    assert await haproxy.requests(5) == {"green": 5}


async def test_a_configuration_that_cannot_be_read(haproxy: Haproxy) -> None:
    """Whether a reload keeps the switch is not claimed where the configuration is not named or out of reach."""
    for config in (None, str(haproxy.folder / "none.cfg")):
        checks = await ACTUATOR.check(GREEN, world(GREEN, haproxy.target(config=config)))
        assert "whether a reload takes it from there is not known" in told(checks, Verdict.WARN)


async def test_an_ill_standby_gets_no_traffic(haproxy: Haproxy, pair: Pair) -> None:
    """An unhealthy green fails the check and stops the switch; blue keeps its weight."""
    pair[1].healthy = False
    await haproxy.until(lambda text: "L7STS" in text, "show stat payments 4 -1")
    context = world(GREEN, haproxy.target())
    assert "green is DOWN" in fails(await ACTUATOR.check(GREEN, context))
    with pytest.raises(ActuatorError, match=r"green is DOWN \(L7STS 503") as caught:
        await ACTUATOR.apply(GREEN, context)
    assert caught.value.untouched == "The weights are as they were: green 0, blue 100."
    assert await haproxy.requests(5) == {"blue": 5}


@pytest.mark.parametrize(("state", "words"), [("maint", "is in maintenance"), ("drain", "is told to drain")])
async def test_a_standby_that_is_held_back(haproxy: Haproxy, state: str, words: str) -> None:
    """A weight does nothing for a server in drain or maintenance: it is refused, and a remedy makes it ready."""
    await haproxy.ask(f"set server payments/green state {state}")
    context = world(GREEN, haproxy.target())
    assert f"green {words}" in fails(await ACTUATOR.check(GREEN, context))
    with pytest.raises(ActuatorError, match=f"green {words}"):
        await ACTUATOR.apply(GREEN, context)
    ready = await remedy("ready", GREEN, context)
    assert (ready.title, ready.settles) == ("Make green ready and switch", True)
    assert isinstance(ready.step, HaproxyWeights)
    await ACTUATOR.apply(ready.step, context)
    assert await haproxy.requests(5) == {"green": 5}
    assert (await ACTUATOR.observe(GREEN, context)).presence is Presence.PRESENT


async def test_a_standby_that_does_not_become_ready(
    haproxy: Haproxy, pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Taken out of maintenance and found ill, green gets no traffic and blue keeps it."""
    monkeypatch.setattr("actuators.balancer.haproxy_switch.READY_SECONDS", 0.3)
    pair[1].healthy = False
    await haproxy.ask("set server payments/green state maint")
    step = GREEN.model_copy(update={"ready": True})
    with pytest.raises(ActuatorError, match=r"green is DOWN .*after it was taken out of maintenance"):
        await ACTUATOR.apply(step, world(step, haproxy.target()))
    assert await haproxy.requests(5) == {"blue": 5}


async def remedy(name: str, step: HaproxyWeights, context: Context) -> Remedy:
    """Return a remedy by its id."""
    found = {remedy.id: remedy for remedy in await ACTUATOR.remedies(step, Fault("failed"), context)}
    return found[name]


async def test_runtime_api_over_tcp(haproxy: Haproxy) -> None:
    """The same over TCP, where no file of the balancer's machine can be reached."""
    target = {"service": "payments", "flavour": "haproxy", "socket": f"127.0.0.1:{haproxy.tcp}"}
    context = world(GREEN, target)
    assert "no state file is named" in told(await ACTUATOR.check(GREEN, context), Verdict.WARN)
    await ACTUATOR.apply(GREEN, context)
    assert (await ACTUATOR.observe(GREEN, context)).presence is Presence.PRESENT
    assert await haproxy.requests(5) == {"green": 5}


@pytest.mark.parametrize(
    ("step", "words"),
    [
        (GREEN.model_copy(update={"backend": "nothing"}), "the backend nothing cannot be read"),
        (GREEN.model_copy(update={"weights": {"red": 1, "blue": 0}}), "no server red; it has blue, green"),
    ],
)
async def test_wrong_names(haproxy: Haproxy, step: HaproxyWeights, words: str) -> None:
    """A backend or server that is not there fails the check and the step, and nothing is sent."""
    context = world(step, haproxy.target())
    assert words in fails(await ACTUATOR.check(step, context))
    with pytest.raises(ActuatorError, match="Nothing was changed"):
        await ACTUATOR.apply(step, context)
    assert await haproxy.weight("blue") == 100


async def test_the_inventory_bounds_what_steps_may_touch(haproxy: Haproxy) -> None:
    """With `backends` in the inventory no other server can be changed, by plan or remedy."""
    context = world(GREEN, haproxy.target(backends={"payments": ["green"]}))
    assert "does not let steps act on payments/blue" in fails(await ACTUATOR.check(GREEN, context))
    with pytest.raises(ActuatorError, match="payments/blue"):
        await ACTUATOR.apply(GREEN, context)
    assert await haproxy.weight("green") == 0


async def test_a_socket_of_a_lower_level(haproxy: Haproxy) -> None:
    """The socket's level is verified without changing anything; a refusal by HAProxy is told as one."""
    context = world(GREEN, haproxy.target(socket=str(haproxy.folder / "user.sock")))
    assert "has the level user" in fails(await ACTUATOR.check(GREEN, context))
    with pytest.raises(ActuatorError, match="does not permit that"):
        await ACTUATOR.apply(GREEN, context)


async def test_a_static_algorithm_takes_only_its_own_weights(tmp_path: Path, pair: Pair) -> None:
    """What the algorithm will refuse is found by the check; forced all the same, its refusal is an error."""
    async with balancer(tmp_path, pair, balance="static-rr", weights={"blue": 10, "green": 10}) as haproxy:
        context = world(GREEN, haproxy.target())
        assert "static-rr takes only 0 and the configured weight" in fails(await ACTUATOR.check(GREEN, context))
        with pytest.raises(ActuatorError, match="HAProxy refused: Backend is using a static"):
            await ACTUATOR.apply(GREEN, context)
        step = GREEN.model_copy(update={"weights": {"green": 10, "blue": 0}})
        await ACTUATOR.apply(step, context)
        assert await haproxy.requests(5) == {"green": 5}


async def test_what_keeps_weights_from_their_effect_is_told(tmp_path: Path, pair: Pair) -> None:
    """Servers that keep their traffic and cookies that hold clients are warnings for the approver."""
    persistence = "cookie SIDE insert\n  server canary 127.0.0.1:9 weight 5 disabled"
    async with balancer(tmp_path, pair, persistence=persistence) as haproxy:
        warned = told(await ACTUATOR.check(GREEN, world(GREEN, haproxy.target())), Verdict.WARN)
        assert "does not name canary 5" in warned
        assert "stick to their server by the cookie SIDE" in warned


async def test_a_pair_of_balancers_is_switched_together(tmp_path: Path, pair: Pair) -> None:
    """Two balancers by TCP are both switched; with one of them gone the other is, and the rest is for a person."""
    (tmp_path / "one").mkdir()
    (tmp_path / "two").mkdir()
    async with balancer(tmp_path / "one", pair) as one, balancer(tmp_path / "two", pair) as two:
        sockets = [f"127.0.0.1:{one.tcp}", f"127.0.0.1:{two.tcp}"]
        context = world(GREEN, {"service": "payments", "flavour": "haproxy", "socket": sockets})
        outcome = await ACTUATOR.apply(GREEN, context)
        assert outcome.words.startswith("green 100, blue 0 on 2 of 2 balancers of lb")
        await one.ask("set weight payments/green 0;set weight payments/blue 100")
        mixed = await ACTUATOR.observe(GREEN, context)
        assert mixed.presence is Presence.ABSENT
        assert mixed.words == f"green 100, blue 0 on 1 of 2 balancers of lb; {sockets[0]}: green 0, blue 100"
        two.stop()
        with pytest.raises(ActuatorError, match="1 of 2 balancers of lb failed") as caught:
            await ACTUATOR.apply(GREEN, context)
        assert caught.value.transient
        assert f"Of the others: {sockets[0]} switched" in caught.value.untouched
        assert await one.requests(5) == {"green": 5}
        assert (await ACTUATOR.observe(GREEN, context)).presence is Presence.UNKNOWN
        assert "cannot be reached" in fails(await ACTUATOR.check(GREEN, context))


async def test_no_balancer_at_all(tmp_path: Path) -> None:
    """A socket that is not there is a failed check, an unknown outcome and a passing error."""
    target = {"service": "payments", "flavour": "haproxy", "socket": str(tmp_path / "none.sock")}
    context = world(GREEN, target)
    assert "No such file or directory" in fails(await ACTUATOR.check(GREEN, context))
    assert (await ACTUATOR.observe(GREEN, context)).presence is Presence.UNKNOWN
    with pytest.raises(ActuatorError, match="cannot be reached") as caught:
        await ACTUATOR.apply(GREEN, context)
    assert caught.value.transient
    assert [remedy.id for remedy in await ACTUATOR.remedies(GREEN, Fault("failed"), context)] == ["show-stat"]


async def test_a_balancer_that_says_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An answer that does not come to its end is given up in time."""
    monkeypatch.setattr(haproxy_nodes, "ANSWER_SECONDS", 0.1)
    over = asyncio.Event()

    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readline()
        await over.wait()
        writer.close()

    server = await asyncio.start_unix_server(silent, str(tmp_path / "silent.sock"))
    target = {"service": "payments", "flavour": "haproxy", "socket": str(tmp_path / "silent.sock")}
    seen = await ACTUATOR.observe(GREEN, world(GREEN, target))
    assert seen.presence is Presence.UNKNOWN
    assert "did not answer within 0.1 seconds" in seen.words
    over.set()
    server.close()
    await server.wait_closed()


async def test_a_target_of_another_kind() -> None:
    """A step on a listener of AWS, or on nothing, is a failed check and an error before anybody is contacted."""
    arn = "arn:aws:elasticloadbalancing:eu-west-1:123456789012:listener/app/pay/0123456789abcdef/0123456789abcdef"
    context = world(GREEN, {"service": "payments", "flavour": "alb", "listener_arn": arn})
    assert "lb is of the flavour alb, not haproxy" in fails(await ACTUATOR.check(GREEN, context))
    nowhere = make_context(make_plan(GREEN), {})
    assert "lb is not in the inventory" in fails(await ACTUATOR.check(GREEN, nowhere))
    with pytest.raises(ActuatorError, match="Nothing was contacted"):
        await ACTUATOR.apply(GREEN, nowhere)
