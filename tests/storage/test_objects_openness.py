"""Which policies and access lists open a bucket."""

from __future__ import annotations

import json

import pytest

from storage.objects.openness import DOCUMENT_BYTES_MAX, Openness, is_open_list, policy_openness

ALLOW = {"Effect": "Allow", "Action": "s3:GetObject", "Resource": "arn:aws:s3:::calls/*"}
CONDITION = {"Condition": {"StringEquals": {"aws:SourceVpce": "vpce-1"}}}
ROLE = {"AWS": "arn:aws:iam::123456789012:role/callvault"}
EVERYBODY: list[dict[str, object]] = [
    {"Principal": "*"},
    {"Principal": {"AWS": "*"}},
    {"Principal": {"AWS": ["arn:aws:iam::1:root", "*"]}},
    {"NotPrincipal": ROLE},
]
GROUP = "http://acs.amazonaws.com/groups/global/"


@pytest.mark.parametrize("who", EVERYBODY, ids=str)
def test_statement_for_everybody_opens_and_conditions_are_told_apart(who: dict[str, object]) -> None:
    closed = ALLOW | {"Principal": ROLE}
    assert policy_openness(json.dumps({"Statement": [closed, ALLOW | who]})) is Openness.OPEN
    assert policy_openness(json.dumps({"Statement": ALLOW | who})) is Openness.OPEN
    assert policy_openness(json.dumps({"Statement": [closed, ALLOW | who | CONDITION]})) is Openness.CONDITIONAL
    both = [ALLOW | who | CONDITION, ALLOW | who]
    assert policy_openness(json.dumps({"Statement": both})) is Openness.OPEN


def test_statements_for_somebody_or_against_everybody_do_not_open() -> None:
    deny = {"Effect": "Deny", "Principal": "*", "Action": "s3:*", "Resource": "*"}
    assert policy_openness(json.dumps({"Statement": [ALLOW | {"Principal": ROLE}, deny]})) is Openness.CLOSED
    assert policy_openness(json.dumps({"Statement": []})) is Openness.CLOSED


@pytest.mark.parametrize(
    "document",
    [
        "",
        "null",
        "[]",
        "{}",
        '{"Statement": 1}',
        '{"Statement": [1]}',
        '{"Statement": [{}]}',
        '{"Statement": [{"Effect": "Allow"}]}',
        "[" * 60_000,
        " " * (DOCUMENT_BYTES_MAX + 1),
    ],
)
def test_what_is_no_policy_counts_as_open(document: str) -> None:
    assert policy_openness(document) is Openness.OPEN


@pytest.mark.parametrize(("group", "opens"), [("AllUsers", True), ("AuthenticatedUsers", True), ("LogDelivery", False)])
def test_access_list_opens_by_its_groups(group: str, opens: bool) -> None:
    grant = f"<Grant><Grantee><URI>{GROUP}{group}</URI></Grantee><Permission>READ</Permission></Grant>"
    document = f'<AccessControlPolicy xmlns="http://s3.amazonaws.com/doc/2006-03-01/">{grant}</AccessControlPolicy>'
    assert is_open_list(document.encode()) is opens


@pytest.mark.parametrize("document", [b"", b"<", b"\xff", b"<a>" * 10, b" " * (DOCUMENT_BYTES_MAX + 1)])
def test_what_is_no_access_list_counts_as_open(document: bytes) -> None:
    assert is_open_list(document)
