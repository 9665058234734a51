"""Slices: Tink reads ours, we read Tink's, and what is wrong with one is told apart."""

from __future__ import annotations

import io
import os
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from hashlib import sha256
from typing import Protocol, cast

import pytest
import tink
from hypothesis import given, settings
from hypothesis import strategies as st
from tink import cleartext_keyset_handle, streaming_aead
from tink.proto import aes_gcm_hkdf_streaming_pb2, common_pb2, tink_pb2

from storage.envelope import (
    HEADER_BYTES,
    SEGMENT_BYTES,
    SliceReader,
    associated_data,
    check_commitment,
    commitment,
    inspect,
    open_slice,
    plain_size,
    salt_for,
    seal,
    sealed_size,
)
from storage.errors import Malformed, Swapped, Tampered, Truncated, WrongKey
from storage.model import ArtefactId, CallId, Kind, ParticipantId, Secret, new_id
from storage.slices import IndexEntry, SliceIndex, open_index, seal_index
from tests.storage.spooling import make_ref

SIZES = (1024, 4096, SEGMENT_BYTES, 1 << 20)
STREAM_ID = "00112233445566778899aabbccddeeff"


class Tink(Protocol):
    """What these tests use of Tink's StreamingAead, which has no types."""

    def new_decrypting_stream(self, ciphertext_source: io.BytesIO, associated_data: bytes) -> io.RawIOBase: ...

    def new_encrypting_stream(self, ciphertext_destination: io.BytesIO, associated_data: bytes) -> io.RawIOBase: ...


@cache
def tink_primitive(key: bytes, segment_bytes: int) -> Tink:
    """Tink's own implementation under our key."""
    streaming_aead.register()
    params = aes_gcm_hkdf_streaming_pb2.AesGcmHkdfStreamingParams(
        ciphertext_segment_size=segment_bytes, derived_key_size=32, hkdf_hash_type=common_pb2.SHA256
    )
    value = aes_gcm_hkdf_streaming_pb2.AesGcmHkdfStreamingKey(version=0, key_value=key, params=params)
    data = tink_pb2.KeyData(
        type_url="type.googleapis.com/google.crypto.tink.AesGcmHkdfStreamingKey",
        value=value.SerializeToString(),
        key_material_type=tink_pb2.KeyData.SYMMETRIC,
    )
    entry = tink_pb2.Keyset.Key(key_data=data, status=tink_pb2.ENABLED, key_id=1, output_prefix_type=tink_pb2.RAW)
    keyset = tink_pb2.Keyset(primary_key_id=1, key=[entry])
    handle = cleartext_keyset_handle.read(tink.BinaryKeysetReader(keyset.SerializeToString()))
    return cast("Tink", handle.primitive(streaming_aead.StreamingAead))


def tink_open(key: bytes, segment_bytes: int, sealed: bytes, aad: bytes) -> bytes:
    stream = tink_primitive(key, segment_bytes).new_decrypting_stream(io.BytesIO(sealed), aad)
    return cast("bytes", stream.read())


def tink_seal(key: bytes, segment_bytes: int, plain: bytes, aad: bytes) -> bytes:
    class Kept(io.BytesIO):
        def close(self) -> None:
            """Tink closes what it writes to; its bytes are wanted afterwards."""

    out = Kept()
    with tink_primitive(key, segment_bytes).new_encrypting_stream(out, aad) as stream:
        stream.write(plain)
    return out.getvalue()


def border_sizes(segment_bytes: int) -> list[int]:
    """Nothing, one byte, and plaintexts that end just before, on and after the borders of segments."""
    first, step = segment_bytes - 56, segment_bytes - 16
    borders = (first, first + step, first + 3 * step)
    return [0, 1, *(border + change for border in borders for change in (-1, 0, 1))]


CASES = [(segment, size) for segment in SIZES for size in border_sizes(segment)]


