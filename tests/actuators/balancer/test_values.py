"""What can be told without a balancer: steps, the inventory, HAProxy's texts, and AWS's actions."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from actuators.balancer import AlbWeights, HaproxyWeights
from actuators.balancer.alb_values import Forward, read_forward, read_health, shifted
from actuators.balancer.haproxy_config import loads_state, state_file_of
from actuators.balancer.haproxy_values import AnswerError, complaint, read_backend, read_weights, saved
from bot.domain.arns import parse_arn
from bot.domain.inventory import Inventory
from tests.support.plans import MODERATE

PLACE = "arn:aws:elasticloadbalancing:eu-west-1:123456789012"
LISTENER = f"{PLACE}:listener/app/pay/ddf13e11258110a8/f6fb167101eb763b"
RULE = f"{PLACE}:listener-rule/app/pay/ddf13e11258110a8/f6fb167101eb763b/a7108a4009aae1dc"
BLUE, GREEN = f"{PLACE}:targetgroup/blue/372d8788c57c2218", f"{PLACE}:targetgroup/green/f36463ce3d80c19e"
HAPROXY = {"service": "payments", "flavour": "haproxy"}
ALB = {"service": "payments", "flavour": "alb", "listener_arn": LISTENER}
HOSTS = {"hosts": [{"name": "lb01"}], "ssh": {"user": "u", "key": {"env": "K"}, "known_hosts": "/k"}}


def with_balancer(target: dict[str, Any], **more: Any) -> Inventory:
    """Return an inventory with one load balancer."""
    return Inventory.model_validate({"load_balancers": {"lb": target}, **more})


@pytest.mark.parametrize(
    ("target", "words"),
    [
        (HAPROXY, "haproxy needs `socket`"),
        ({**HAPROXY, "socket": "lb01"}, "neither a path nor host:port"),
        ({**HAPROXY, "socket": "lb01:70000"}, "neither a path nor host:port"),
        ({**HAPROXY, "socket": ["/a.sock", "/b.sock"]}, "several balancers on one machine"),
        ({**HAPROXY, "socket": "/a.sock", "hosts": [{"name": "lb01"}]}, "`hosts` and `ssh` go together"),
        ({**HAPROXY, "socket": "lb01:9999", **HOSTS}, "through ssh `socket` is one path"),
        ({**HAPROXY, "socket": "lb01:9999", "state_file": "/s"}, "not by TCP"),
        ({**HAPROXY, "socket": "lb01:9999", "config": "/c"}, "not by TCP"),
        ({**HAPROXY, "socket": "/a.sock", "listener_arn": LISTENER}, "belong to the flavour alb"),
        ({**HAPROXY, "socket": "/a.sock", "backends": {"a;b": ["c"]}}, "pattern"),
        ({**HAPROXY, "socket": "/a.sock", "downstream": "edge"}, "names the downstream edge"),
        ({"service": "payments", "flavour": "alb"}, "alb needs `listener_arn`"),
        ({**ALB, "socket": "/a.sock"}, "belong to the flavour haproxy"),
        ({**ALB, "listener_arn": GREEN}, "is no ARN of a listener"),
        ({**ALB, "listener_arn": LISTENER.replace("/app/", "/net/")}, "is no ARN of a listener"),
        ({**ALB, "region": "eu-west-2"}, "the listener is in eu-west-1"),
        ({**ALB, "target_groups": {"green": GREEN[:-20]}}, "is no ARN of a targetgroup"),
        (
            {**ALB, "target_groups": {"green": GREEN.replace("eu-west-1", "us-east-1")}},
            "green lies in aws us-east-1",
        ),
        ({**ALB, "rules": {"api": RULE.replace("f6fb", "0000")}}, "api is a rule of another listener"),
        ({**ALB, "endpoint_url": "http://key:secret@aws"}, "pattern"),
    ],
)
def test_balancers_that_cannot_be_reached_are_refused(target: dict[str, Any], words: str) -> None:
    """An entry that names no way, two ways, or what does not belong together says so when it is read."""
    with pytest.raises(ValidationError) as caught:
        with_balancer(target)
    assert words in str(caught.value)


def test_an_older_inventory_keeps_its_digest() -> None:
    """What was added later is no part of the canonical inventory while it is not used."""
    plain = with_balancer({**HAPROXY, "socket": "/run/haproxy/admin.sock"})
    fields = set(plain.model_dump(mode="json")["load_balancers"]["lb"])
    known = {"service", "zone", "touch", "kind", "flavour", "socket", "listener_arn", "region"}
    assert fields == known
    assert "downstreams" not in plain.model_dump(mode="json")
    assert (
        with_balancer({**HAPROXY, "socket": "/run/haproxy/admin.sock", "config": "/c"}).digest() != plain.digest()
    )


def test_what_lies_behind_a_balancer_comes_with_it() -> None:
    """The inventory of a plan's targets holds the downstream of its load balancers, so that remedies find it."""
    edge = {"service": "payments", "names": ["payments.example.org"]}
    lb = {**HAPROXY, "socket": ["lb01:9999", "[::1]:9999"], "downstream": "edge"}
    whole = with_balancer(lb, downstreams={"edge": edge, "other": edge})
    assert [name for name, _ in whole.only(["lb"]).items()] == ["lb", "edge"]
    assert Inventory.model_validate_json(whole.model_dump_json()).digest() == whole.digest()


