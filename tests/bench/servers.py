"""Fifty servers rolled back: stop, link, start and health, as the engine does it, by Ansible and by the loop.

All three reach the same fifty sshd with the same key, and change the same services. The loop is the
specification's (`for server in ...; do ssh $server ...`), with the plain client; only its first hosts are measured,
because each one takes as long as the other.
"""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Awaitable, Mapping, Sequence
from pathlib import Path

from actuators import servers
from actuators.servers import LinkRelease, StartServers, StopServers
from actuators.servers_health import HostsHealthy
from bot.domain.actuation import Context, Presence
from bot.domain.plan import Step
from tests.bench import machine
from tests.bench.figures import Figure
from tests.bench.servers_site import GROUP, OLD, SECONDS, Site, site
from tests.bench.stage import Workshop
from tests.bench.statistics import median
from tests.support.actuation import make_plan
from tests.support.hosts import HERE

HOSTS = 50
TIMES = 3
SAMPLE = 5
"""Hosts of the loop that are measured."""
AGAINST_ANSIBLE, AGAINST_LOOP = 5, 20
_PATIENCE = 300.0

_PYTHON = "/usr/bin/python3" if Path("/usr/bin/python3").exists() else sys.executable

_PLAYBOOK = """- hosts: all
  gather_facts: false
  tasks:
    - name: stop
      ansible.builtin.command: {here}/bin/service stop
    - name: link
      ansible.builtin.file:
        src: {here}/releases/{old}
        dest: {here}/current
        state: link
    - name: start
      ansible.builtin.command: {here}/bin/service start
    - name: health
      ansible.builtin.uri:
        url: http://{{{{ ansible_host }}}}:{port}/health
        return_content: true
      register: answer
      until: answer.json.status == "healthy" and answer.json.version == "{old}"
      retries: 30
      delay: 1
"""
_LOOP = """set -e
for server in {servers}; do {ssh} $server '{here}/bin/service stop'; done
for server in {servers}; do {ssh} $server 'rm -rf {here}/current; ln -s {here}/releases/{old} {here}/current'; done
for server in {servers}; do {ssh} $server '{here}/bin/service start'; done
for server in {servers}; do curl -s http://${{server#*@}}:{port}/health | grep -q '"healthy"'; done
"""


async def measure(shop: Workshop) -> list[Figure]:
    """Return the seconds of a rollback of all hosts, beside Ansible's and the loop's."""
    folder = shop.folder / "servers"
    folder.mkdir()
    async with site(folder, shop.clock, hosts=HOSTS) as estate:
        shop.say(f"{HOSTS} hosts, each a sshd of its own; {TIMES} times by the actuators, with read-back")
        ours = [await _timed(estate, _by_actuators(estate), HOSTS) for _ in range(TIMES)]
        load = machine.load()
        shop.say(f"the same by ansible-playbook -f {HOSTS}, pipelining on")
        ansible = await _timed(estate, _by_ansible(estate), HOSTS)
        shop.say(f"the same by the loop, on {SAMPLE} of the hosts")
        loop = await _timed(estate, _by_loop(estate), SAMPLE) * HOSTS / SAMPLE
    took = median(ours)
    each = f"a service takes {SECONDS:g} s to end, and to start"
    shop.say(f"{ansible / took:.1f} times as fast as Ansible, {loop / took:.1f} times as fast as the loop")
    by_loop = f"ssh in a loop, {SAMPLE} hosts x {HOSTS // SAMPLE}"
    return [
        Figure(
            name=f"{HOSTS} servers: stop, link, start, health; a {part}th of {tool}",
            measured=took,
            goal=plain / part,
            unit="s",
            plain=plain,
            plain_tool=tool,
            detail=f"{TIMES} runs, {min(ours):.1f} to {max(ours):.1f} s; {each}",
            load=load,
        )
        for tool, plain, part in (
            (f"ansible-playbook -f {HOSTS}", ansible, AGAINST_ANSIBLE),
            (by_loop, loop, AGAINST_LOOP),
        )
    ]


