"""The four transaction machines as tables (RFC 3261 §17, RFC 6026): state and input give acts and the next state.

Rules that hold for all four machines:
- What has no row is ignored; so a timer whose state was left is harmless and is never cancelled.
- A transaction lives until a row leads to TERMINATED, and every state but a server's PROCEEDING (ended by its user) and
  a client's PROCEEDING of INVITE (limited by its user) has a timer that leads there.
- One lookup for each message; one heap of deadlines; no scan over all transactions.

One difference from RFC 6026 §7.1: an INVITE that comes again after our 200 is answered with the same 200 at once and is
not only absorbed. The peer shows that it missed the 200; it need not wait for the next retransmission.
Each machine has two tables: over a reliable transport A, E, G never fire and D, I, J, K are zero (`_over_streams`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum, auto

T1 = 0.5
"""Seconds: an estimate of the round trip (RFC 3261 §17.1.1.1)."""
T2 = 4.0
"""Seconds: the longest interval between retransmissions."""
T4 = 5.0
"""Seconds: the longest that a message stays in the network."""
GIVE_UP_S = 64 * T1
"""Timers B, F, H, J, L, M."""
TIMER_D_S = 32.0
"""At least 32 s over datagrams."""


class State(Enum):
    """Of all four machines; each uses some."""

    TRYING = auto()
    CALLING = auto()
    PROCEEDING = auto()
    COMPLETED = auto()
    CONFIRMED = auto()
    ACCEPTED = auto()
    TERMINATED = auto()


class Input(Enum):
    """What happens to a transaction: a message comes (or, for a server, is sent by its user), or a timer fires."""

    START = auto()
    REQUEST = auto()
    ACK = auto()
    PROVISIONAL = auto()
    SUCCESS = auto()
    FAILURE = auto()
    RESEND = auto()  # timers A, E, G
    GIVE_UP = auto()  # timers B, F, H
    LINGER = auto()  # timers D, I, J, K, L, M


class Act(Enum):
    """What a row does."""

    SEND = auto()  # the message at hand becomes the one to send again
    REPEAT = auto()
    ACK = auto()  # to a failure: hop by hop, built here (§17.1.1.3)
    TELL = auto()  # the user gets the message
    TELL_TIMEOUT = auto()
    RESEND_LATER = auto()  # first interval T1, then doubled up to the machine's limit
    RESEND_SLOWLY = auto()  # interval T2
    GIVE_UP_LATER = auto()
    LINGER_FULL = auto()  # 64*T1: L, M
    LINGER_J = auto()  # 64*T1 over datagrams
    LINGER_D = auto()
    LINGER_T4 = auto()  # I, K


Table = Mapping[tuple[State, Input], tuple[State, tuple[Act, ...]]]


@dataclass(frozen=True, slots=True, eq=False)
class Machine:
    """One of the four: its first state, its rows, and where the doubling of its interval ends."""

    start: State
    rows: Table
    interval_max_s: float


_S, _I, _A = State, Input, Act

SERVER_INVITE = Machine(
    _S.PROCEEDING,
    {
        (_S.PROCEEDING, _I.REQUEST): (_S.PROCEEDING, (_A.REPEAT,)),
        (_S.PROCEEDING, _I.PROVISIONAL): (_S.PROCEEDING, (_A.SEND,)),
        (_S.PROCEEDING, _I.SUCCESS): (_S.ACCEPTED, (_A.SEND, _A.LINGER_FULL)),
        (_S.PROCEEDING, _I.FAILURE): (_S.COMPLETED, (_A.SEND, _A.RESEND_LATER, _A.GIVE_UP_LATER)),
        (_S.COMPLETED, _I.REQUEST): (_S.COMPLETED, (_A.REPEAT,)),
        (_S.COMPLETED, _I.RESEND): (_S.COMPLETED, (_A.REPEAT, _A.RESEND_LATER)),
        (_S.COMPLETED, _I.ACK): (_S.CONFIRMED, (_A.LINGER_T4,)),
        (_S.COMPLETED, _I.GIVE_UP): (_S.TERMINATED, (_A.TELL_TIMEOUT,)),
        (_S.CONFIRMED, _I.LINGER): (_S.TERMINATED, ()),
        (_S.ACCEPTED, _I.REQUEST): (_S.ACCEPTED, (_A.REPEAT,)),
        (_S.ACCEPTED, _I.ACK): (_S.ACCEPTED, (_A.TELL,)),
        (_S.ACCEPTED, _I.LINGER): (_S.TERMINATED, ()),
    },
    interval_max_s=T2,
)

SERVER_OTHER = Machine(
    _S.TRYING,
    {
        (_S.TRYING, _I.PROVISIONAL): (_S.PROCEEDING, (_A.SEND,)),
        (_S.TRYING, _I.SUCCESS): (_S.COMPLETED, (_A.SEND, _A.LINGER_J)),
        (_S.TRYING, _I.FAILURE): (_S.COMPLETED, (_A.SEND, _A.LINGER_J)),
        (_S.PROCEEDING, _I.REQUEST): (_S.PROCEEDING, (_A.REPEAT,)),
        (_S.PROCEEDING, _I.PROVISIONAL): (_S.PROCEEDING, (_A.SEND,)),
        (_S.PROCEEDING, _I.SUCCESS): (_S.COMPLETED, (_A.SEND, _A.LINGER_J)),
        (_S.PROCEEDING, _I.FAILURE): (_S.COMPLETED, (_A.SEND, _A.LINGER_J)),
        (_S.COMPLETED, _I.REQUEST): (_S.COMPLETED, (_A.REPEAT,)),
        (_S.COMPLETED, _I.LINGER): (_S.TERMINATED, ()),
    },
    interval_max_s=T2,
)

CLIENT_INVITE = Machine(
    _S.CALLING,
    {
        (_S.CALLING, _I.START): (_S.CALLING, (_A.SEND, _A.RESEND_LATER, _A.GIVE_UP_LATER)),
        (_S.CALLING, _I.RESEND): (_S.CALLING, (_A.REPEAT, _A.RESEND_LATER)),
        (_S.CALLING, _I.GIVE_UP): (_S.TERMINATED, (_A.TELL_TIMEOUT,)),
        (_S.CALLING, _I.PROVISIONAL): (_S.PROCEEDING, (_A.TELL,)),
        (_S.CALLING, _I.SUCCESS): (_S.ACCEPTED, (_A.TELL, _A.LINGER_FULL)),
        (_S.CALLING, _I.FAILURE): (_S.COMPLETED, (_A.ACK, _A.TELL, _A.LINGER_D)),
        (_S.PROCEEDING, _I.PROVISIONAL): (_S.PROCEEDING, (_A.TELL,)),
        (_S.PROCEEDING, _I.SUCCESS): (_S.ACCEPTED, (_A.TELL, _A.LINGER_FULL)),
        (_S.PROCEEDING, _I.FAILURE): (_S.COMPLETED, (_A.ACK, _A.TELL, _A.LINGER_D)),
        (_S.COMPLETED, _I.FAILURE): (_S.COMPLETED, (_A.REPEAT,)),
        (_S.COMPLETED, _I.LINGER): (_S.TERMINATED, ()),
        (_S.ACCEPTED, _I.SUCCESS): (_S.ACCEPTED, (_A.TELL,)),
        (_S.ACCEPTED, _I.LINGER): (_S.TERMINATED, ()),
    },
    interval_max_s=GIVE_UP_S,
)

CLIENT_OTHER = Machine(
    _S.TRYING,
    {
        (_S.TRYING, _I.START): (_S.TRYING, (_A.SEND, _A.RESEND_LATER, _A.GIVE_UP_LATER)),
        (_S.TRYING, _I.RESEND): (_S.TRYING, (_A.REPEAT, _A.RESEND_LATER)),
        (_S.TRYING, _I.GIVE_UP): (_S.TERMINATED, (_A.TELL_TIMEOUT,)),
        (_S.TRYING, _I.PROVISIONAL): (_S.PROCEEDING, (_A.TELL,)),
        (_S.TRYING, _I.SUCCESS): (_S.COMPLETED, (_A.TELL, _A.LINGER_T4)),
        (_S.TRYING, _I.FAILURE): (_S.COMPLETED, (_A.TELL, _A.LINGER_T4)),
        (_S.PROCEEDING, _I.RESEND): (_S.PROCEEDING, (_A.REPEAT, _A.RESEND_SLOWLY)),
        (_S.PROCEEDING, _I.GIVE_UP): (_S.TERMINATED, (_A.TELL_TIMEOUT,)),
        (_S.PROCEEDING, _I.PROVISIONAL): (_S.PROCEEDING, (_A.TELL,)),
        (_S.PROCEEDING, _I.SUCCESS): (_S.COMPLETED, (_A.TELL, _A.LINGER_T4)),
        (_S.PROCEEDING, _I.FAILURE): (_S.COMPLETED, (_A.TELL, _A.LINGER_T4)),
        (_S.COMPLETED, _I.LINGER): (_S.TERMINATED, ()),
    },
    interval_max_s=T2,
)


_NEVER = frozenset({Act.RESEND_LATER, Act.RESEND_SLOWLY})
_AT_ONCE = frozenset({Act.LINGER_D, Act.LINGER_J, Act.LINGER_T4})


def _over_streams(machine: Machine) -> Machine:
    """The same machine where nothing is lost on the way: no retransmission, and nothing to linger for.

    H, L and M stay: an ACK may never be sent, and a 2xx to an INVITE is still repeated end to end (§13.3.1.4).
    """
    rows: dict[tuple[State, Input], tuple[State, tuple[Act, ...]]] = {}
    for key, (target, acts) in machine.rows.items():
        state = State.TERMINATED if _AT_ONCE & set(acts) else target
        rows[key] = state, tuple(act for act in acts if act not in _NEVER | _AT_ONCE)
    left = {machine.start} | {state for (source, _), (state, _) in rows.items() if source is not state}
    kept = {key: row for key, row in rows.items() if key[0] in left and key[1] is not Input.RESEND}
    return Machine(machine.start, kept, machine.interval_max_s)


STREAMS: Mapping[Machine, Machine] = {
    machine: _over_streams(machine) for machine in (SERVER_INVITE, SERVER_OTHER, CLIENT_INVITE, CLIENT_OTHER)
}
"""For each machine the one for reliable transports."""
