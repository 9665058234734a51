"""Session descriptions (RFC 8866) and the offer/answer rules we follow (RFC 3264)."""

from media.sdp.description import (
    Attribute,
    Connection,
    Direction,
    Media,
    Origin,
    RtpMap,
    SessionDescription,
    parse,
)
from media.sdp.negotiation import (
    LocalMedia,
    OfferedMedia,
    answer,
    answered_direction,
    choose_codec,
    codecs_of,
    event_payload_type,
    offer,
    redundancy_payload_type,
    wanted_of_opus,
)

__all__ = [
    "Attribute",
    "Connection",
    "Direction",
    "LocalMedia",
    "Media",
    "OfferedMedia",
    "Origin",
    "RtpMap",
    "SessionDescription",
    "answer",
    "answered_direction",
    "choose_codec",
    "codecs_of",
    "event_payload_type",
    "offer",
    "parse",
    "redundancy_payload_type",
    "wanted_of_opus",
]
