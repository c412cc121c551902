"""boto3 in a few threads: bounded times, credentials by the default chain, every fault in words."""

from __future__ import annotations

import asyncio
import functools
import importlib
import threading
from collections.abc import AsyncIterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from actuators.redact import redact
from bot.domain.errors import ActuatorError

CONNECT_SECONDS = 3
READ_SECONDS = 10
_TRIES = 3
"""Of a call that only reads. A change is sent once: whether to repeat it is for the engine to say."""
_THREADS = 4

_DENIED = {"AccessDenied", "AccessDeniedException", "UnauthorizedOperation", "AuthorizationError"}
_UNKNOWN_CALLER = {
    "ExpiredToken", "ExpiredTokenException", "IncompleteSignature", "InvalidAccessKeyId", "InvalidClientTokenId",
    "MissingAuthenticationToken", "SignatureDoesNotMatch", "UnrecognizedClientException",
}  # fmt: skip
_BUSY = {"RequestLimitExceeded", "Throttling", "ThrottlingException"}
_SERVER_FAULT = 500


@dataclass(frozen=True)
class Service:
    """A service of AWS that steps act on.

    Attributes:
        name: As boto3 calls it.
        prefix: What its actions begin with in a policy.
        docs: The page with the smallest policy.
        advice: What to do next, by the code of an error, where that is not to compare names.
    """

    name: str
    prefix: str
    docs: str
    advice: Mapping[str, str] = field(default_factory=dict)


class AwsError(ActuatorError):
    """AWS cannot be asked, or refused.

    Args:
        brief: What happened.
        code: The error's code in the AWS API; empty if there was no answer.
        untouched: What was left as it was.
        resolution: What to do next.
        transient: Whether the same call may succeed later without anybody's help.
    """

    def __init__(
        self, brief: str, *, code: str = "", untouched: str, resolution: str, transient: bool = False
    ) -> None:
        super().__init__(brief, untouched=untouched, resolution=resolution, transient=transient)
        self.code = code

    @property
    def denied(self) -> bool:
        """Whether the caller is known and may not do that."""
        return self.code in _DENIED

    @property
    def missing(self) -> bool:
        """Whether what was named does not exist."""
        return self.code.removesuffix("Exception").removesuffix("Fault").endswith(("NotFound", "NoSuchEntity"))


class Aws:
    """The AWS API as one set of credentials in one region sees it.

    Args:
        service: The service that is acted on.
        region: The region.
        profile: A profile of the AWS configuration; None: the default chain of boto3.
        endpoint_url: Another address of that service; the other services keep theirs.
    """

    def __init__(self, service: Service, *, region: str, profile: str | None, endpoint_url: str | None) -> None:
        self.service = service
        self._region = region
        self._profile = profile
        self._endpoint = endpoint_url
        self._threads = ThreadPoolExecutor(_THREADS, thread_name_prefix="aws")
        self._making = threading.Lock()
        self._session: Any = None
        self._clients: dict[tuple[str, int], Any] = {}
        self._calls: set[asyncio.Future[dict[str, Any]]] = set()
        self._closed = False

    async def read(self, service: str, operation: str, **parameters: Any) -> dict[str, Any]:
        """Call an operation that changes nothing.

        Raises:
            AwsError: With what AWS said.
        """
        return await asyncio.shield(self._start(service, operation, parameters, tries=_TRIES))

    async def change(self, service: str, operation: str, **parameters: Any) -> dict[str, Any]:
        """Call an operation that changes something. A cancelled caller waits for its end, which no thread can skip.

        Raises:
            AwsError: With what AWS said.
        """
        call = self._start(service, operation, parameters, tries=1)
        try:
            return await asyncio.shield(call)
        except asyncio.CancelledError:
            await asyncio.wait({call})
            raise

    def close(self) -> None:
        """Take no more calls. Those under way end by their own timeouts, and the connections with the last one."""
        self._closed = True
        self._threads.shutdown(wait=False, cancel_futures=True)
        self._hang_up()

    def _hang_up(self) -> None:
        if self._closed and not self._calls:
            for client in self._clients.values():
                client.close()
            self._clients.clear()

    def _ended(self, call: asyncio.Future[dict[str, Any]]) -> None:
        # Where nobody waits any more, nobody is left to hear of a failure either.
        if not call.cancelled():
            call.exception()
        self._calls.discard(call)
        self._hang_up()

    def _start(
        self, service: str, operation: str, parameters: dict[str, Any], *, tries: int
    ) -> asyncio.Future[dict[str, Any]]:
        loop = asyncio.get_running_loop()
        call = loop.run_in_executor(self._threads, self._call, service, operation, parameters, tries)
        self._calls.add(call)
        call.add_done_callback(self._ended)
        return call

    def _call(self, service: str, operation: str, parameters: dict[str, Any], tries: int) -> dict[str, Any]:
        # boto3 costs a third of a second and 20 MB, which only those pay who use it.
        exceptions = importlib.import_module("botocore.exceptions")
        unreadable = importlib.import_module("botocore.parsers").ResponseParserError
        try:
            answer: dict[str, Any] = getattr(self._client(service, tries), operation)(**parameters)
        except exceptions.ClientError as error:
            raise _refusal(self.service, operation, error.response) from None
        except (exceptions.NoCredentialsError, exceptions.PartialCredentialsError, exceptions.ProfileNotFound,
                exceptions.CredentialRetrievalError, exceptions.TokenRetrievalError) as error:  # fmt: skip
            raise _nobody(redact(str(error))) from None
        except exceptions.ParamValidationError as error:
            raise _invalid(operation, redact(str(error))) from None
        except unreadable:
            raise _no_answer(operation, "it was no answer of AWS, perhaps a proxy's page") from None
        except (exceptions.BotoCoreError, OSError) as error:
            raise _no_answer(operation, redact(str(error))) from None
        return answer

    def _client(self, service: str, tries: int) -> Any:
        # Sessions must not make clients in two threads at once; the clients themselves may be shared.
        with self._making:
            self._session = self._session or _session(self._profile, self._region)
            if (service, tries) not in self._clients:
                config = importlib.import_module("botocore.config").Config(
                    connect_timeout=CONNECT_SECONDS,
                    read_timeout=READ_SECONDS,
                    retries={"mode": "standard", "total_max_attempts": tries},
                )
                self._clients[service, tries] = self._session.client(
                    service, endpoint_url=self._endpoint if service == self.service.name else None, config=config
                )
            return self._clients[service, tries]


