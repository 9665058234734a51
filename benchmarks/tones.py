"""How surely keys' tones are found (ITU-T Q.24) in each codec, and how often voices are taken for them (talk-off).

    python -m benchmarks.tones                              # Q.24's table, in half a minute
    python -m benchmarks.tones --speech FOLDER --skip GLOB  # talk-off, over every sound file below a folder

What is found is what is silenced, so a key that is missed would be kept, and a voice that is taken for one is lost
for a tenth of a second. The detector's bounds were set on other speech than a run should judge it by: see README.md.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from fnmatch import fnmatch
from itertools import pairwise
from pathlib import Path

import av
import numpy as np
from av.audio.frame import AudioFrame
from av.audio.resampler import AudioResampler

from benchmarks import report
from benchmarks.keytones import PEAK_0_DBM0, silence, tone
from benchmarks.machine import describe
from media.codecs import G722, OPUS, PCMA, Codec, Plain, Stateful
from media.codecs.g711 import Samples
from media.ears import WIDE_HZ, halved, narrowed
from media.resample import upsampled
from media.tones import CELL_SAMPLES, KEYS, RATE_HZ, find

CODECS: tuple[Codec, ...] = (PCMA, G722, OPUS)
PART_S = 300  # coded and decoded at once
STARTS_MS = range(0, 20, 3)
SOUNDS = ("*.wav", "*.g722", "*.gsm", "*.ogg", "*.mp3", "*.flac")
SEED = 24


@dataclass(frozen=True, slots=True)
class Line:
    """A key as some sender makes it."""

    what: str
    ms: float = 40
    level_dbm0: float = -10
    twist_db: float = 0
    off: float = 0
    snr_db: float | None = None


LINES = (
    Line("40 ms, nominal"),
    Line("40 ms at -25 dBm0", level_dbm0=-25),
    Line("40 ms at -36 dBm0", level_dbm0=-36),
    Line("1.5 % high, twist +4 dB", off=0.015, twist_db=4),
    Line("1.5 % low, twist -8 dB", off=-0.015, twist_db=-8),
    Line("white noise 15 dB below", snr_db=15),
    Line("white noise 12 dB below", snr_db=12),
    Line("3.5 % high: to be left alone", off=0.035),
    Line("3.5 % low: to be left alone", off=-0.035),
    Line("23 ms: to be left alone", ms=23),
)


def through(codec: Codec, wide: Samples) -> Samples:
    """16 kHz samples as the detector gets them out of a codec, at 8 kHz."""
    if isinstance(codec, Plain):
        return codec.decode(codec.encode(halved(wide)))
    assert isinstance(codec, Stateful), "there is no third kind"
    decoder = codec.decoder()
    payloads = codec.packets(upsampled(wide, codec.sample_hz // WIDE_HZ), 20)
    return halved(narrowed(np.concatenate([decoder.decode(payload) for payload in payloads]), codec.sample_hz))


def cells(samples: Samples) -> Samples:
    return samples[: len(samples) // CELL_SAMPLES * CELL_SAMPLES].reshape(-1, CELL_SAMPLES)


def found_of(line: Line, codec: Codec) -> float:
    """The share of all keys, wherever they begin, that are found."""
    chance, found = np.random.default_rng(SEED), 0
    for key in "".join(KEYS):
        for start_ms in STARTS_MS:
            made = tone(key, line.ms, line.level_dbm0, twist_db=line.twist_db, off=line.off)
            samples = np.concatenate((silence(60 + start_ms), made, silence(80))).astype(np.float64)
            if line.snr_db is not None:
                rms = PEAK_0_DBM0 / 2**0.5 * 10 ** ((line.level_dbm0 - line.snr_db) / 20)
                samples += chance.normal(0, rms, len(samples))
            wide = upsampled(samples.clip(-32_768, 32_767).astype(np.int16), WIDE_HZ // RATE_HZ)
            told = find(cells(through(codec, wide))).keys.tolist()
            found += KEYS[told[0] // 4][told[0] % 4] == key if told else 0
    return found / (len("".join(KEYS)) * len(STARTS_MS))


def sounds(folder: Path, skip: Sequence[str]) -> Iterator[tuple[Path, Samples]]:
    """Every sound file below a folder at 16 kHz; what cannot be read is left out."""
    for path in sorted(path for kind in SOUNDS for path in folder.rglob(kind)):
        if any(fnmatch(str(path), pattern) for pattern in skip):
            continue
        try:
            with av.open(
                str(path), "r", format="g722" if path.suffix == ".g722" else None, metadata_errors="ignore"
            ) as file:
                resampler = AudioResampler(format="s16", layout="mono", rate=WIDE_HZ)
                frames = [frame for decoded in file.decode(audio=0) for frame in resampler.resample(decoded)]
        except (av.FFmpegError, IndexError):
            continue
        if frames:
            yield path, np.concatenate([_samples(frame) for frame in frames])


def _samples(frame: AudioFrame) -> Samples:
    return np.asarray(frame.to_ndarray(), np.int16).reshape(-1)


def talk_off(folder: Path, skip: Sequence[str], show: Callable[[str], object]) -> dict[str, object]:
    """How many keys are found where there are none, in each codec."""
    clips = list(sounds(folder, skip))
    hours = sum(len(samples) for _, samples in clips) / WIDE_HZ / 3600
    figures: dict[str, object] = {"files": len(clips), "hours": round(hours, 2)}
    joined = np.concatenate([samples for _, samples in clips] + [np.zeros(WIDE_HZ, np.int16)])
    joined = joined[: len(joined) // WIDE_HZ * WIDE_HZ]
    names, starts = [path for path, _ in clips], np.cumsum([0, *(len(samples) for _, samples in clips)]) / WIDE_HZ
    for codec in CODECS:
        false, part = list[float](), PART_S * WIDE_HZ
        for at in range(0, len(joined), part):
            told = find(cells(through(codec, joined[at : at + part]))).cells.tolist()
            begun = [cell for before, cell in pairwise([-2, *told]) if cell > before + 1]
            false += [at / WIDE_HZ + cell * CELL_SAMPLES / RATE_HZ for cell in begun]
        figures[codec.name] = {"false": len(false), "false_an_hour": round(len(false) / hours, 2)}
        for at_s in false:
            show(f"{codec.name}: {names[int(np.searchsorted(starts, at_s, side='right')) - 1]}")
    return figures


def parse(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """The options."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.tones", description="How surely keys' tones are found, and voices left alone."
    )
    parser.add_argument("--speech", type=Path, help="folder with sound files of speech alone")
    parser.add_argument("--skip", action="append", default=[], help="files whose path matches are no speech")
    parser.add_argument("--json", type=Path)
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> None:
    """Print the figures, and write them where that is wanted."""
    given = parse(argv)
    machine = describe()
    print(report.heading("Keys' tones", machine))
    figures: dict[str, object] = {"machine": machine}
    if given.speech is not None:
        figures["talk_off"] = talk_off(given.speech, given.skip, print)
        print(figures["talk_off"])
    else:
        rows = [[line.what, *(round(found_of(line, codec), 3) for codec in CODECS)] for line in LINES]
        figures["found"] = {str(row[0]): dict(zip([c.name for c in CODECS], row[1:], strict=True)) for row in rows}
        print(report.table(["share found", *(codec.name for codec in CODECS)], rows))
    report.write(given.json, figures)


if __name__ == "__main__":
    main()