async def _timed(estate: Site, rolling: Awaitable[None], hosts: int) -> float:
    """Deploy the failed release everywhere, roll back, and return the seconds of the latter.

    Raises:
        RuntimeError: If not so many hosts are rolled back afterwards.
    """
    await estate.deploy()
    began = estate.clock.monotonic()
    await rolling
    took = estate.clock.monotonic() - began
    if estate.rolled_back() != hosts:
        raise RuntimeError(f"{estate.rolled_back()} of {hosts} hosts were rolled back")
    return took


async def _by_actuators(estate: Site) -> None:
    """Do each step as the engine does it: apply, then look whether the effect is there."""
    steps: tuple[Step, ...] = (
        StopServers(id="stop", target=GROUP, limit=HOSTS),
        LinkRelease(id="link", target=GROUP, release=OLD, limit=HOSTS),
        StartServers(id="start", target=GROUP, limit=HOSTS),
        HostsHealthy(id="health", target=GROUP, version=OLD),
    )
    known = {entry.model: entry.actuator for entry in servers.register()}
    run = f"rb-{estate.clock.monotonic():.0f}"
    for step in steps:
        context = Context(run, make_plan(step), estate.inventory(), estate.clock, lambda _progress: None)
        await known[type(step)].apply(step, context)
        seen = await known[type(step)].observe(step, context)
        if not step.reads_only and seen.presence is not Presence.PRESENT:
            raise RuntimeError(f"{step.id}: {seen.words}")


async def _by_ansible(estate: Site) -> None:
    """Run the playbook with all hosts at once; its connections are shared between the tasks."""
    folder = estate.folder / "ansible"
    folder.mkdir()
    lines = [
        f"{host.name} ansible_host={host.address} ansible_port={host.port} ansible_user={estate.user} "
        f"ansible_ssh_private_key_file={estate.folder}/key ansible_python_interpreter={_PYTHON}"
        for host in estate.hosts
    ]
    (folder / "hosts").write_text("[all]\n" + "\n".join(lines) + "\n")
    playbook = folder / "rollback.yml"
    playbook.write_text(_PLAYBOOK.format(here=HERE, old=OLD, port=estate.health_port))
    sockets = folder / "s"
    shared = f"{_options(estate)} -o ControlMaster=auto -o ControlPersist=60s"
    env = {
        "ANSIBLE_PIPELINING": "True",
        "ANSIBLE_SSH_ARGS": shared,
        "ANSIBLE_SSH_CONTROL_PATH_DIR": str(sockets),
        "ANSIBLE_HOME": str(folder / "home"),
        "ANSIBLE_NOCOWS": "1",
        "LC_ALL": "C.UTF-8",
    }
    program = Path(sys.executable).with_name("ansible-playbook")
    argv = (str(program), "-i", str(folder / "hosts"), "-f", str(HOSTS), str(playbook))
    try:
        await _run(argv, env=env)
    finally:
        for socket in sockets.glob("*"):
            await _run(("ssh", "-O", "exit", "-o", f"ControlPath={socket}", "-F", "none", "nobody"))


async def _by_loop(estate: Site) -> None:
    """Run the specification's loop."""
    (port,) = {host.port for host in estate.hosts}
    names = " ".join(f"{estate.user}@{host.address}" for host in estate.hosts[:SAMPLE])
    ssh = f"ssh -i {estate.folder}/key -p {port} {_options(estate)}"
    script = _LOOP.format(servers=names, ssh=ssh, here=HERE, old=OLD, port=estate.health_port)
    await _run(("bash", "-c", script))


def _options(estate: Site) -> str:
    return (
        f"-F none -o UserKnownHostsFile={estate.folder}/known_hosts -o StrictHostKeyChecking=yes "
        "-o IdentitiesOnly=yes -o BatchMode=yes"
    )


async def _run(argv: Sequence[str], *, env: Mapping[str, str] | None = None) -> None:
    process = await asyncio.create_subprocess_exec(
        *argv,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        env={**os.environ, **(env or {})},
    )
    async with asyncio.timeout(_PATIENCE):
        said, _ = await process.communicate()
    if process.returncode:
        raise RuntimeError(f"{Path(argv[0]).name} failed: {said.decode(errors='replace')[-2000:]}")
