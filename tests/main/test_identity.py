from __future__ import annotations

import os
import re
import socket
import subprocess
import sys

import pytest

from bot.main import identity

ROOT_OF_NAME = r"[^:]+:[^:]+:\d+:[^:]+:"


def ended() -> str:
    """Return the name of a process of this machine that has ended."""
    asked = "from bot.main import identity; print(identity.own_name())"
    return subprocess.run([sys.executable, "-c", asked], capture_output=True, text=True, check=True).stdout.strip()


def test_own_name_tells_who_and_where() -> None:
    """A name says host, boot, process, time of birth and place, and stays the same."""
    assert re.fullmatch(rf"{ROOT_OF_NAME}", identity.own_name())
    assert identity.own_name("pod-7") == f"{identity.own_name()}pod-7"
    assert identity.own_name().split(":")[2] == str(os.getpid())


def test_process_that_ended_on_this_machine_is_dead() -> None:
    """A process of this machine that does not run any more is known to be dead, a running one never."""
    own, other = identity.own_name(), ended()
    assert identity.known_dead([own, other], own=own) == (other,)
    assert identity.known_dead([own], own=other) == ()


def test_process_id_that_was_given_again_deceives_nobody() -> None:
    """A name with the id of a running process and another time of birth is that of a dead one."""
    host, boot, pid, _, _ = identity.own_name().split(":")
    earlier = f"{host}:{boot}:{pid}:1:"
    assert identity.known_dead([earlier], own=identity.own_name()) == (earlier,)


@pytest.mark.parametrize("place", ["elsewhere:{boot}:1:1:", "{host}:otherboot:1:1:", "{host}:{boot}x:1:1:pod-8"])
def test_nobody_elsewhere_is_judged(place: str) -> None:
    """Processes of other machines, other boots and other containers are not judged: their leases lapse."""
    host, boot, *_ = identity.own_name().split(":")
    name = place.format(host=host, boot=boot)
    assert identity.known_dead([name], own=identity.own_name("pod-7")) == ()


def test_predecessor_in_the_same_place_is_dead() -> None:
    """Whoever was in a container's place before it is dead, wherever it ran."""
    own = identity.own_name("pod-7/worker")
    predecessor = "pod-7:feedbeef-pid[4026532781]:1:99:pod-7/worker"
    assert identity.known_dead([own, predecessor], own=own) == (predecessor,)


@pytest.mark.parametrize(
    ("host", "role"),
    [("app-7", "bot"), ("rollback-bot-worker-default-6d5f9c7b84-x2x4z.some.long.domain", "worker/" + 24 * "z")],
)
def test_sessions_are_named_after_role_and_host(monkeypatch: pytest.MonkeyPatch, host: str, role: str) -> None:
    """Role and process id stand in the name of a session as a whole; of a long host name its end."""
    monkeypatch.setattr(socket, "gethostname", lambda: host)
    name = identity.application_name(role)
    assert len(name) <= 63
    found = re.fullmatch(rf"rollback-bot/{role}@([^/]+)/{os.getpid()}", name)
    assert found
    assert host.endswith(found[1])
