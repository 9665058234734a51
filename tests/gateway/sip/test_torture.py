"""RFC 4475, message by message: what the agent answers to it as a datagram, and what becomes of it in a stream.

Where the RFC leaves a choice between refusing and being liberal we are liberal, as real peers write such things; the
table says so. Requests that make a call are answered 100, and the gateway decides.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from gateway.sip.framing import Broken, Frame, Framer, Message
from tests.gateway.sip.bench import Bench

VECTORS = Path(__file__).parents[2] / "vectors" / "rfc4475"

ANSWERS: dict[str, int | None] = {
    # 3.1.1, valid
    "wsinv": 481,  # its To has a tag, of no dialog here
    "intmeth": 501,
    "esc01": 100,
    "escnull": 405,  # we are no registrar
    "esc02": 501,
    "lwsdisp": 200,
    "longreq": 100,
    "dblreq": 405,  # the first; what follows in the datagram is no message
    "semiuri": 200,
    "transports": 200,
    "mpart01": 405,
    "unreason": None,  # responses to nothing that we sent
    "noreason": None,
    # 3.1.2, invalid
    "badinv01": 100,  # liberal: empty parameters mean nothing
    "clerr": 400,
    "ncl": 400,
    "scalar02": 400,
    "scalarlg": None,
    "quotbal": 400,
    "ltgtruri": 400,
    "lwsruri": 400,
    "lwsstart": 100,  # liberal: the request line can be read
    "trws": 200,  # liberal, as the RFC allows
    "escruri": 100,  # liberal: headers in a Request-URI are ignored
    "baddate": 100,  # Date is not read
    "regbadct": 405,
    "badaspec": 200,  # liberal: white space in angle brackets
    "baddn": 400,  # its head does not end; for the name see below
    "badvers": 505,
    "mismatch01": 400,
    "mismatch02": 400,
    "bigcode": None,
    # 3.2, transactions
    "badbranch": 200,  # found by Call-ID, CSeq and From tag as well
    # 3.3, application
    "insuf": 400,
    "unkscm": 416,
    "novelsc": 416,
    "unksm2": 405,
    "bext01": 420,
    "invut": 415,
    "regaut01": 405,
    "multi01": 400,
    "mcl01": 400,
    "bcast": None,
    "zeromf": 200,
    "cparam01": 405,
    "cparam02": 405,
    "regescrt": 405,
    "sdp01": 100,  # Accept says what we never send
    # 3.4, backward compatibility
    "inv2543": 400,  # without Contact there is nowhere to send our BYE
}

IN_A_STREAM: dict[str, list[type[Frame]]] = {
    "clerr": [],  # it goes on waiting, until its time is up
    "baddn": [],
    "ncl": [Broken],
    "mcl01": [Broken],
    "inv2543": [Broken],
    "dblreq": [Message, Message, Broken],  # the second's Content-Length is short
}
"""What comes out of a stream; of the others, one message."""


def raw(name: str) -> bytes:
    return (VECTORS / f"{name}.dat").read_bytes()


def test_every_message_of_the_rfc_is_here() -> None:
    assert sorted(ANSWERS) == sorted(path.stem for path in VECTORS.glob("*.dat"))
    assert len(ANSWERS) == 49


@pytest.mark.parametrize("name", ANSWERS)
def test_message_is_answered_as_it_deserves_and_leaves_nothing_stuck(name: str) -> None:
    bench = Bench()
    statuses = [int(answer.split()[1]) for answer in bench.send(raw(name))]
    assert statuses == [status for status in [ANSWERS[name]] if status]
    bench.wait(300)
    assert (bench.agent.dialogs, bench.agent.next_deadline()) == (0, None)


@pytest.mark.parametrize("name", ANSWERS)
def test_message_in_a_stream_is_cut_out_or_breaks_it(name: str) -> None:
    frames = Framer().feed(raw(name))
    assert [type(frame) for frame in frames] == IN_A_STREAM.get(name, [Message])


def test_unquoted_comma_in_a_display_name_is_taken() -> None:
    assert Bench().status(raw("baddn") + b"\r\n") == [200]


def test_second_request_of_a_stream_is_answered_as_well() -> None:
    bench, statuses = Bench(transport="tcp"), list[int]()
    for frame in Framer().feed(raw("dblreq")):
        if isinstance(frame, Message):
            statuses += bench.status(frame.data)
    assert statuses == [405, 400]  # an INVITE without Contact
