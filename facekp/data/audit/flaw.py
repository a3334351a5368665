"""What one image's own files show to be wrong."""

from typing import NamedTuple


class Flaw(NamedTuple):
    """A flaw of one image: a key of `facekp.data.audit.findings.KINDS`, words, and a score in 0..1."""

    kind: str
    detail: str
    score: float = 1.0
