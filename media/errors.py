"""What can go wrong with media, by whose fault it is.

MediaError
├── Malformed      the peer's bytes do not follow the protocol
├── Unsupported    well-formed, but not something we do (no common codec)
└── Unavailable    the world failed: no port, worker gone
"""


class MediaError(Exception):
    """Any failure of the media path."""


class Malformed(MediaError):
    """The peer's bytes do not follow the protocol."""


class Unsupported(MediaError):
    """Well-formed, but not something that we do."""


class Unavailable(MediaError):
    """The world failed: no port is free, or the worker is gone."""
