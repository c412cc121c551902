"""Container images as references: what they are called, and whether two are the same."""

from __future__ import annotations

_DIGITS = 12


def split(reference: str) -> tuple[str, str, str]:
    """Return (repository, tag, digest) of a reference; tag and digest are empty where it has none."""
    rest, _, digest = reference.partition("@")
    folder, slash, last = rest.rpartition("/")
    repository, _, tag = last.partition(":")
    return f"{folder}{slash}{repository}", tag, digest


def label(reference: str) -> str:
    """Return what people call the image: its tag, else the beginning of its digest."""
    _, tag, digest = split(reference)
    if tag:
        return tag
    return digest[: len("sha256:") + _DIGITS] if digest else "latest"


def digest(reference: str) -> str:
    """Return the digest of a reference, or of an image id as a node reports it; empty if it has none."""
    found = split(reference)[2]
    return found or (reference if reference.startswith("sha256:") else "")


def same(pinned: str, found: str) -> bool:
    """Whether a reference names the very image that is pinned by its digest, whatever its tag."""
    repository, _, sha = split(pinned)
    other, _, other_sha = split(found)
    return bool(sha) and (repository, sha) == (other, other_sha)


def agree(recorded: str, found: str) -> bool:
    """Whether a recorded image may be the one that a template names.

    Two digests must be equal. Where one has none, repository and tag decide, as far as both name them.
    """
    repository, tag, sha = split(recorded)
    other_repository, other_tag, other_sha = split(found)
    if sha and other_sha:
        return sha == other_sha
    if repository != other_repository:
        return False
    return not tag or not other_tag or tag == other_tag


def runs(expected: str, *, reference: str, image_id: str) -> bool:
    """Whether a container runs what is expected.

    Args:
        expected: With a digest, the digest counts; else the reference as it is written.
        reference: The image that the pod names.
        image_id: The image id that the node reports; empty while it has not been pulled.
    """
    sha = digest(expected)
    if not sha:
        return reference == expected
    return sha in (digest(reference), digest(image_id))
