"""SRTP and SRTCP of one leg (RFC 3711, RFC 7714): its keys, both ways.

A key that is repeated goes on with its context, rollover counter and replay window; another one begins anew, and what
is still on its way under the former is taken until the first packet of the new one.

The cipher is libsrtp, as pylibsrtp brings it. Its contexts are made by pylibsrtp; packets go to the library through
ctypes.PyDLL, are opened in place, and the GIL is not given away: 2.0 µs a packet instead of 4.3, and see `receive`.
"""

from __future__ import annotations

import ctypes
from collections.abc import Mapping
from typing import NamedTuple

from pylibsrtp import Policy, Session, _binding

from media.errors import Unsupported
from media.receive import SLOT_BYTES

SSRCS_MAX = 32  # of one key: each one that is authentic costs libsrtp memory, and a call's sender restarts a few times
TRAILER_BYTES_MAX = 16 + 4  # tag and index, the most that protection adds
AUTHENTIC, REPLAYED, TOO_OLD = 0, 9, 10  # libsrtp's srtp_err_status_t
NO_CONTEXT = -1

_PROFILES = {
    "AES_CM_128_HMAC_SHA1_80": Policy.SRTP_PROFILE_AES128_CM_SHA1_80,
    "AES_CM_128_HMAC_SHA1_32": Policy.SRTP_PROFILE_AES128_CM_SHA1_32,
    "AEAD_AES_128_GCM": Policy.SRTP_PROFILE_AEAD_AES_128_GCM,
    "AEAD_AES_256_GCM": Policy.SRTP_PROFILE_AEAD_AES_256_GCM,
}

_lib = ctypes.PyDLL(_binding.__file__)
_unprotect, _unprotect_rtcp = _lib.srtp_unprotect, _lib.srtp_unprotect_rtcp
_protect, _protect_rtcp = _lib.srtp_protect, _lib.srtp_protect_rtcp
_get_rollovers, _set_rollovers = _lib.srtp_get_stream_roc, _lib.srtp_set_stream_roc
_scratch = ctypes.create_string_buffer(SLOT_BYTES + TRAILER_BYTES_MAX)
_scratch_bytes = ctypes.c_int()


class _Key(NamedTuple):
    """What a context is made of."""

    suite: str
    octets: bytes

    def __repr__(self) -> str:
        return f"_Key({self.suite})"


class _Context:
    """One key's state in one direction."""

    def __init__(self, key: _Key, direction: int) -> None:
        try:
            self._session = Session(Policy(key.octets, direction, 0, _PROFILES[key.suite]))
        except (KeyError, ValueError):
            raise Unsupported("no SRTP suite of ours, or a key of another length") from None
        self.key = key
        self.handle = ctypes.c_void_p(int(_binding.ffi.cast("uintptr_t", self._session._srtp[0])))
        self.ssrcs: set[int] = set()

    def go_on(self, ssrc: int, rollovers: int) -> None:
        """A stream of this source has been received elsewhere, and its sequence numbers have wrapped so often."""
        self._session.add_stream(Policy(self.key.octets, Policy.SSRC_SPECIFIC, ssrc, _PROFILES[self.key.suite]))
        verdict = _set_rollovers(self.handle, ctypes.c_uint32(ssrc), ctypes.c_uint32(rollovers))
        assert verdict == AUTHENTIC, "the stream was just made"
        self.ssrcs.add(ssrc)

    def knows(self, ssrc: int) -> bool:
        """Whether it has this source, or room for it."""
        return ssrc in self.ssrcs or len(self.ssrcs) < SSRCS_MAX


