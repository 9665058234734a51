"""Calls that a Cisco phone forks to a recorder (built-in bridge): each end in a dialog of its own, named in From.

Unified CM sends two INVITEs, one after the other, whose From URIs carry the same parameters but for one: `x-nearend`
for the recorded phone's voice, `x-farend` for that of whom it talks to. `x-refci` is the recorded call of that phone,
unique within the cluster; `x-nearendclusterid` and `x-nearenddevice` say which, `x-nearendaddr` and `x-farendaddr` who
talks. Where both phones of a call are recorded there are four INVITEs, and two references.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from enum import IntEnum

from gateway.sip.errors import Malformed
from gateway.sip.grammar import Uri
from gateway.sip.message import Request
from gateway.sip.siprec.session import Named

_REFERENCE = re.compile(r"[A-Za-z0-9._-]{1,64}\Z")
"""Of a call, a cluster, a device; a number, a name, SEP and a MAC address in the field. Anything else is none."""
_ADDRESS = re.compile(r"[A-Za-z0-9+*#._-]{1,64}\Z")


class End(IntEnum):
    """Whose voice a dialog carries; also the place of its m-line in the call."""

    NEAR = 0
    FAR = 1

    @property
    def label(self) -> str:
        """Of its track."""
        return self.name.lower()

    @property
    def other(self) -> End:
        """The partner's."""
        return End.FAR if self is End.NEAR else End.NEAR


@dataclass(frozen=True, slots=True, repr=False)
class Fork:
    """One of the two dialogs. Both of a call have the same `call`, and no others that stand at the same time do."""

    end: End
    call: tuple[str, ...]
    parties: tuple[Named, ...]  # personal data

    def __repr__(self) -> str:
        return f"Fork({self.end.label})"


def forked(request: Request) -> Fork | None:
    """What an INVITE says of the fork that it is; None for any other, and where it names both ends or no call.

    Which recorder was dialled is part of the call: one that is forked to two of them is two recordings.
    """
    if "x-refci=" not in request.from_.uri.lower():  # nearly all calls
        return None
    uri, dialled = _read(request.from_.uri), _read(request.uri)
    if uri is None or dialled is None:
        return None
    told = {name: value or "" for name, value in uri.parameters}
    ends = [end for end in End if f"x-{end.label}end" in told]
    if len(ends) != 1 or not _REFERENCE.match(told.get("x-refci", "")):
        return None
    parts = (_reference(told, name) for name in ("x-refci", "x-nearendclusterid", "x-nearenddevice"))
    where = (dialled.user, dialled.host, str(dialled.port or ""))
    parties = [Named(f"sip:{text}@{uri.host}", (end,)) for end in End if (text := _address(told, end, uri))]
    return Fork(ends[0], (*parts, *where), tuple(parties))


def _read(text: str) -> Uri | None:
    with suppress(Malformed):
        return Uri.parse(text)
    return None


def _reference(told: Mapping[str, str], name: str) -> str:
    text = told.get(name, "")
    return text if _REFERENCE.match(text) else ""


def _address(told: Mapping[str, str], end: End, uri: Uri) -> str:
    """Who talks at an end; without a parameter for it, the near one is whom From names."""
    text = told.get(f"x-{end.label}endaddr", "")
    if not text and end is End.NEAR:
        text = uri.user
    return text if _ADDRESS.match(text) else ""
