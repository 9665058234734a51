"""SRTP once more, straight from RFC 3711 and RFC 7714 on plain AES and HMAC: what ours is compared with."""

from __future__ import annotations

import hmac
import struct
from dataclasses import dataclass, field

from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

HEADER_BYTES = 12
SALT_BYTES = {"CM": 14, "GCM": 12}


def keystream(key: bytes, salt: bytes, octets: int) -> bytes:
    """RFC 3711 §4.1.1, with everything that is mixed into the counter already in the salt."""
    return Cipher(algorithms.AES(key), modes.CTR(salt[:14] + b"\0\0")).encryptor().update(bytes(octets))


def derived(key: bytes, salt: bytes, label: int, octets: int) -> bytes:
    """RFC 3711 §4.3.1 with a key derivation rate of 0; a salt of 12 octets is filled up (RFC 7714 §11)."""
    mixed = bytearray(salt.ljust(14, b"\0"))
    mixed[7] ^= label
    return keystream(key, bytes(mixed), octets)


def gcm_iv(salt: bytes, ssrc: int, roc: int, sequence: int) -> bytes:
    """RFC 7714 §8.1."""
    mixed = struct.pack("!HIIH", 0, ssrc, roc, sequence)
    return bytes(a ^ b for a, b in zip(mixed, salt, strict=True))


@dataclass
class Sender:
    """Protects packets without header extension, in order, and counts its rollovers."""

    suite: str
    master: bytes = field(repr=False)
    roc: int = 0
    last: int = -1

    def protect(self, packet: bytes) -> bytes:
        sequence, _, ssrc = struct.unpack("!HII", packet[2:HEADER_BYTES])
        self.roc += sequence < self.last
        self.last = sequence
        header, payload = packet[:HEADER_BYTES], packet[HEADER_BYTES:]
        octets = 32 if "256" in self.suite else 16
        master, master_salt = self.master[:octets], self.master[octets:]
        key = derived(master, master_salt, 0, octets)
        if "GCM" in self.suite:
            salt = derived(master, master_salt, 2, 12)
            return header + AESGCM(key).encrypt(gcm_iv(salt, ssrc, self.roc, sequence), payload, header)
        salt = derived(master, master_salt, 2, 14)
        index = struct.pack("!4xIIH", ssrc, self.roc, sequence)
        stream = keystream(key, bytes(a ^ b for a, b in zip(salt, index, strict=True)), len(payload))
        sealed = header + bytes(a ^ b for a, b in zip(stream, payload, strict=True))
        tag = hmac.digest(derived(master, master_salt, 1, 20), sealed + struct.pack("!I", self.roc), "sha1")
        return sealed + tag[: 4 if self.suite.endswith("_32") else 10]
