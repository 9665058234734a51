"""A sealed export opens by its recipient's key and no other; what is cut or changed is told apart."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as some
from pyhpke import AEADId, CipherSuite, KDFId, KEMId

from storage.envelope import HEADER_BYTES, SEGMENT_BYTES, length_prefixed, seal, seal_parts
from storage.errors import DataError, Malformed, Refused, Tampered, Truncated, WrongKey
from storage.model import Secret
from storage.sealedexport import HEAD, TAIL, Recipient, RecipientKey, opened, recipient_of, sealed_for
from tests.storage.test_envelope import tink_open

KEY = RecipientKey.fresh()


def sealed(content: bytes, step: int = 10_000) -> bytes:
    parts = [content[at : at + step] for at in range(0, len(content), step)]
    return b"".join(sealed_for(KEY.recipient, parts))


def open_all(file: bytes, key: RecipientKey = KEY) -> bytes:
    return b"".join(opened(key, len(file), lambda start, end: file[start:end]))


@pytest.mark.parametrize("size", [0, 1, SEGMENT_BYTES - 16 - HEADER_BYTES, SEGMENT_BYTES, 300_000])
def test_sp_18_the_recipients_key_opens_it(size: int) -> None:
    content = os.urandom(size)
    assert open_all(sealed(content)) == content


def test_sp_18_another_key_does_not_and_says_so() -> None:
    with pytest.raises(WrongKey):
        open_all(sealed(b"content"), RecipientKey.fresh())


def test_nothing_of_the_content_stands_in_the_file() -> None:
    assert b"a canary of some length" not in sealed(b"a canary of some length" * 1000)


@pytest.mark.parametrize("keep", [1, 7, 8, 40, HEAD.size, HEAD.size + 20, HEAD.size + 60, -1, -TAIL.size, -70_000])
def test_a_file_that_was_cut_off_is_truncated(keep: int) -> None:
    with pytest.raises(Truncated):
        open_all(sealed(os.urandom(200_000))[:keep])


@pytest.mark.parametrize(
    ("at", "error"),
    [
        (0, Malformed),
        (8, WrongKey),
        (40, Tampered),  # the encapsulated key
        (80, Tampered),  # the sealed one
        (125, Tampered),  # the commitment
        (HEAD.size - 1, Tampered),  # the segment size
        (HEAD.size, Tampered),
        (HEAD.size + 10, Tampered),
        (HEAD.size + 100, Tampered),
        (150_000, Tampered),
        (-20, Tampered),
    ],
)
def test_a_file_that_was_changed_says_what_is_wrong(at: int, error: type[DataError]) -> None:
    file = bytearray(sealed(os.urandom(200_000)))
    file[at] ^= 1
    with pytest.raises(error):
        open_all(bytes(file))


def test_a_file_with_more_behind_it_or_of_another_head_is_refused() -> None:
    first, second = sealed(b"first" * 10_000), sealed(b"second" * 10_000)
    with pytest.raises(Truncated):
        open_all(first + b"more")
    with pytest.raises(Tampered):
        open_all(first[: -TAIL.size] + b"more" + first[-TAIL.size :])
    with pytest.raises(Tampered):
        open_all(first[: HEAD.size] + second[HEAD.size :])


@given(some.binary(max_size=400))
def test_no_bytes_crash_it(file: bytes) -> None:
    with pytest.raises(DataError):
        open_all(file)


def test_an_independent_reader_of_hpke_and_of_the_stream_reads_it() -> None:
    """pyhpke opens the content key, Tink's streaming format the rest."""
    content = os.urandom(300_000)
    file = sealed(content)
    _, _, wrapped, _, segment_bytes = HEAD.unpack(file[: HEAD.size])
    suite = CipherSuite.new(KEMId.DHKEM_X25519_HKDF_SHA256, KDFId.HKDF_SHA256, AEADId.AES256_GCM)
    private = suite.kem.deserialize_private_key(KEY.secret.reveal())
    context = suite.create_recipient_context(wrapped[:32], private, b"callvault sealed export v1")
    key = context.open(wrapped[32:])
    aad = length_prefixed(b"callvault sealed export v1", file[: HEAD.size])
    stream = file[HEAD.size : -TAIL.size]
    assert tink_open(key, segment_bytes, stream, aad) == content


def test_what_an_independent_writer_of_hpke_sealed_opens() -> None:
    suite = CipherSuite.new(KEMId.DHKEM_X25519_HKDF_SHA256, KDFId.HKDF_SHA256, AEADId.AES256_GCM)
    public = suite.kem.deserialize_public_key(KEY.recipient.raw)
    encapsulated, context = suite.create_sender_context(public, b"callvault sealed export v1")
    assert KEY.unwrap(encapsulated + context.seal(b"k" * 32)).reveal() == b"k" * 32


@settings(max_examples=30)
@given(some.binary(max_size=5000), some.lists(some.integers(1, 900), max_size=8))
def test_a_stream_by_pieces_is_the_slice_of_the_whole(content: bytes, cuts: list[int]) -> None:
    def parts() -> Iterator[bytes]:
        at = 0
        for cut in cuts:
            yield content[at : at + cut]
            at += cut
        yield content[at:]

    key, salt, prefix = Secret(b"k" * 32), b"s" * 32, b"p" * 7
    how = {"segment_bytes": 1024, "salt": salt, "nonce_prefix": prefix}
    assert b"".join(seal_parts(key, parts(), b"aad", **how)) == seal(key, content, b"aad", **how)  # type: ignore[arg-type]


def test_keys_are_lines_of_text() -> None:
    assert RecipientKey.parse(KEY.text() + "\n").recipient == KEY.recipient
    assert Recipient.parse(str(KEY.recipient)) == KEY.recipient
    assert KEY.secret.reveal().hex() not in repr(KEY) + repr(KEY.recipient)
    for wrong in ("", "cvx1-public-00", KEY.text(), "cvx1-public-" + "0" * 64, "cvx1-public-01" + "0" * 62):
        with pytest.raises(Malformed):
            Recipient.parse(wrong)
        with pytest.raises(Refused):
            recipient_of(wrong)
    with pytest.raises(Malformed):
        RecipientKey.parse(str(KEY.recipient))
