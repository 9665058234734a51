"""Which call a Cisco phone's fork belongs to, and whose voice it is, as Unified CM writes it into From."""

from __future__ import annotations

import pytest

from gateway.sip.message import Request, parse
from gateway.sip.siprec.fork import End, Fork, forked
from tests.gateway.sip.bench import packet

NEAR = (
    "x-nearend;x-refci=27298698;x-nearendclusterid=NY-Lab;x-nearenddevice=SEP2834A28318CE;x-nearendaddr=198101"
    ";x-farendrefci=27298699;x-farendclusterid=NY-Lab;x-farenddevice=SEP34735AF87765;x-farendaddr=+31201234567"
)
FAR = NEAR.replace("x-nearend;", "x-farend;")


def invite(parameters: str, uri: str = "sip:9876@192.0.2.1") -> Request:
    data = packet("INVITE", uri=uri).replace(
        b"From: <sip:alice@192.0.2.9>;", f'From: "abcd" <sip:198101@192.0.2.9;{parameters}>;'.encode()
    )
    message = parse(data)
    assert isinstance(message, Request)
    return message


def fork(parameters: str, uri: str = "sip:9876@192.0.2.1") -> Fork:
    found = forked(invite(parameters, uri))
    assert found is not None
    return found


def test_the_two_forks_of_a_call_differ_in_their_end_alone() -> None:
    near, far = fork(NEAR), fork(FAR)
    assert (near.end, far.end) == (End.NEAR, End.FAR)
    assert near.call == far.call
    assert [(party.uri, party.lines) for party in near.parties] == [
        ("sip:198101@192.0.2.9", (0,)),
        ("sip:+31201234567@192.0.2.9", (1,)),
    ]
    assert [(party.uri, party.lines) for party in far.parties] == [(p.uri, p.lines) for p in near.parties]
    assert "198101" not in repr(near)


@pytest.mark.parametrize(
    "other",
    [
        NEAR.replace("x-refci=27298698", "x-refci=27298699"),  # the other phone of the call is recorded, too
        NEAR.replace("x-nearendclusterid=NY-Lab", "x-nearendclusterid=LA-Lab"),
        NEAR.replace("SEP2834A28318CE", "SEP2834A28318CF"),
    ],
)
def test_another_call_cluster_or_phone_is_another_recording(other: str) -> None:
    assert fork(NEAR).call != fork(other).call


@pytest.mark.parametrize("uri", ["sip:9877@192.0.2.1", "sip:9876@192.0.2.2", "sip:9876@192.0.2.1:5070"])
def test_another_recorder_of_the_same_call_is_another_recording(uri: str) -> None:
    assert fork(NEAR).call != fork(FAR, uri).call


def test_an_older_cluster_tells_less() -> None:
    found = fork("x-nearend;x-refci=27757093;x-nearenddevice=SEP408D5CF67598;x-farendaddr=4006")
    assert [party.uri for party in found.parties] == ["sip:198101@192.0.2.9", "sip:4006@192.0.2.9"]


@pytest.mark.parametrize(
    "parameters",
    [
        "user=phone",
        "x-nearend",
        "x-nearend;x-refci=",
        "x-refci=1",
        "x-nearend;x-farend;x-refci=1",
        "x-nearend;x-refci=" + "1" * 65,
        "x-nearend;x-refci=a%20b",
    ],
)
def test_what_names_no_call_or_no_end_is_no_fork(parameters: str) -> None:
    assert forked(invite(parameters)) is None


def test_an_address_that_is_none_names_nobody() -> None:
    found = fork("x-farend;x-refci=1;x-nearendaddr=a%00b;x-farendaddr=" + "1" * 65)
    assert found.parties == ()
