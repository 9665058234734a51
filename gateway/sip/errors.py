"""What can be wrong with a SIP message, by what can be done about it.

    SipError
    └── Malformed          the peer's bytes do not follow the protocol: dropped and counted
        └── Answerable     … but a response can be sent: carries status, reason and the headers to mirror (message.py)

Messages name the rule that was broken, never the peer's text.
"""


class SipError(Exception):
    """Any failure of the signalling code."""


class Malformed(SipError):
    """The peer's bytes do not follow the protocol; `reason` names the rule."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason
