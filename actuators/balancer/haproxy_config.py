"""What a configuration of HAProxy says about a reload. Pure."""

from __future__ import annotations

from collections.abc import Iterator

_SECTIONS = frozenset(
    {"global", "defaults", "frontend", "backend", "listen", "peers", "userlist", "resolvers", "mailers", "program",
     "cache", "ring", "http-errors", "log-forward", "fcgi-app"}
)  # fmt: skip


def loads_state(configuration: str, backend: str) -> str | None:
    """Return from where a reload takes the backend's state: ``global``, ``local``, ``none``; None: no such backend.

    The directive stands in the backend itself or in the ``defaults`` that it begins with: those named by ``from``,
    or else the latest before it. See https://docs.haproxy.org/2.6/configuration.html#load-server-state-from-file
    """
    found: dict[str, str] = {}
    latest = "none"
    section, name, value = "", "", "none"
    for words in _lines(configuration):
        if words[0] in _SECTIONS:
            section, name = words[0], words[1] if len(words) > 1 else ""
            heir = words[words.index("from") + 1] if "from" in words[:-1] else None
            value = found.get(f"defaults {heir}", "none") if heir else "none" if section == "defaults" else latest
        elif words[0] == "load-server-state-from-file" and len(words) > 1:
            value = words[1]
        if section == "defaults":
            latest = found[f"defaults {name}"] = value
        elif section in {"backend", "listen"}:
            found[name] = value
    return found.get(backend)


def state_file_of(configuration: str) -> str | None:
    """Return the path of the global state file that a configuration names, None if it names none."""
    named = {words[0]: words[1] for words in _lines(configuration) if len(words) == 2}  # noqa: PLR2004 - word and value
    path, base = named.get("server-state-file"), named.get("server-state-base", "")
    return f"{base.rstrip('/')}/{path}" if path and base and not path.startswith("/") else path


def _lines(configuration: str) -> Iterator[list[str]]:
    for line in configuration.splitlines():
        words = [word.strip("\"'") for word in line.partition("#")[0].split()]
        if words:
            yield words
