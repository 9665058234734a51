"""Objects as files of one folder, for one machine: `file:/absolute/folder`.

An object is written under `.incoming`, synced, linked to its name (a link never replaces) and the folders synced.
"""

from __future__ import annotations

import os
import secrets
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from storage.errors import AlreadyExists, Malformed, NotFound, Unavailable
from storage.objects.names import ObjectInfo, check_name, check_prefix, is_name
from storage.objects.outcomes import Finding, Kept, Purged

_INCOMING = ".incoming"
_LEFTOVER_S = 3600
"""An incoming file of that age belongs to a writer that died: no put lasts an hour."""
_RACES_MAX = 16
"""How often a put makes its folders again because a delete swept them in between."""

_OPEN_FOLDER = Finding(
    "store-open-folder",
    "the object folder is open to other users: they see who was recorded when; chmod 700 mends it",
)


class FolderStore:
    """An `ObjectStore` in a folder that nobody else writes to. Folders are made 0700, files 0600."""

    def __init__(self, root: Path) -> None:
        self._root = root

    @classmethod
    def from_url(cls, url: str) -> FolderStore:
        """The store of `file:/absolute/folder`; `Malformed` for any other form."""
        path = url.removeprefix("file:").removeprefix("//")
        if not url.startswith("file:") or not path.startswith("/"):
            raise Malformed("a folder store is written file:/absolute/folder")
        return cls(Path(path))

    def put(self, name: str, data: bytes) -> None:
        """See `ObjectStore.put`."""
        final = self._root / check_name(name)
        with _translated("put"):
            incoming = self._root / _INCOMING / secrets.token_hex(16)
            self._make_folders(incoming.parent)
            try:
                _write(incoming, data)
                self._link(incoming, final)
            finally:
                incoming.unlink(missing_ok=True)
            _sync(final.parent)

    def get(self, name: str, start: int = 0, length: int | None = None) -> bytes:
        """See `ObjectStore.get`."""
        path = self._root / check_name(name)
        with _translated("get"):
            try:
                with path.open("rb", buffering=0) as file:
                    size = os.fstat(file.fileno()).st_size
                    wanted = size - start if length is None else min(length, size - start)
                    return os.pread(file.fileno(), max(wanted, 0), start)
            except (FileNotFoundError, IsADirectoryError):
                raise NotFound("no such object") from None

    def size(self, name: str) -> int | None:
        """How many bytes an object has; None if there is none."""
        with _translated("get"):
            try:
                return (self._root / check_name(name)).stat().st_size
            except (FileNotFoundError, NotADirectoryError):
                return None

    def link(self, name: str, other: FolderStore) -> bool:
        """Gives an object to another folder by a link; False if they are on two disks. `NotFound`, `AlreadyExists`."""
        source, final = self._root / check_name(name), other._root / name
        with _translated("link"):
            if not source.is_file():
                raise NotFound("no such object")
            other._make_folders(other._root)
            if source.stat().st_dev != other._root.stat().st_dev:
                return False
            other._link(source, final)
            _sync(final.parent)
        return True

    def delete(self, name: str) -> Sequence[Kept]:
        """See `ObjectStore.delete`. Folders left empty go too."""
        path = self._root / check_name(name)
        with _translated("delete"):
            try:
                path.unlink()
            except (FileNotFoundError, IsADirectoryError):
                return []
            _sync(path.parent)
            with suppress(OSError):
                for folder in path.parents:
                    if folder == self._root:
                        break
                    folder.rmdir()
        return []

    def purge(self, prefix: str) -> Purged:
        """See `ObjectStore.purge`. Of unfinished puts nothing can be told apart; `check` sweeps them."""
        names = [info.name for info in self.list(prefix)]
        for name in names:
            self.delete(name)
        return Purged(len(names), [])

    def list(self, prefix: str = "") -> Iterator[ObjectInfo]:
        """See `ObjectStore.list`."""
        folder, _, beginning = check_prefix(prefix).rpartition("/")
        yield from (found for found in self._walk(self._root / folder, beginning) if is_name(found.name))

    def versions(self, prefix: str) -> Iterator[tuple[str, str]]:
        """See `ObjectStore.versions`. A folder has one version of each."""
        yield from ((found.name, "") for found in self.list(prefix))

    def get_version(self, name: str, version: str) -> bytes:
        """See `ObjectStore.get_version`."""
        return self.get(name)

    def foreign(self) -> Iterator[ObjectInfo]:
        """See `ObjectStore.foreign`."""
        yield from (found for found in self._walk(self._root, "") if not is_name(found.name))

    def check(self) -> None:
        """See `ObjectStore.check`. Also sweeps what dead writers left behind."""
        incoming = self._root / _INCOMING
        try:
            self._make_folders(incoming)
            probe = incoming / secrets.token_hex(16)
            _write(probe, b"probe")
            probe.unlink()
            for leftover in incoming.iterdir():
                with suppress(FileNotFoundError):
                    if leftover.stat().st_mtime < time.time() - _LEFTOVER_S:
                        leftover.unlink()
        except OSError as error:
            mend = "make it a folder that this user may write to, on a disk with room"
            raise Unavailable(f"object folder {self._root}: {error.strerror}; {mend}") from error

    def examine(self) -> Sequence[Finding]:
        """See `ObjectStore.examine`."""
        try:
            self.check()
            mode = self._root.stat().st_mode
        except Unavailable as error:
            return [Finding("store-unusable", str(error), refuse=True)]
        except OSError as error:
            return [Finding("store-unusable", f"object folder {self._root}: {error.strerror}", refuse=True)]
        return [_OPEN_FOLDER] if mode & 0o077 else []

    def _link(self, incoming: Path, final: Path) -> None:
        for _ in range(_RACES_MAX):
            self._make_folders(final.parent)
            try:
                final.hardlink_to(incoming)
            except FileNotFoundError:
                continue  # a delete took the folder away again
            except FileExistsError:
                raise AlreadyExists("an object has that name already") from None
            return
        raise Unavailable("the object's folder is taken away again and again")

    def _make_folders(self, folder: Path) -> None:
        """`folder` and all above it down from the root, each durable."""
        missing = []
        while not folder.is_dir():
            missing.append(folder)
            folder = folder.parent
        for made in reversed(missing):
            with suppress(FileExistsError, FileNotFoundError):  # another made it, or swept what is above: see `_link`
                made.mkdir(mode=0o700)
                _sync(made.parent)

    def _walk(self, folder: Path, beginning: str) -> Iterator[ObjectInfo]:
        with _translated("list"):
            try:
                entries = list(os.scandir(folder))
            except (FileNotFoundError, NotADirectoryError):
                return
        for entry in entries:
            if entry.name == _INCOMING or not entry.name.startswith(beginning):
                continue
            if entry.is_dir(follow_symlinks=False):
                yield from self._walk(Path(entry.path), "")
                continue
            with suppress(FileNotFoundError):
                name = Path(entry.path).relative_to(self._root).as_posix()
                yield ObjectInfo(name, entry.stat(follow_symlinks=False).st_size)


def _write(path: Path, data: bytes) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb", buffering=0) as file:
        view = memoryview(data)
        while view:
            view = view[file.write(view) :]
        os.fsync(descriptor)


def _sync(folder: Path) -> None:
    """Make names within `folder` durable; a folder that went away meanwhile has none."""
    with suppress(FileNotFoundError):
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


@contextmanager
def _translated(what: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise Unavailable(f"object folder, {what}: {error.strerror}") from error
