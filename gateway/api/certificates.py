"""A certificate of erasure in the form that was asked for: as it is signed, or as a vCon."""

from __future__ import annotations

from enum import StrEnum
from typing import Any

from fastapi import Response
from fastapi.responses import JSONResponse

from gateway.api.context import Caller, Context
from storage.vcon import call_of

MEDIA_TYPE = "application/vcon"
"""draft-ietf-vcon-vcon-core-03, IANA considerations; unsigned and signed are told apart by what is in them."""


class Form(StrEnum):
    """`vcon` is of a certificate that names one call; 406 for others."""

    SIGNED = "signed"
    VCON = "vcon"


def in_form(context: Context, who: Caller, certificate: dict[str, Any], form: Form) -> Response:
    """The answer."""
    if form is Form.SIGNED:
        return JSONResponse(certificate)
    if call_of(certificate) is None:
        detail = "this certificate is not of one call by name, as a vCon would be"
        return JSONResponse({"error": "NotOneCall", "detail": detail}, status_code=406)
    return JSONResponse(context.recordings.vcon(who.tenant, certificate), media_type=MEDIA_TYPE)