def sealed_with(key: Secret, plain: bytes, aad: bytes, segment_bytes: int = 4096) -> bytes:
    salt = salt_for(STREAM_ID, os.urandom(16))
    return seal(key, plain, aad, segment_bytes=segment_bytes, salt=salt, nonce_prefix=os.urandom(7))


def reader_of(key: Secret, sealed: bytes, aad: bytes, segment_bytes: int) -> SliceReader:
    fetch: Callable[[int, int], bytes] = lambda start, end: sealed[start:end]  # noqa: E731
    return SliceReader(key, sealed[:HEADER_BYTES], len(sealed), aad, fetch, segment_bytes=segment_bytes)


@pytest.mark.parametrize(("segment_bytes", "size"), CASES)
def test_tink_reads_our_slices(segment_bytes: int, size: int) -> None:
    key, plain = os.urandom(32), os.urandom(size)
    sealed = sealed_with(Secret(key), plain, b"for whom", segment_bytes)
    assert tink_open(key, segment_bytes, sealed, b"for whom") == plain
    assert len(sealed) == sealed_size(size, segment_bytes)


@pytest.mark.parametrize(("segment_bytes", "size"), CASES)
def test_we_read_tinks_slices(segment_bytes: int, size: int) -> None:
    key, plain = os.urandom(32), os.urandom(size)
    sealed = tink_seal(key, segment_bytes, plain, b"for whom")
    reader = reader_of(Secret(key), sealed, b"for whom", segment_bytes)
    assert reader.size == size == plain_size(len(sealed), segment_bytes)
    assert reader.read(0, size) == plain
    header, digest = sealed[:HEADER_BYTES], sha256(sealed).digest()
    opened = open_slice(
        Secret(key), sealed, b"for whom", segment_bytes=segment_bytes, header=header, size=len(sealed), digest=digest
    )
    assert opened == plain


@settings(max_examples=60, deadline=None)
@given(size=st.integers(0, 9000), start=st.integers(-10, 9100), length=st.integers(0, 9100))
def test_any_range_reads_what_was_sealed(size: int, start: int, length: int) -> None:
    key, plain = Secret(os.urandom(32)), os.urandom(size)
    reader = reader_of(key, sealed_with(key, plain, b"", 1024), b"", 1024)
    assert reader.read(start, start + length) == plain[max(start, 0) : max(start + length, 0)]


