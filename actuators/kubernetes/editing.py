"""Changing an object on the condition that nobody has changed it meanwhile."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from http import HTTPStatus

from actuators.kubernetes import objects
from actuators.kubernetes.api import Api, ApiError, Json, Patch, Resource

MOST_CONFLICTS = 8
"""Controllers write the status of an ailing object several times a second; each reading anew takes milliseconds."""

_PAUSE = 0.05


@dataclass(frozen=True)
class Edited:
    """An object before and after a change.

    Attributes:
        before: As it was read last before it was changed.
        after: As it was read back afterwards; the same where nothing was to be changed.
        changed: Whether it was changed.
    """

    before: Json
    after: Json
    changed: bool


async def edit(
    api: Api, resource: Resource, name: str, change: Callable[[Json], Json | None], *, namespace: str = ""
) -> Edited:
    """Read an object, decide, change it if it is still as it was read, else decide again; and read it back.

    Args:
        api: The API server.
        resource: The object's kind: one whose lists are replaced as a whole.
        name: Its name.
        change: Returns the merge patch for the object as it is; None if it is as wanted already.
        namespace: Its namespace, if it is not the target's.

    Raises:
        ApiError: If it cannot be read or changed, or is changed by others all the time.
    """
    for attempt in range(MOST_CONFLICTS):
        obj = await api.get(resource, name, namespace=namespace)
        body = change(obj)
        if body is None:
            return Edited(obj, obj, changed=False)
        bound = {**body, "metadata": {**(body.get("metadata") or {}), "resourceVersion": objects.version(obj)}}
        try:
            await api.patch(resource, name, bound, how=Patch.MERGE, namespace=namespace)
        except ApiError as error:
            await after_conflict(api, error, attempt)
        else:
            return Edited(obj, await api.get(resource, name, namespace=namespace), changed=True)
    raise contested(f"{resource.kind} {name}")


async def after_conflict(api: Api, error: ApiError, attempt: int) -> None:
    """Wait a moment after a conflict, so that the object can be read again.

    Raises:
        ApiError: If the error is another one.
    """
    if error.status != HTTPStatus.CONFLICT:
        raise error
    await api.clock.sleep(_PAUSE * 2 ** min(attempt, 4))


def contested(what: str) -> ApiError:
    """Return the error for an object that others change all the time."""
    return ApiError(
        f"{what} was changed by somebody else each of {MOST_CONFLICTS} times it was to be changed.",
        status=HTTPStatus.CONFLICT,
        transient=True,
        untouched="Nothing was changed by the bot.",
        resolution="See who writes it (`kubectl get -o yaml --show-managed-fields`); retry when it is calm.",
    )
