"""Playback: any byte range is the same bytes as in the whole file, and a seek opens one segment."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import pytest

from gateway.playback import Manner, Wav
from media.codecs import g711
from storage.errors import NotFound
from storage.model import CallId, TenantId, new_id
from tests.gateway.store import opened, recorded

SECONDS = 90.0


def test_a_seek_opens_one_segment_of_a_long_call(tmp_path: Path) -> None:
    with opened(tmp_path) as recordings:
        tenant = recordings.tenant("acme")
        call, payload = recorded(tmp_path, recordings, tenant, SECONDS)
        pcm = g711.decode_alaw(payload)
        second = 2 * 8000
        with Wav.open(recordings, tenant, call) as wav:
            assert wav.size == 44 + 2 * len(pcm)
            middle = 44 + 30 * second  # 240,000 octets of A-law: the middle of the fourth segment of 64 KiB
            part = b"".join(wav.read(middle, middle + second))
            assert np.array_equal(np.frombuffer(part, "<i2"), pcm[30 * 8000 : 31 * 8000])
            assert sum(track.stream.segments_opened for track in wav.tracks) == 1


def test_every_range_is_that_part_of_the_whole(tmp_path: Path) -> None:
    with opened(tmp_path) as recordings:
        tenant = recordings.tenant("acme")
        call, _ = recorded(tmp_path, recordings, tenant, 12.0)
        with Wav.open(recordings, tenant, call) as wav:
            whole = b"".join(wav.read(0, wav.size))
            assert len(whole) == wav.size
            chance = np.random.default_rng(3)
            for _ in range(50):
                start, end = sorted(int(n) for n in chance.integers(0, wav.size + 1, 2))
                assert b"".join(wav.read(start, end)) == whole[start:end]


def test_what_is_made_up_is_marked_behind_samples_that_lie_where_they_do_without(tmp_path: Path) -> None:
    with opened(tmp_path) as recordings:
        tenant = recordings.tenant("acme")
        call, payload = recorded(tmp_path, recordings, tenant, 12.0, lost={100, 200, 201, *range(300, 310)})
        with Wav.open(recordings, tenant, call) as wav:
            plain, tag, size = b"".join(wav.read(0, wav.size)), wav.etag, wav.size
            assert not wav.conceals
            assert wav.tracks[0].concealed == [(2_000_000, 2_020_000), (4_000_000, 4_040_000)]
        with Wav.open(recordings, tenant, call, how=Manner(conceal=True)) as wav:
            assert wav.conceals and wav.etag != tag
            whole = b"".join(wav.read(0, wav.size))
            assert len(whole) == wav.size > size
            points = struct.iter_unpack("<II4sIII", whole[size + 12 :][: 2 * 24])
            assert [at for _, at, *_ in points] == [16_000, 32_000]
            pcm = g711.decode_alaw(payload)
            heard, silent = (np.frombuffer(data[44:size], "<i2") for data in (whole, plain))
            changed = np.flatnonzero(heard != silent)
            assert set(changed.tolist()) <= {*range(16_000, 16_160), *range(32_000, 32_320)}
            assert len(changed) > 300
            assert np.array_equal(silent[:16_000], pcm[:16_000])
            chance = np.random.default_rng(3)
            for _ in range(20):
                start, end = sorted(int(n) for n in chance.integers(wav.size - 400, wav.size + 1, 2))
                assert b"".join(wav.read(start, end)) == whole[start:end]


def test_a_track_that_is_not_there_and_a_call_of_another_tenant_are_not_found(tmp_path: Path) -> None:
    with opened(tmp_path) as recordings:
        tenant = recordings.tenant("acme")
        call, _ = recorded(tmp_path, recordings, tenant, 1.0)
        for who, which, only in (
            (tenant, call, 1),
            (recordings.tenant("beta"), call, None),
            (tenant, CallId(new_id()), None),
            (TenantId(new_id()), call, None),
        ):
            with pytest.raises(NotFound):
                Wav.open(recordings, who, which, only)


def test_the_senders_silence_sounds_unless_only_what_was_received_is_wanted(tmp_path: Path) -> None:
    with opened(tmp_path) as recordings:
        tenant = recordings.tenant("acme")
        call, payload = recorded(tmp_path, recordings, tenant, 2.0, noise_db=48)
        tags, sounds = [], []
        for comfort_noise in (True, False):
            with Wav.open(recordings, tenant, call, how=Manner(comfort_noise)) as wav:
                tags.append(wav.etag)
                sounds.append(np.frombuffer(b"".join(wav.read(44, wav.size)), "<i2"))
                part = b"".join(wav.read(44 + 30_000, 44 + 50_001))
                assert part == sounds[-1].tobytes()[30_000:50_001]
        with_noise, without = sounds
        speech = g711.decode_alaw(payload)
        assert len(with_noise) == len(without) == len(speech) + 16_000
        assert np.array_equal(with_noise[: len(speech)], speech)
        assert np.array_equal(without[: len(speech)], speech)
        assert not without[len(speech) :].any()
        assert 100 < with_noise[len(speech) :].astype(np.float64).std() < 160  # 10 ** (-48 / 20) of full scale is 130
        assert tags[0] != tags[1]
