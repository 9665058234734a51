"""A small client of the API, for the command line and the demonstration."""

from __future__ import annotations

import json
import os
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from http.client import HTTPException, HTTPResponse
from typing import Any, BinaryIO

from gateway.errors import GatewayError

DEFAULT_URL = "http://127.0.0.1:8080"
TIMEOUT_S = 30.0
DOWNLOAD_TIMEOUT_S = 300.0  # to the first byte: a copy of hundreds of calls is put on record before that
PIECE_BYTES = 1 << 18
EVENT_LINE_BYTES_MAX = 1 << 16


class ApiError(GatewayError):
    """The API said no, or did not answer; `status` is 0 when it did not."""

    def __init__(self, status: int, text: str) -> None:
        self.status = status
        super().__init__(text)


@dataclass(frozen=True, slots=True)
class Client:
    """Requests to one API with one token."""

    url: str
    token: str

    @classmethod
    def of(cls, url: str | None, token: str | None) -> Client:
        """From arguments, or else from CALLVAULT_URL and CALLVAULT_TOKEN."""
        address = url or os.environ.get("CALLVAULT_URL") or DEFAULT_URL
        if urllib.parse.urlsplit(address).scheme not in ("http", "https"):
            raise ApiError(0, f"{address}: the API's address starts with http:// or https://")
        return cls(address.rstrip("/"), token or os.environ.get("CALLVAULT_TOKEN", ""))

    def get(self, path: str, headers: dict[str, str] | None = None) -> bytes:
        """The body of a GET. Raises ApiError."""
        with self._open("GET", path, None, headers or {}) as response:
            return response.read()

    def json(self, path: str) -> Any:
        """The body of a GET, decoded."""
        return json.loads(self.get(path))

    def post(self, path: str, body: object) -> Any:
        """Send JSON, return the decoded answer. Raises ApiError."""
        with self._open("POST", path, json.dumps(body).encode(), {"Content-Type": "application/json"}) as response:
            return json.loads(response.read())

    def delete(self, path: str) -> Any:
        """The decoded answer to a DELETE. Raises ApiError."""
        with self._open("DELETE", path, None, {}) as response:
            return json.loads(response.read())

    def download(self, path: str, to: BinaryIO) -> int:
        """Writes the body of a GET to a file as it comes; gives its size. ApiError, also where it breaks off."""
        size = 0
        with self._open("GET", path, None, {}, DOWNLOAD_TIMEOUT_S) as response:
            try:
                while piece := response.read1(PIECE_BYTES):
                    to.write(piece)
                    size += len(piece)
            except HTTPException as error:
                raise ApiError(0, f"{self.url} broke off after {size} bytes") from error
        return size

    def events(self, timeout_s: float = 60.0) -> Iterator[tuple[str, dict[str, Any]]]:
        """Live events from now on as (name, fields), until the server ends or nothing came for `timeout_s`."""
        response = self._open("GET", "/v1/events", None, {"Accept": "text/event-stream"}, timeout_s)
        return _events(response)  # subscribed by now: the answer comes after the subscription

    def _open(
        self, method: str, path: str, data: bytes | None, headers: dict[str, str], timeout_s: float = TIMEOUT_S
    ) -> HTTPResponse:
        request = urllib.request.Request(self.url + path, data, headers, method=method)  # noqa: S310 -- checked in of()
        request.add_header("Authorization", f"Bearer {self.token}")
        try:
            response: HTTPResponse = urllib.request.urlopen(request, timeout=timeout_s)  # noqa: S310
        except urllib.error.HTTPError as error:
            raise ApiError(error.code, _detail(error)) from error
        except (OSError, HTTPException) as error:
            raise ApiError(0, f"{self.url} does not answer ({type(error).__name__})") from error
        return response


def _events(response: HTTPResponse) -> Iterator[tuple[str, dict[str, Any]]]:
    with response:
        name = ""
        while line := response.readline(EVENT_LINE_BYTES_MAX):
            field, _, value = line.decode().rstrip("\n").partition(": ")
            if field == "event":
                name = value
            elif field == "data":
                yield name, json.loads(value)


def _detail(error: urllib.error.HTTPError) -> str:
    try:
        with error:
            body = json.loads(error.read(EVENT_LINE_BYTES_MAX))
        return f"{error.code} {body.get('error', '')}: {body.get('detail', '')}".replace(" :", ":")
    except (ValueError, OSError, AttributeError):
        return f"{error.code} {error.reason}"