class Protection:
    """What protects one leg, both ways. Raises Unsupported for keys that are none.

    `keys` are a command's: `suite`, and as hexadecimal digits `ours` and `theirs`; without a suite they are yet to be
    agreed on, and nothing is taken or sent. `ssrc` and `rollovers` are there where another worker has received the
    leg for so long that its counter has risen.
    """

    def __init__(self, keys: Mapping[str, str]) -> None:
        self._incoming: _Context | None = None
        self._former: _Context | None = None
        self._outgoing: _Context | None = None
        self.update(keys)

    def update(self, keys: Mapping[str, str]) -> None:
        """Keys were agreed on: another one replaces its context, the same goes on. Raises as the constructor does."""
        suite = keys.get("suite", "")
        if not suite:
            return
        try:
            theirs, ours = (_Key(suite, bytes.fromhex(keys[name])) for name in ("theirs", "ours"))
        except (KeyError, ValueError):
            raise Unsupported("a leg's SRTP keys are incomplete") from None
        incoming, outgoing = self._incoming, self._outgoing
        if incoming is None or incoming.key != theirs:
            incoming = _Context(theirs, Policy.SSRC_ANY_INBOUND)
            if "rollovers" in keys:
                incoming.go_on(int(keys["ssrc"]), int(keys["rollovers"]))
        if outgoing is None or outgoing.key != ours:
            outgoing = _Context(ours, Policy.SSRC_ANY_OUTBOUND)
        if incoming is not self._incoming:
            self._former = self._incoming
        self._incoming, self._outgoing = incoming, outgoing

    def open(self, slot: ctypes.c_void_p, length: ctypes.c_void_p, ssrc: int) -> int:
        """Open the RTP packet at `slot`, and its octets at `length`, in place; libsrtp's verdict."""
        context = self._incoming
        if context is None or not context.knows(ssrc):
            return NO_CONTEXT
        if self._former is not None:
            return self._open_either(context, self._former, slot, length, ssrc)
        verdict: int = _unprotect(context.handle, slot, length)
        if verdict == AUTHENTIC:
            context.ssrcs.add(ssrc)
        return verdict

    def _open_either(
        self, context: _Context, former: _Context, slot: ctypes.c_void_p, length: ctypes.c_void_p, ssrc: int
    ) -> int:
        """The same while packets may come under either key: a key that does not fit spoils what it is tried on."""
        octets = ctypes.c_int.from_address(length.value or 0)
        count = octets.value
        kept = ctypes.string_at(slot, count)
        verdict: int = _unprotect(context.handle, slot, length)
        if verdict == AUTHENTIC:
            context.ssrcs.add(ssrc)
            self._former = None
            return verdict
        ctypes.memmove(slot, kept, count)
        octets.value = count
        return int(_unprotect(former.handle, slot, length)) if former.knows(ssrc) else verdict

    def rollovers(self, ssrc: int) -> int:
        """How often the sequence numbers of the peer's stream have wrapped under the key that it uses now."""
        count = ctypes.c_uint32()
        if self._incoming is None or ssrc not in self._incoming.ssrcs:
            return 0
        _get_rollovers(self._incoming.handle, ctypes.c_uint32(ssrc), ctypes.byref(count))
        return count.value

    def protect(self, data: bytes) -> bytes:
        """An RTP packet of ours as it goes out."""
        return self._protected(_protect, data)

    def protect_reports(self, data: bytes) -> bytes:
        """An RTCP compound of ours as it goes out."""
        return self._protected(_protect_rtcp, data)

    def open_reports(self, data: bytes) -> bytes | None:
        """An RTCP compound of the peer's, None if it is not authentic or comes again."""
        if self._incoming is None or not 2 * 4 <= len(data) <= SLOT_BYTES:
            return None
        ssrc = int.from_bytes(data[4:8], "big")
        for context in (self._incoming, self._former):
            if context is not None and context.knows(ssrc):
                verdict, opened = _worked(_unprotect_rtcp, context, data)
                if verdict == AUTHENTIC:
                    context.ssrcs.add(ssrc)
                    return opened
        return None

    def _protected(self, function: ctypes._FuncPointer, data: bytes) -> bytes:
        assert self._outgoing is not None, "nothing is sent before keys are agreed on"
        verdict, protected = _worked(function, self._outgoing, data)
        # It fails where a key is used up, after 2³¹ reports: three hundred years.
        assert verdict == AUTHENTIC, "libsrtp takes what we make"
        return protected


def protection(former: Protection | None, keys: Mapping[str, str]) -> Protection | None:
    """What protects a leg from now on; None where it is plain. Raises Unsupported, and changes nothing."""
    if not keys:
        return None
    if former is None:
        return Protection(keys)
    former.update(keys)
    return former


def _worked(function: ctypes._FuncPointer, context: _Context, data: bytes) -> tuple[int, bytes]:
    """A copy of `data` after one of libsrtp's functions, and its verdict."""
    ctypes.memmove(_scratch, data, len(data))
    _scratch_bytes.value = len(data)
    verdict: int = function(context.handle, _scratch, ctypes.byref(_scratch_bytes))
    return verdict, _scratch.raw[: _scratch_bytes.value] if verdict == AUTHENTIC else b""