@pytest.mark.parametrize("url", ["http://cdn.example.org/purge", "http://10.0.0.1/purge", "https//x"])
def test_a_token_is_not_sent_in_the_clear(url: str) -> None:
    """A purge with a token needs https, unless it stays on the machine."""
    purge = {"url": url, "token": {"env": "CDN_TOKEN"}}
    with pytest.raises(ValidationError):
        Inventory.model_validate({"downstreams": {"edge": {"service": "payments", "purge": purge}}})
    for good in ("https://cdn.example.org/purge", "http://127.0.0.1:8080/purge", "http://localhost/purge"):
        edge = {"service": "payments", "purge": {**purge, "url": good}}
        assert Inventory.model_validate({"downstreams": {"edge": edge}}).find("edge")


@pytest.mark.parametrize(
    ("weights", "words"),
    [
        ({}, "at least 1"),
        ({"green": 0, "blue": 0}, "nobody gets traffic"),
        ({"green": 257}, "less than or equal to 256"),
        ({"green": -1}, "greater than or equal to 0"),
        ({"green;shutdown sessions server x/y": 1}, "pattern"),
        ({"green\nshow env": 1}, "pattern"),
    ],
)
def test_weights_of_haproxy_are_checked(weights: dict[str, int], words: str) -> None:
    """Weights lie in 0..256, somebody gets traffic, and no name can carry a command of its own."""
    with pytest.raises(ValidationError) as caught:
        HaproxyWeights(id="switch", target="lb", backend="payments", weights=weights)
    assert words in str(caught.value)


@pytest.mark.parametrize(
    ("weights", "words"),
    [
        ({}, "at least 1"),
        ({"green": 0}, "nobody gets traffic"),
        ({"green": 1000}, "less than or equal to 999"),
        ({f"g{n}": 1 for n in range(6)}, "at most 5"),
        ({"Green": 1}, "neither a name"),
        ({"arn:aws:s3:::bucket": 1}, "is no ARN of a targetgroup"),
        ({LISTENER: 1}, "is no ARN of a targetgroup"),
    ],
)
def test_weights_of_target_groups_are_checked(weights: dict[str, int], words: str) -> None:
    """Weights lie in 0..999, at most five groups share the traffic, and a wrong ARN is refused as it is read."""
    with pytest.raises(ValidationError) as caught:
        AlbWeights(id="switch", target="lb", weights=weights)
    assert words in str(caught.value)


def test_arns_tell_name_and_place() -> None:
    """An ARN knows its region, account and the name that people gave."""
    arn = parse_arn(RULE, "listener-rule")
    assert (arn.name, arn.region, arn.account) == ("pay", "eu-west-1", "123456789012")
    assert parse_arn(BLUE, "targetgroup").name == "blue"


CONFIGURATION = """
global
  server-state-base /var/lib/haproxy   # of all
  server-state-file state
defaults base
  mode http
  load-server-state-from-file global
backend first
  server a 10.0.0.1:80
defaults
  mode http
backend second
  server a 10.0.0.1:80
listen third
  bind :80
  load-server-state-from-file local
backend fourth from base
  load-server-state-from-file none
backend fifth from base
frontend front
  load-server-state-from-file global
"""


@pytest.mark.parametrize(
    ("backend", "source"),
    [("first", "global"), ("second", "none"), ("third", "local"), ("fourth", "none"), ("fifth", "global"),
     ("sixth", None), ("front", None)],
)  # fmt: skip
def test_where_a_reload_takes_the_state_from(backend: str, source: str | None) -> None:
    """The directive counts in the backend itself, in the defaults that it names, or in the latest before it."""
    assert loads_state(CONFIGURATION, backend) == source


def test_path_of_the_state_file() -> None:
    """A relative state file lies in the base folder; an absolute one lies where it says."""
    assert state_file_of(CONFIGURATION) == "/var/lib/haproxy/state"
    assert state_file_of("global\n server-state-file '/var/state'\n server-state-base /x") == "/var/state"
    assert state_file_of("global\n maxconn 10") is None


STATE = """1
# be_id be_name srv_name srv_op_state srv_admin_state srv_uweight srv_iweight srv_check_state srv_agent_state
3 payments blue 2 0 100 100 6 0
3 payments green 2 0 0 0 6 4

"""
STAT = """# pxname,svname,scur,stot,status,weight,bck,rate,check_status,check_code,hrsp_5xx,last_chk,cookie,algo,
payments,blue,1,7,UP,100,0,2,L7OK,200,3,"OK, fine",b,,
payments,green,,,UP,,1,,* L7OK,200,,,,,
payments,BACKEND,,,UP,100,,,,,,,SIDE,roundrobin,

"""