def test_seek_opens_one_segment_and_reading_on_opens_each_once() -> None:
    key, plain = Secret(os.urandom(32)), os.urandom(1 << 20)
    sealed = sealed_with(key, plain, b"", SEGMENT_BYTES)
    fetched: list[tuple[int, int]] = []

    def fetch(start: int, end: int) -> bytes:
        fetched.append((start, end))
        return sealed[start:end]

    reader = SliceReader(key, sealed[:HEADER_BYTES], len(sealed), b"", fetch)
    assert reader.read(700_000, 702_000) == plain[700_000:702_000]
    assert reader.segments_opened == len(fetched) == 1
    assert fetched[0][1] - fetched[0][0] == SEGMENT_BYTES
    reader = SliceReader(key, sealed[:HEADER_BYTES], len(sealed), b"", fetch)
    assert b"".join(reader.read(at, at + 2_000) for at in range(0, len(plain), 2_000)) == plain
    assert reader.segments_opened == -(-len(sealed) // SEGMENT_BYTES)


def test_commitment_tells_the_wrong_key_before_anything_else() -> None:
    key = Secret(os.urandom(32))
    check_commitment(key, commitment(key))
    with pytest.raises(WrongKey):
        check_commitment(Secret(os.urandom(32)), commitment(key))
    assert key.reveal() not in commitment(key)


def flip(raw: bytes, at: int) -> bytes:
    return raw[:at] + bytes([raw[at] ^ 1]) + raw[at + 1 :]


def reorder(raw: bytes) -> bytes:
    return raw[:4096] + raw[8192:12288] + raw[4096:8192] + raw[12288:]


SPOILED: list[tuple[str, Callable[[bytes, bytes], bytes], type[Exception]]] = [
    ("cut by a byte", lambda mine, other: mine[:-1], Truncated),
    ("cut at a segment's border", lambda mine, other: mine[:8192], Truncated),
    ("cut within the header", lambda mine, other: mine[:20], Truncated),
    ("gone", lambda mine, other: b"", Truncated),
    ("longer", lambda mine, other: mine + b"\0", Tampered),
    ("a bit of the first segment flipped", lambda mine, other: flip(mine, 50), Tampered),
    ("a bit of a tag flipped", lambda mine, other: flip(mine, len(mine) - 1), Tampered),
    ("a bit of the length byte flipped", lambda mine, other: flip(mine, 0), Tampered),
    ("a bit of the salt flipped", lambda mine, other: flip(mine, 20), Tampered),
    ("a bit of the nonce prefix flipped", lambda mine, other: flip(mine, 35), Tampered),
    ("segments in another order", lambda mine, other: reorder(mine), Tampered),
    ("another slice of the same length", lambda mine, other: other, Swapped),
    ("another slice, cut", lambda mine, other: other[:5000], Swapped),
]


@pytest.mark.parametrize(("how", "spoil", "expected"), SPOILED, ids=[row[0] for row in SPOILED])
def test_what_is_wrong_with_a_slice_is_told_apart(
    how: str, spoil: Callable[[bytes, bytes], bytes], expected: type[Exception]
) -> None:
    key, ref = Secret(os.urandom(32)), make_ref()
    aad = associated_data(ref, 0, STREAM_ID, 4096)
    mine = sealed_with(key, os.urandom(20_000), aad)
    salt = salt_for(new_id(), os.urandom(16))
    other = seal(key, os.urandom(20_000), aad, segment_bytes=4096, salt=salt, nonce_prefix=os.urandom(7))
    header, size, digest = mine[:HEADER_BYTES], len(mine), sha256(mine).digest()
    inspect(mine, header=header, size=size, digest=digest)
    with pytest.raises(expected):
        inspect(spoil(mine, other), header=header, size=size, digest=digest)
    with pytest.raises(expected):
        open_slice(key, spoil(mine, other), aad, segment_bytes=4096, header=header, size=size, digest=digest)


@pytest.mark.parametrize(("how", "spoil", "expected"), SPOILED, ids=[row[0] for row in SPOILED])
def test_reading_a_range_never_returns_spoiled_bytes(
    how: str, spoil: Callable[[bytes, bytes], bytes], expected: type[Exception]
) -> None:
    key, plain = Secret(os.urandom(32)), os.urandom(20_000)
    mine = sealed_with(key, plain, b"")
    salt = salt_for(new_id(), os.urandom(16))
    other = seal(key, os.urandom(20_000), b"", segment_bytes=4096, salt=salt, nonce_prefix=os.urandom(7))
    spoiled = spoil(mine, other)

    def fetch(start: int, end: int) -> bytes:
        return spoiled[start:end]

    refused = set()
    for at in range(0, len(plain), 1000):
        reader = SliceReader(key, mine[:HEADER_BYTES], len(mine), b"", fetch, segment_bytes=4096)
        try:
            assert reader.read(at, at + 1000) == plain[at : at + 1000]
        except (Tampered, Truncated, Swapped) as error:
            refused.add(type(error))
    header_only = how.startswith(("a bit of the length", "a bit of the salt", "a bit of the nonce"))
    if how == "longer" or header_only:
        assert refused == set(), "the index's header is used, the rest is ours"
    else:
        assert refused <= {expected, Truncated}
        assert refused != set()


@pytest.mark.parametrize(
    "what", ["tenant", "call", "participant", "artefact", "kind", "purpose", "slice", "stream", "S"]
)
def test_slice_sealed_for_another_place_is_swapped(what: str) -> None:
    key, ref = Secret(os.urandom(32)), make_ref()
    aad = associated_data(ref, 3, STREAM_ID, 4096)
    changed = {
        "tenant": associated_data(make_ref(), 3, STREAM_ID, 4096),
        "call": associated_data(replace(ref, call=CallId(new_id())), 3, STREAM_ID, 4096),
        "participant": associated_data(replace(ref, participant=ParticipantId(new_id())), 3, STREAM_ID, 4096),
        "artefact": associated_data(replace(ref, artefact=ArtefactId(new_id())), 3, STREAM_ID, 4096),
        "kind": associated_data(replace(ref, kind=Kind.VOICEMAIL), 3, STREAM_ID, 4096),
        "purpose": associated_data(replace(ref, purpose="other"), 3, STREAM_ID, 4096),
        "slice": associated_data(ref, 4, STREAM_ID, 4096),
        "stream": associated_data(ref, 3, new_id(), 4096),
        "S": associated_data(ref, 3, STREAM_ID, 4097),
    }[what]
    sealed = sealed_with(key, b"audio", aad)

    def opened_as(place: bytes) -> bytes:
        header, digest = sealed[:HEADER_BYTES], sha256(sealed).digest()
        return open_slice(key, sealed, place, segment_bytes=4096, header=header, size=len(sealed), digest=digest)

    assert opened_as(aad) == b"audio"
    with pytest.raises(Swapped):
        opened_as(changed)


def test_two_sealings_of_the_same_data_have_nothing_in_common() -> None:
    key = Secret(os.urandom(32))
    one, two = (sealed_with(key, bytes(5000), b"") for _ in range(2))
    assert one[:17] == two[:17], "length byte and stream id"
    assert not {one[at : at + 16] for at in range(17, len(one) - 16)} & {
        two[at : at + 16] for at in range(17, len(two) - 16)
    }


@pytest.mark.parametrize("size", [0, 1, 39, 55, 4096 + 16, 2 * 4096 + 1])
def test_length_that_no_slice_has_is_malformed(size: int) -> None:
    with pytest.raises(Malformed):
        plain_size(size, 4096)


@pytest.mark.parametrize("segment_bytes", [0, 16, 1023, (1 << 20) + 1])
def test_segment_size_out_of_bounds_is_malformed(segment_bytes: int) -> None:
    with pytest.raises(Malformed):
        sealed_with(Secret(bytes(32)), b"", b"", segment_bytes)
    with pytest.raises(Malformed):
        reader_of(Secret(bytes(32)), bytes([40]) + bytes(55), b"", segment_bytes)


@settings(max_examples=30, deadline=None)
@given(
    st.lists(
        st.builds(
            IndexEntry,
            st.integers(-(2**63), 2**63 - 1),
            st.integers(-(2**63), 2**63 - 1),
            st.integers(0, 2**32 - 1),
            st.integers(0, 2**32 - 1),
        ),
        max_size=20,
    )
)
def test_index_opens_to_what_was_sealed(entries: list[IndexEntry]) -> None:
    key, index = Secret(os.urandom(32)), SliceIndex(os.urandom(HEADER_BYTES), tuple(entries))
    sealed = seal_index(key, STREAM_ID, b"aad", index, os.urandom(12))
    assert open_index(key, STREAM_ID, b"aad", sealed) == index


@pytest.mark.parametrize("size", [0, 5, 12, 27, 67])
def test_index_that_is_cut_changed_or_moved_is_tampered(size: int) -> None:
    key, index = Secret(os.urandom(32)), SliceIndex(bytes(HEADER_BYTES), (IndexEntry(0, 1, 0, 5),))
    sealed = seal_index(key, STREAM_ID, b"aad", index, os.urandom(12))
    attempts = [(key, STREAM_ID, b"aad", sealed[:size]), (key, STREAM_ID, b"aad", flip(sealed, size))]
    attempts += [(key, STREAM_ID, b"other", sealed), (key, new_id(), b"aad", sealed)]
    for attempt in attempts:
        with pytest.raises(Tampered):
            open_index(*attempt)
