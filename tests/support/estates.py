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

_REASON = "hosts over SSH are Linux hosts; this machine is not"
linux_only = pytest.mark.skipif(sys.platform != "linux", reason=_REASON)


@pytest.fixture
def place() -> Iterator[Path]:
    """Give a folder that other users can pass through, as folders of a service are."""
    folder = Path(tempfile.mkdtemp(prefix="rollback-hosts-"))
    folder.chmod(0o711)
    yield folder
    shutil.rmtree(folder)


LOCAL = pytest.param("local")
ASYNCSSH = pytest.param("asyncssh", marks=linux_only)
SUDO = pytest.param("sudo", marks=linux_only)
SSHD = pytest.param("sshd", marks=[linux_only, *real_sshd])


@pytest.fixture(params=[LOCAL, SUDO, SSHD])
async def estate(request: pytest.FixtureRequest, place: Path) -> AsyncIterator[Estate]:
    """Give a group of one local host, or of three over asyncssh (with sudo or without), or behind real sshd."""
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
    _skip_elsewhere()
    async with ssh_estate(place) as estate:
        yield estate


@pytest.fixture
async def one_ssh_host(place: Path) -> AsyncIterator[SshEstate]:
    """Give a group of one host whose SSH server can be disturbed."""
    _skip_elsewhere()
    async with ssh_estate(place, hosts=1) as estate:
        yield estate


def _skip_elsewhere() -> None:
    if sys.platform != "linux":
        pytest.skip(_REASON)


def is_root() -> bool:
    """Return whether the tests run with root's rights, to which no file is closed."""
    return os.geteuid() == 0
