"""The recipient's side of an export: a key pair, and opening and checking what was sealed for it. Needs no server."""

from __future__ import annotations

import argparse
import hashlib
import os
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO, BinaryIO

from storage.errors import Malformed, StoreError, Tampered
from storage.exports import INDEX_BYTES_MAX, check_file, parse_index
from storage.sealedexport import READ_BYTES, RecipientKey, opened


def make_key(arguments: argparse.Namespace) -> int:
    """Make a recipient's key: the private one into a file of its own, the public one to standard output."""
    key = RecipientKey.fresh()
    try:
        descriptor = os.open(arguments.file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w") as file:
            file.write(key.text() + "\n")
    except OSError as error:
        return _fail(str(error))
    sys.stdout.write(f"{key.recipient}\n")
    return 0


def open_export(arguments: argparse.Namespace) -> int:
    """Open a sealed export with its key, and check every file of it against the signed index."""
    try:
        if arguments.key is not None:
            key = RecipientKey.parse(arguments.key.read_text())
            if arguments.output is None:
                return _fail("say where the opened export goes: --output FILE")
            _open(arguments.file, key, arguments.output)
            sys.stdout.write(f"opened: {arguments.output}\n")
        whole = arguments.file if arguments.key is None else arguments.output
        if arguments.fingerprint is not None:
            sys.stdout.write(f"verified: {_verify(whole, arguments.fingerprint)} files\n")
        elif arguments.key is None:
            return _fail("say what to do: --key to open it, --fingerprint to check it")
    except (OSError, StoreError, UnicodeDecodeError) as error:
        return _fail(f"not opened: {error}" if str(error) else "not opened")
    return 0


def _open(path: Path, key: RecipientKey, output: Path) -> None:
    """Writes beside its place first: what is not whole never stands there."""
    part = output.with_name(output.name + ".part")
    try:
        with path.open("rb") as file, part.open("xb") as target:
            part.chmod(0o600)
            for piece in opened(key, path.stat().st_size, lambda start, end: _read(file, start, end)):
                target.write(piece)
        part.replace(output)
    except BaseException:
        part.unlink(missing_ok=True)
        raise


def _verify(path: Path, fingerprint: str) -> int:
    """How many files there are, each as the index says and none besides; DataError."""
    try:
        with zipfile.ZipFile(path) as archive:
            names = [name for name in archive.namelist() if name != "index.json"]
            with archive.open("index.json") as file:
                index = parse_index(file.read(INDEX_BYTES_MAX + 1), fingerprint)
            for name in names:
                digest, size = hashlib.sha256(), 0
                with archive.open(name) as file:
                    for piece in _pieces(file):
                        digest.update(piece)
                        size += len(piece)
                check_file(index, name, size, digest.hexdigest())
    except (zipfile.BadZipFile, KeyError) as error:
        raise Malformed("not a whole export") from error
    if len(set(names)) != len(names) or {entry["name"] for entry in index["files"]} != set(names):
        raise Tampered("a file of the index is not there, or one twice")
    return len(names)


def _pieces(file: IO[bytes]) -> Iterator[bytes]:
    while piece := file.read(READ_BYTES):
        yield piece


def _read(file: BinaryIO, start: int, end: int) -> bytes:
    file.seek(start)
    return file.read(max(0, end - start))


def _fail(text: str) -> int:
    sys.stderr.write(f"callvault: {text}\n")
    return 1