def _session(profile: str | None, region: str) -> Any:
    """Return a session, so that credentials are looked up anew for each step."""
    inner = importlib.import_module("botocore.session").Session(profile=profile)
    loader = _descriptions()
    inner.register_component("data_loader", loader)
    session = importlib.import_module("boto3").Session(botocore_session=inner, region_name=region)
    # Each session adds the same folder to its loader, which here is not its own.
    loader.search_paths[:] = dict.fromkeys(loader.search_paths)
    return session


@functools.cache
def _descriptions() -> Any:
    """Return what reads the descriptions of AWS's services: it takes a while, and they do not change."""
    return importlib.import_module("botocore.loaders").create_loader()


@asynccontextmanager
async def connected(
    service: Service, *, region: str, profile: str | None, endpoint_url: str | None
) -> AsyncIterator[Aws]:
    """Give the AWS API for the time of one step."""
    aws = Aws(service, region=region, profile=profile, endpoint_url=endpoint_url)
    try:
        yield aws
    finally:
        aws.close()


def _words(operation: str) -> str:
    return "".join("DB" if part == "db" else part.title() for part in operation.split("_"))


def _refusal(service: Service, operation: str, response: dict[str, Any]) -> AwsError:
    error = response.get("Error", {})
    code, said = str(error.get("Code", "")), redact(str(error.get("Message", "")))
    status = response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
    if status >= _SERVER_FAULT:
        return _no_answer(operation, f"{said or code} (HTTP {status})")
    if code in _DENIED:
        resolution = f"Give the bot's role the policy in {service.docs}."
    elif code in _UNKNOWN_CALLER:
        resolution = "Renew the credentials: environment, profile, or the role of the worker's machine."
    elif code in _BUSY:
        resolution = "Retry in a moment; AWS limits how often it may be asked."
    else:
        resolution = service.advice.get(code, "Compare the names in plan and inventory with AWS.")
    return AwsError(
        f"AWS refused {_words(operation)}: {said or code} ({code}).",
        code=code,
        untouched="Nothing was changed by it.",
        resolution=resolution,
        transient=code in _BUSY,
    )


def _nobody(said: str) -> AwsError:
    return AwsError(
        f"There are no credentials for AWS: {said}.",
        untouched="Nothing was asked.",
        resolution="Give the worker a role, or credentials by environment, or `profile` in the inventory.",
    )


def _invalid(operation: str, said: str) -> AwsError:
    return AwsError(
        f"{_words(operation)} cannot be sent: {said}",
        untouched="Nothing was asked.",
        resolution="Correct the names in plan or inventory.",
    )


def _no_answer(operation: str, said: str) -> AwsError:
    return AwsError(
        f"AWS gave no answer to {_words(operation)}: {said}",
        untouched="Whether it was carried out is told by the next look.",
        resolution="Check the network's way out to AWS, or `endpoint_url` in the inventory; retry.",
        transient=True,
    )
