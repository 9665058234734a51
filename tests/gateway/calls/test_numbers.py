"""Numbers as trunks write them: what is read, what is left alone, and what is never delayed by reading."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.calls.numbers import CHARACTERS_MAX, Form, Number, Reader
from gateway.policy import Numbering

LONDON = "+442079460123"


def reader(**rules: object) -> Reader:
    return Reader(Numbering.model_validate({"country": "GB"} | rules))


@pytest.mark.parametrize(
    ("uri", "expected"),
    [
        ("sip:+442079460123@192.0.2.1", LONDON),
        ("sip:02079460123@192.0.2.1", LONDON),
        ("sip:02079460123@192.0.2.1;user=phone", LONDON),
        ("sips:02079460123@192.0.2.1", LONDON),
        ("sip:00442079460123@192.0.2.1", LONDON),
        ("sip:0031205551234@192.0.2.1", "+31205551234"),
        ("sip:%2B44%2820%297946-0123@192.0.2.1", LONDON),
        ("sip:020%207946%200123@192.0.2.1", LONDON),
        ("sip:02079460123:secret@192.0.2.1", LONDON),
        ("tel:+44-20-7946-0123", LONDON),
        ("tel:+44-20-7946-0123;ext=77", LONDON),
        ("tel:(020)7946.0123", LONDON),
    ],
)
def test_a_number_becomes_e164(uri: str, expected: str) -> None:
    found = reader().read(uri)
    assert (found.text, found.form) == (expected, Form.E164)


@pytest.mark.parametrize(
    ("uri", "expected"),
    [
        ("tel:7042;phone-context=+1-914-555", "+19145557042"),
        ("sip:0205551234;phone-context=+31@gw.example;user=phone", "+31205551234"),
        ("sip:205551234;phone-context=%2B31@gw.example;user=phone", "+31205551234"),
        ("sip:205551234@gw.example;user=phone;phone-context=+31", "+31205551234"),
        ("tel:+31-20-555-1234;phone-context=+1", "+31205551234"),
    ],
)
def test_a_phone_context_says_whose_number_it_is(uri: str, expected: str) -> None:
    assert reader().read(uri).text == expected


@pytest.mark.parametrize("uri", ["tel:7042;phone-context=example.com", "tel:02079460123;phone-context=example.com"])
def test_a_domains_own_plan_is_left_alone(uri: str) -> None:
    assert reader().read(uri).form is not Form.E164


@pytest.mark.parametrize(
    ("rules", "uri", "expected"),
    [
        ({"strip": ["9"]}, "sip:902079460123@x", LONDON),
        ({"strip": ["9", "901"]}, "sip:90102079460123@x", LONDON),
        ({"prepend": "+"}, "sip:442079460123@x", LONDON),
        ({"prepend": "+44"}, "sip:2079460123@x", LONDON),
        ({"country": "US", "international": ["011"]}, "sip:011442079460123@x", LONDON),
        ({"country": "US"}, "sip:12125550123@x", "+12125550123"),
        ({"country": "HU", "national": "06"}, "sip:0612345678@x", "+3612345678"),
        ({"country": "IT"}, "sip:0612345678@x", "+390612345678"),
    ],
)
def test_a_trunks_own_habits_are_rules(rules: dict[str, object], uri: str, expected: str) -> None:
    assert reader(**rules).read(uri).text == expected


@pytest.mark.parametrize("user", ["100", "0", "20345"])
def test_extensions_are_left_alone(user: str) -> None:
    assert reader(strip=["9"]).read(f"sip:{user}@pbx.example") == Number(user, user, Form.EXTENSION)


@pytest.mark.parametrize(
    "uri",
    [
        "sip:alice@example.com",
        "sip:anonymous@anonymous.invalid",
        "sip:example.com",
        "sip:*21*100#@example.com",
        "sip:999999999999999999999@example.com",
        "sip:" + "1" * (CHARACTERS_MAX + 1) + "@example.com",
        "urn:service:sos",
        "mailto:a@example.com",
        "",
        ":::@@@;;;",
    ],
)
def test_what_is_no_number_stays_as_it_was(uri: str) -> None:
    found = reader().read(uri)
    assert found.form is Form.OTHER
    assert found.text == found.original


def test_without_a_country_only_global_numbers_are_read() -> None:
    plain = Reader(Numbering.model_validate({}))
    assert plain.read("sip:02079460123@x").form is Form.OTHER
    assert plain.read("sip:00442079460123@x").text == LONDON


@pytest.mark.parametrize(
    "uri",
    ["sip:112@x", "tel:112", "tel:1-1-2;phone-context=+31", "sip:9112@x", "urn:service:sos", "URN:service:sos.fire"],
)
def test_emergency_numbers_are_known_before_any_rule_changes_them(uri: str) -> None:
    assert reader(strip=["9"], prepend="+44", extension_digits_max=0).is_emergency(uri, ("112", "999"))


@pytest.mark.parametrize("uri", ["sip:1120@x", "sip:0112@x", "sip:+44112@x", "urn:service:sosx", "sip:sos@x", ""])
def test_other_numbers_are_no_emergency(uri: str) -> None:
    assert not reader(strip=["9"]).is_emergency(uri, ("112", "999"))


def test_the_version_names_the_rules() -> None:
    assert reader().version == reader().version
    assert reader().version != reader(strip=["9"]).version


@given(st.text(max_size=200), st.sampled_from(["sip:", "tel:", "sips:", ""]))
def test_reading_never_raises_and_never_loses_what_came(text: str, scheme: str) -> None:
    found = reader(strip=["9"], prepend="+").read(scheme + text)
    assert found.form is Form.E164 or found.text == found.original
    if found.form is Form.E164:
        assert found.text[0] == "+" and found.text[1:].isascii() and found.text[1:].isdecimal()
