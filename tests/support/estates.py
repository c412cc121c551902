"""Fixtures: a service's hosts, reached in each of the ways there are."""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from tests.support.hosts import Estate, local_estate
from tests.support.ssh import SshEstate, ssh_estate
from tests.support.sshd import real_sshd, sshd_estate

linux_only = pytest.mark.skipif(
    sys.platform != "linux", reason="hosts over SSH are Linux hosts; this machine is not"
)


@pytest.fixture
def place() -> Iterator[Path]:
    """Give a folder that other users can pass through, as folders of a service are."""
    folder = Path(tempfile.mkdtemp(prefix="rollback-hosts-"))
    folder.chmod(0o711)
    yield folder
    shutil.rmtree(folder)


@pytest.fixture(
    params=[
        "local",
        pytest.param("asyncssh", marks=linux_only),
        pytest.param("sudo", marks=linux_only),
        pytest.param("sshd", marks=[linux_only, *real_sshd]),
    ]
)
async def estate(request: pytest.FixtureRequest, place: Path) -> AsyncIterator[Estate]:
    """Give a group of one local host, or of three over SSH with and without sudo, or of three behind real sshd."""
    if request.param == "local":
        here = local_estate(place)
        yield here
        here.only.end_service()
    elif request.param == "sshd":
        with sshd_estate(place) as behind_sshd:
            yield behind_sshd
    else:
        async with ssh_estate(place, sudo=request.param == "sudo") as over_ssh:
            yield over_ssh


@pytest.fixture
async def ssh_hosts(place: Path) -> AsyncIterator[SshEstate]:
    """Give a group of three hosts whose SSH servers can be disturbed."""
    async with ssh_estate(place) as estate:
        yield estate


@pytest.fixture
async def one_ssh_host(place: Path) -> AsyncIterator[SshEstate]:
    """Give a group of one host whose SSH server can be disturbed."""
    async with ssh_estate(place, hosts=1) as estate:
        yield estate


def is_root() -> bool:
    """Return whether the tests run with root's rights, to which no file is closed."""
    return os.geteuid() == 0
