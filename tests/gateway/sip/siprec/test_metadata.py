"""Metadata in the spellings of the field, and XML that does harm."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.sip.errors import Malformed
from gateway.sip.siprec.metadata import ENTRIES_MAX, Association, Participant, Stream, instant, parse
from gateway.sip.siprec.xml import DEPTH_MAX, DOCUMENT_BYTES_MAX, ELEMENTS_MAX, TEXT_CHARACTERS_MAX

NAMESPACES = ("urn:ietf:params:xml:ns:recording", "urn:ietf:params:xml:ns:recording:1", "urn:ietf:params:xml:ns:siprec")
BODY = """<dataMode>complete</dataMode><session session_id="s"/>
<participant participant_id="p"><nameID aor="sip:ann@example.test"><name xml:lang="en">Ann</name></nameID></participant>
<stream stream_id="1" session_id="s"><label>left</label></stream>
<participantstreamassoc participant_id="p"><send>1</send><recv>2</recv></participantstreamassoc>"""


def document(body: str, root: str = "recording", namespace: str = NAMESPACES[0]) -> bytes:
    return f"<?xml version='1.0' encoding='UTF-8'?><{root} xmlns='{namespace}'>{body}</{root}>".encode()


@pytest.mark.parametrize(
    "data",
    [
        *(document(BODY, namespace=namespace) for namespace in NAMESPACES),
        document(BODY, root="recording_metadata", namespace=NAMESPACES[2]),
        document(BODY, namespace=""),
        document(BODY.replace(' session_id="s"/', ' id="s"/').replace('participant_id="p"><name', 'id="p"><name')),
        document(BODY.replace('stream_id="1" session_id="s"', 'id="1" session="s"')),
        document(BODY.replace("dataMode", "datamode")),
        document(BODY.replace("<send>1</send>", "<send><id>1</id></send>")),
        document(
            BODY.replace("</participant>", "<send>1</send></participant>").replace("<send>1</send><recv>", "<recv>")
        ),
        b"\r\n\r\n" + document(BODY) + b"\r\n \r\n",
        document("<extensiondata><participant participant_id='x'/></extensiondata>" + BODY),
        document("<v:participant xmlns:v='urn:vendor' participant_id='x'><nameID aor='y'/></v:participant>" + BODY),
    ],
)
def test_one_meaning_in_all_its_spellings(data: bytes) -> None:
    told = parse(data)
    assert told.complete
    assert told.sessions == ("s",)
    assert told.participants == (Participant("p", ("sip:ann@example.test",), "Ann"),)
    assert told.streams == (Stream("1", "left"),)
    assert told.associations == (Association("p", frozenset({"1"})),)


def test_a_prefix_is_a_namespace_like_any_other() -> None:
    told = parse(
        b"<t:recording xmlns:t='urn:x'><t:datamode>partial</t:datamode><t:session session_id='s'/></t:recording>"
    )
    assert (told.complete, told.sessions) == (False, ("s",))


def test_what_is_left_out_is_borne() -> None:
    told = parse(document("<participant participant_id='p'/><participantstreamassoc participant_id='p'/>"))
    assert told.participants == (Participant("p"),)
    assert (told.streams, told.associations) == ((), (Association("p", frozenset()),))
    assert parse(document("")).participants == ()


def test_who_is_disassociated_is_gone_and_a_stream_that_is_sends_nothing() -> None:
    over = "<disassociate-time>2024-01-01T00:00:00Z</disassociate-time>"
    told = parse(
        document(
            f"<participantsessionassoc participant_id='p' session_id='s'>{over}</participantsessionassoc>"
            f"<participantstreamassoc participant_id='q'><send>1</send>{over}</participantstreamassoc>"
        )
    )
    assert told.left == {"p"}
    assert told.associations == (Association("q", frozenset()),)


def test_mixed_is_said_by_the_stream() -> None:
    told = parse(document("<stream id='1'><label>1</label><mode>mixed</mode></stream>"))
    assert told.streams == (Stream("1", "1", mixed=True),)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("2019-11-12T15:57:37Z", 1573574257.0),
        ("2019-11-12T15:57:37", 1573574257.0),
        ("2019-11-12T15:57:37+0000", 1573574257.0),  # OpenSIPS
        ("2019-11-12T16:57:37.5+01:00", 1573574257.5),
        ("yesterday", None),
        ("", None),
    ],
)
def test_times_are_read_as_they_come(text: str, seconds: float | None) -> None:
    assert instant(text) == seconds
    times = f"<associate-time>{text}</associate-time>"
    told = parse(document(f"<participantsessionassoc participant_id='p'>{times}</participantsessionassoc>"))
    assert told.joined_s == ({} if seconds is None else {"p": seconds})


@pytest.mark.parametrize(
    ("data", "rule"),
    [
        (b"", "not well-formed"),
        (b"v=0", "not well-formed"),
        (document(BODY.replace(">Ann<", ">Ann & Bob<")), "not well-formed"),  # OpenSIPS does not escape names
        (document(BODY.replace(">Ann<", "><Ann<")), "not well-formed"),
        (document(BODY)[:-5], "not well-formed"),
        (b"<html/>", "no recording metadata"),
        (b"<!DOCTYPE recording [<!ENTITY a 'b'>]>" + b"<recording>&a;</recording>", "document type"),
        (b"<!DOCTYPE recording SYSTEM 'file:///etc/passwd'><recording/>", "document type"),
        (b"<?xml version='1.0' encoding='klingon'?><recording/>", "encoding|well-formed"),
        (document("<a>" * DEPTH_MAX + "</a>" * DEPTH_MAX), "too deep"),
        (document("<a/>" * ELEMENTS_MAX), "too many elements"),
        (document("".join(f"<participant id='{n}'/>" for n in range(ENTRIES_MAX + 1))), "too many entries"),
        (document(" " * DOCUMENT_BYTES_MAX), "too long"),
    ],
)
def test_what_is_none_or_beyond_the_limits_is_malformed_without_its_words(data: bytes, rule: str) -> None:
    with pytest.raises(Malformed, match=rule) as raised:
        parse(data)
    assert "Ann" not in str(raised.value)


def test_text_is_cut_off_and_personal_data_hides_itself() -> None:
    told = parse(
        document(f"<participant id='p'><nameID aor='sip:secret@x'><name>{'n' * 5000}</name></nameID></participant>")
    )
    assert len(told.participants[0].name) == TEXT_CHARACTERS_MAX
    assert "secret" not in repr(told)


TAGS = st.sampled_from(
    (
        *("<participant id='p'>", "</participant>", "<send>1</send>", "<stream id='1'>", "</stream>", "<label>"),
        *("</label>", "<nameID aor='x'/>", "<a xmlns='u'>", "</a>", "&amp;", "&x;", "<![CDATA[", "]]>", "<!--", "-->"),
        *("<?x?>", "x"),
    )
)


@settings(max_examples=300, deadline=None)
@given(st.one_of(st.binary(max_size=300), st.lists(TAGS, max_size=30).map(lambda tags: document("".join(tags)))))
def test_any_bytes_are_metadata_or_malformed(data: bytes) -> None:
    try:
        told = parse(data)
    except Malformed:
        return
    assert len(told.participants) <= ENTRIES_MAX
