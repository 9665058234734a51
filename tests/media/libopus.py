"""libopus itself, as the packaged libav carries it: what a player may do with packets that libav's decoder does not."""

from __future__ import annotations

import ctypes
from importlib.metadata import files

import numpy as np

from media.codecs.g711 import Samples

RATE_HZ = 8000
MS_MAX = 120


def _library() -> ctypes.CDLL:
    found = [file for file in files("av") or () if "libopus" in file.name]
    assert found, "the package of libav carries libopus"
    library = ctypes.CDLL(str(found[0].locate()))
    library.opus_decoder_create.restype = ctypes.c_void_p
    library.opus_decoder_create.argtypes = [ctypes.c_int32, ctypes.c_int, ctypes.c_void_p]
    library.opus_decoder_destroy.argtypes = [ctypes.c_void_p]
    number, pointer = ctypes.c_int, ctypes.c_void_p
    library.opus_decode.argtypes = [pointer, ctypes.c_char_p, ctypes.c_int32, pointer, number, number]
    return library


_OPUS = _library()


def repeats(packet: bytes) -> bool:
    """Whether a packet has in-band FEC, in the reference's opinion."""
    return int(_OPUS.opus_packet_has_lbrr(packet, len(packet))) == 1


def lasts(packet: bytes) -> int:
    """Samples at 48 kHz, negative of what is no packet."""
    return int(_OPUS.opus_packet_get_nb_samples(packet, len(packet), 48_000))


class Player:
    """A decoder at 8 kHz."""

    def __init__(self) -> None:
        self._state = _OPUS.opus_decoder_create(RATE_HZ, 1, None)

    def __del__(self) -> None:
        _OPUS.opus_decoder_destroy(self._state)

    def play(self, packet: bytes) -> Samples:
        return self._decode(packet, RATE_HZ * MS_MAX // 1000, fec=0)

    def recover(self, packet: bytes) -> Samples:
        """What this packet says of the one before it, which is taken for lost."""
        return self._decode(packet, lasts(packet) // 6, fec=1)

    def _decode(self, packet: bytes, room: int, fec: int) -> Samples:
        samples = np.zeros(room, np.int16)
        count = _OPUS.opus_decode(self._state, packet, len(packet), samples.ctypes.data, room, fec)
        assert count >= 0
        return samples[:count]
