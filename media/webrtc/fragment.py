"""What a client tells while ICE goes on: an SDP fragment of more candidates, or of a restart (RFC 8840 §4.4).

Candidates are checked and not used: as a peer on one public address we answer whoever has our password, and the pairs
that a client's checks show are enough (RFC 8445 §7.3.1.3). Nobody can make us send to an address of his choice.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from media.errors import Malformed

FRAGMENT_BYTES_MAX = 16 * 1024  # a hundred candidates
LINES_MAX = 256

# RFC 8839 §5.1, as far as it is fixed; addresses may be names ending in .local, which are not looked up.
_CANDIDATE = re.compile(
    r"[A-Za-z0-9+/]{1,32} [1-9]\d{0,2} \S{1,16} \d{1,10} \S{1,255} \d{1,5} typ [A-Za-z0-9-]{1,32}( .*)?"
)
_KNOWN = ("a=", "m=", "v=", "o=", "s=", "t=", "c=")


@dataclass(frozen=True, slots=True)
class Fragment:
    """What it says: the user fragment of its ICE session, where it names one, and how many candidates."""

    ufrag: str | None
    candidates: int
    ended: bool


def read_fragment(body: bytes) -> Fragment:
    """Read a fragment; raises Malformed."""
    if len(body) > FRAGMENT_BYTES_MAX:
        raise Malformed("the fragment is too long")
    try:
        lines = [line.rstrip("\r") for line in body.decode("utf-8").split("\n") if line.strip()]
    except UnicodeDecodeError:
        raise Malformed("the fragment is no UTF-8") from None
    if not lines or len(lines) > LINES_MAX or not all(line.startswith(_KNOWN) for line in lines):
        raise Malformed("not an SDP fragment")
    ufrag, candidates, ended = None, 0, False
    for line in lines:
        name, _, value = line.removeprefix("a=").partition(":")
        if name == "ice-ufrag":
            if ufrag not in (None, value):
                raise Malformed("two ICE user fragments")
            ufrag = value
        elif name == "candidate":
            if not _CANDIDATE.fullmatch(value):
                raise Malformed("a candidate is none")
            candidates += 1
        ended = ended or line == "a=end-of-candidates"
    return Fragment(ufrag, candidates, ended)
