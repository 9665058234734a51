"""The native core: the costliest loops of a tick in C, where the package was built with a compiler.

It is a matter of speed alone. Every loop has a twin in Python that does the same, and whoever uses the core takes it as
an argument, None for the twin.
"""

from __future__ import annotations

import ctypes
import logging
from pathlib import Path

ABI = 4
"""What core.c says of itself, too."""

LIBRARY = Path(__file__).with_name("core.so")
"""Where the package's build puts it (hatch_build.py)."""

log = logging.getLogger(__name__)


class Core:
    """The library's functions; see core.c for what they do. They keep the GIL and never wait."""

    def __init__(self, library: ctypes.PyDLL) -> None:
        pointer, number = ctypes.c_void_p, ctypes.c_int
        self.receive = library.callvault_receive
        self.receive.argtypes = [pointer, number, pointer, number, number, pointer]
        self.hear = library.callvault_hear
        self.hear.argtypes = [pointer, pointer, ctypes.c_char_p, number, number, number, pointer]
        self.hear.restype = None
        self.listen = library.callvault_listen
        self.listen.argtypes = [pointer, pointer, ctypes.c_int64, number, pointer]
        self.listen.restype = ctypes.c_int64
        self.take = library.callvault_take
        self.take.argtypes = [pointer, pointer, ctypes.c_int64, ctypes.c_int64, pointer]
        self.take.restype = ctypes.c_int64


def load(path: Path = LIBRARY) -> Core | None:
    """The core, or None where it was not built or is of another time than this code, which is said."""
    try:
        library = ctypes.PyDLL(str(path))
        abi = library.callvault_abi()
    except (OSError, AttributeError):
        return None
    if abi != ABI:
        log.warning("native core is of another version, build the package anew", extra={"found": abi, "needed": ABI})
        return None
    return Core(library)


CORE = load()