def test_a_backend_is_read() -> None:
    """Both tables together tell how each server stands, whatever the order and number of the columns."""
    backend = read_backend("payments", STATE + STAT)
    assert (backend.algorithm, backend.cookie) == ("roundrobin", "SIDE")
    blue, green = backend.servers.values()
    assert (blue.weight, blue.sessions, blue.total, blue.failed) == (100, 1, 7, 3)
    assert blue.check == "L7OK 200 OK, fine"
    assert (green.agent, green.backup, green.effective, green.check) == (True, True, 0, "L7OK 200")
    assert complaint(STATE + STAT) == ""


@pytest.mark.parametrize(
    "text",
    [
        "",
        "Can't find backend.\n\n",
        STATE,
        STAT,
        STATE + STAT.replace("green", "grey"),
        STATE.replace("2 0", "x 0") + STAT,
    ],
)
def test_half_an_answer_is_none(text: str) -> None:
    """What is missing, does not fit together or has other columns is an error, never a guess."""
    with pytest.raises(AnswerError):
        read_backend("payments", text)


def test_weights_are_read_back() -> None:
    """Success is silent: anything that is said beside the weights is an error, and so is a missing one."""
    assert read_weights(["a", "b"], "\n\n5 (initial 5)\n\n0 (initial 100)\n\n") == {"a": 5, "b": 0}
    with pytest.raises(AnswerError, match="No such server"):
        read_weights(["a"], "No such server.\n\n5 (initial 5)\n\n")
    with pytest.raises(AnswerError, match="1 of 2 weights"):
        read_weights(["a", "b"], "5 (initial 5)\n\n")


def test_saved_state() -> None:
    """A state file counts when it holds the weights, and maintenance as it was ordered, of just these servers."""
    servers = read_backend("payments", STATE + STAT).servers.values()
    assert saved(STATE, "payments", servers)
    assert not saved(STATE.replace(" 100 100", " 99 100"), "payments", servers)
    assert not saved(STATE.replace("2 0 100", "0 1 100"), "payments", servers)
    assert not saved(STATE, "other", servers)
    assert not saved("", "payments", servers)


@MODERATE
@given(st.text())
def test_any_text_is_understood_or_refused(text: str) -> None:
    """No answer makes the reader fail in another way than by saying that it understands nothing."""
    for parse in (lambda: read_backend("payments", text), lambda: read_weights(["a"], text)):
        try:
            parse()
        except AnswerError:
            continue
    assert loads_state(text, "payments") is None or "load-server-state" in text or "payments" in text


@MODERATE
@given(
    weights=st.dictionaries(st.sampled_from([BLUE, GREEN, "x"]), st.integers(0, 999), min_size=1),
    by=st.integers(1, 9),
)
def test_traffic_is_told_by_the_parts(weights: dict[str, int], by: int) -> None:
    """Weights that lead the traffic to the same groups in the same parts are the same."""
    forward = Forward(weights)
    assert sum(forward.traffic().values()) == (1 if any(weights.values()) else 0)
    assert forward.same_traffic({**{group: weight * by for group, weight in weights.items()}, "unused": 0})
    assert Forward({BLUE: 1, GREEN: 3}).traffic()[GREEN] == Fraction(3, 4)


def test_actions_are_shifted_and_nothing_else() -> None:
    """Only the forward's groups change; a single group without weights is understood."""
    step = AlbWeights(id="switch", target="lb", weights={GREEN: 1})
    single = [{"Type": "forward", "TargetGroupArn": BLUE}]
    assert read_forward(single) == Forward({BLUE: 1})
    assert read_forward([{"Type": "fixed-response"}]) is None
    (sent,) = shifted(single, {GREEN: 1}, step)
    groups = [{"TargetGroupArn": GREEN, "Weight": 1}]
    config = {"TargetGroups": groups, "TargetGroupStickinessConfig": {"Enabled": False}}
    assert sent == {"Type": "forward", "ForwardConfig": config}


def test_health_in_words() -> None:
    """Targets are counted by state with AWS's reasons; nobody's targets are told apart from ill ones."""
    told = [{"TargetHealth": {"State": "unused", "Reason": "Target.NotInUse"}}]
    assert read_health(told).unwatched
    stopped = [{"TargetHealth": {"State": "unused", "Reason": "Target.InvalidState"}}]
    assert not read_health(stopped).unwatched
    assert read_health([*stopped, {"TargetHealth": {"State": "healthy"}}]).words() == (
        "1 unused, 1 healthy (Target.InvalidState)"
    )
    assert read_health([]).words() == "no targets"
