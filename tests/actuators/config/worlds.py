"""A host whose configuration in place is to be judged."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from functools import partial

from actuators.config_valid import ValidConfiguration
from tests.actuators.servers.worlds import GROUP, host
from tests.support.contract import Case, Ground

WORLDS: dict[str, Callable[[Ground], AbstractAsyncContextManager[Case]]] = {
    "config.valid": partial(host, step=ValidConfiguration(id="valid", target=GROUP)),
}
