"""URLs of buckets."""

from __future__ import annotations

from pathlib import Path

import pytest

from storage.errors import Malformed
from storage.objects import open_store
from storage.objects.address import BucketAddress

GOOD = {
    "s3://s3.example.com/calls": BucketAddress("s3.example.com", True, "calls", "", "us-east-1", None),
    "s3://s3.example.com:9000/calls/": BucketAddress("s3.example.com:9000", True, "calls", "", "us-east-1", None),
    "s3+http://127.0.0.1:9000/calls/a/B_1?region=eu-1": BucketAddress(
        "127.0.0.1:9000", False, "calls", "a/B_1/", "eu-1", None
    ),
    "s3://[::1]:9000/calls?credentials=/etc/callvault/s3": BucketAddress(
        "[::1]:9000", True, "calls", "", "us-east-1", Path("/etc/callvault/s3")
    ),
}
SECRET = "hunter2hunter2"


@pytest.mark.parametrize("url", GOOD)
def test_url_names_endpoint_bucket_and_prefix(url: str) -> None:
    assert BucketAddress.parse(url) == GOOD[url]


@pytest.mark.parametrize(
    "url",
    [
        "s3:",
        "s3://",
        "s3:///calls",
        "s3://host",
        "s3://host/",
        "s3://host/UPPER",
        "s3://host/ab",
        "s3://host/../calls",
        "s3://host/calls/../other",
        "s3://host/calls//a",
        "s3://host/calls/a b",
        "s3://host/calls/%2e%2e",
        "s3://host:0x50/calls",
        "s3://host:99999/calls",
        "s3://-host/calls",
        "s3://ho..st/calls",
        "s3://[::1/calls",
        "s3://host/calls#part",
        "s3://host/calls?region=",
        "s3://host/calls?region=a/b",
        "s3://host/calls?credentials=relative",
        "s3://host/calls?region",
        "s3://host/calls/" + "a" * 65,
        "s3://host/calls/a/b/c/d/e",
        "s3://host/calls?region=" + "a" * 3000,
        "https://host/calls",
    ],
)
def test_any_other_form_is_malformed(url: str) -> None:
    with pytest.raises(Malformed):
        BucketAddress.parse(url)


@pytest.mark.parametrize(
    "url",
    [f"s3://key:{SECRET}@host/calls", f"s3://{SECRET}@host/calls", f"s3://host/calls?secret_key={SECRET}"],
)
def test_secret_in_a_url_is_refused_and_not_repeated(url: str) -> None:
    with pytest.raises(Malformed, match="do not belong") as refused:
        open_store(url)
    assert SECRET not in str(refused.value)


@pytest.mark.parametrize(
    ("host", "loopback"),
    [
        ("127.0.0.1:9000", True),
        ("127.9.9.9", True),
        ("[::1]:9000", True),
        ("localhost:1", True),
        ("192.0.2.1:9000", False),
        ("s3.example.com", False),
        ("127.0.0.1.example.com", False),
    ],
)
def test_loopback_is_told_from_the_network(host: str, loopback: bool) -> None:
    assert BucketAddress.parse(f"s3+http://{host}/calls").is_loopback is loopback
