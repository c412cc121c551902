"""Named targets and how to reach them."""

from typing import Any, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from bot.domain.authority import Role
from bot.domain.inventory import Endpoint, Inventory, PrometheusQueries, ReservedFor, SecretRef, TargetBase
from tests.support import plans
from tests.support.plans import MODERATE

INVENTORY = plans.inventory()
NAMES = [name for name, _ in INVENTORY.items()]


@pytest.mark.parametrize("place", [{"env": "PGPASSWORD"}, {"file": "/run/secrets/pg"}])
def test_secret_place(place: dict[str, str]) -> None:
    """A secret is named by its place, an environment variable or a file."""
    assert SecretRef.model_validate(place).model_dump(exclude_none=True) == place


@pytest.mark.parametrize("place", [{}, {"env": "A", "file": "/a"}])
def test_secret_one_place(place: dict[str, str]) -> None:
    """A secret has exactly one place."""
    with pytest.raises(ValidationError, match="name exactly one place of the secret: env or file"):
        SecretRef.model_validate(place)


def test_no_secret_itself() -> None:
    """A secret written into the inventory itself is refused."""
    with pytest.raises(ValidationError):
        SecretRef.model_validate({"value": "hunter2"})


def test_no_credentials_in_addresses() -> None:
    """An address with a password in it is refused."""
    with pytest.raises(ValidationError, match="url"):
        Endpoint(service="payments", url="http://user:hunter2@127.0.0.1")


def test_reserved_for_roles() -> None:
    """Targets can be reserved for every role there is, and for no other word."""
    assert set(get_args(ReservedFor)) == {role.value for role in Role}
    with pytest.raises(ValidationError, match="touch"):
        TargetBase.model_validate({"service": "payments", "touch": ["dba"]})


def test_one_name_once() -> None:
    """A name stands once, whatever the section, because plans name targets and nothing else."""
    found = INVENTORY.model_dump()
    found["endpoints"] = {"payments-db": found["endpoints"]["payments-api"]}
    with pytest.raises(ValidationError, match="target names must be unique across sections: payments-db"):
        Inventory.model_validate(found)


def test_find() -> None:
    """A target is found by its name, in whichever section it stands."""
    assert [INVENTORY.find(name) for name in NAMES] == [target for _, target in INVENTORY.items()]
    assert INVENTORY.find("payments") is None


def _all_sections() -> Inventory:
    more: dict[str, Any] = {
        "clusters": {"prod": {"service": "payments"}},
        "load_balancers": {"edge": {"service": "payments", "flavour": "haproxy", "socket": "/run/haproxy.sock"}},
    }
    return Inventory.model_validate({**INVENTORY.model_dump(), **more})


@MODERATE
@given(wanted=st.sets(st.sampled_from([*NAMES, "prod", "edge", "unknown"])))
def test_only(wanted: set[str]) -> None:
    """The inventory of some targets holds just these, unchanged, from every section."""
    everything = _all_sections()
    part = everything.only(wanted)
    assert {name for name, _ in part.items()} == wanted - {"unknown"}
    assert all(part.find(name) == everything.find(name) for name in wanted)


def test_digest_is_stable() -> None:
    """The digest does not depend on the order in which targets or their fields are written."""
    turned = {
        section: {name: dict(reversed(target.items())) for name, target in reversed(targets.items())}
        for section, targets in reversed(INVENTORY.model_dump(mode="json").items())
    }
    assert Inventory.model_validate(turned).digest() == INVENTORY.digest()
    assert Inventory.model_validate_json(INVENTORY.model_dump_json()).digest() == INVENTORY.digest()


def test_digest_sees_changes() -> None:
    """Another address, another reservation or a missing target is another digest."""
    digests = {
        INVENTORY.digest(),
        INVENTORY.only(NAMES[1:]).digest(),
        plans.inventory(payments_db=("change_manager",)).digest(),
        INVENTORY.model_copy(update={"endpoints": {}}).digest(),
        _all_sections().digest(),
    }
    assert len(digests) == 5


def test_digest_of_the_targets() -> None:
    """A change to a target that the plan does not name leaves the digest that an approval binds to as it is."""
    part = plans.plan().all_targets()
    assert _all_sections().only(part).digest() == INVENTORY.only(part).digest()


def test_metrics_of_two_kinds() -> None:
    """A source of metrics says by its kind how it is asked."""
    found = Inventory.model_validate(
        {
            "metrics": {
                "prom": {
                    "kind": "prometheus",
                    "service": "payments",
                    "url": "http://127.0.0.1:9090",
                    "error_rate": "sum(rate(failed[5m]))",
                    "p95": "p95",
                }
            }
        }
    )
    assert isinstance(found.find("prom"), PrometheusQueries)


@pytest.mark.parametrize(
    ("section", "target"),
    [
        ("databases", {"service": "payments", "host": "h", "dbname": "a;drop", "user": "u", "backups": "/b"}),
        ("server_groups", {"service": "payments", "hosts": [], "manager": {}, "releases": "/r", "current": "/c"}),
        ("endpoints", {"service": "payments", "url": "ftp://h"}),
        ("endpoints", {"service": "payments", "url": "http://h", "colour": "blue"}),
    ],
)
def test_wrong_target(section: str, target: dict[str, Any]) -> None:
    """A target that says too little, too much or something unusable is refused."""
    with pytest.raises(ValidationError):
        Inventory.model_validate({section: {"name": target}})
