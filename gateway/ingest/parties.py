"""Who calls whom, as a request's headers say it. Personal data: it goes from here only into what is sealed."""

from __future__ import annotations

from contextlib import suppress

from gateway.calls.call import Parties
from gateway.ingest.correlation import identifiers_in
from gateway.ingest.privacy import is_private
from gateway.sip.errors import Malformed
from gateway.sip.grammar import NameAddr, Uri, split_list
from gateway.sip.message import Request

DISPLAY_CHARACTERS_MAX = 256  # of a display name; more is cut off

IDENTITIES_MAX = 2  # P-Asserted-Identity has one value, or one of sip and one of tel (RFC 3325 §9.1)


def parties_of(request: Request, source: str, *, trusted: bool, transport: str = "udp", found_by: str = "") -> Parties:
    """Caller and called party; of a `trusted` trunk the caller is whom P-Asserted-Identity names (RFC 3325).

    What others assert is kept beside it: it may be all that is known of an emergency call's anonymous caller.
    `found_by` names the header that the trunk's calls are found by, if any.
    """
    claimed = asserted(request)
    caller = (claimed if trusted else None) or request.from_
    return Parties(
        from_user=user_of(caller.uri),
        from_display="".join(filter(str.isprintable, caller.display))[:DISPLAY_CHARACTERS_MAX],
        from_uri=caller.uri,
        to_user=user_of(request.uri),
        to_uri=request.to.uri,
        request_uri=request.uri,
        source=source,
        protocol_call_id=request.call_id,
        private=is_private(request),
        transport=transport,
        asserted_uri="" if claimed is None else claimed.uri,
        found_by=identifiers_in(request, found_by),
    )


def asserted(request: Request) -> NameAddr | None:
    """The first identity that the trunk vouches for; what is not well formed is no identity."""
    values = [value for line in request.headers.all("P-Asserted-Identity") for value in split_list(line)]
    for value in values[:IDENTITIES_MAX]:
        with suppress(Malformed):
            party = NameAddr.parse(value)
            if Uri.parse(party.uri).scheme in ("sip", "sips", "tel"):
                return party
    return None


def user_of(uri: str) -> str:
    """The user part of a SIP or tel URI, without parameters."""
    scheme, _, rest = uri.partition(":")
    if scheme.lower() == "tel":
        return rest.partition(";")[0]
    return rest.partition("@")[0].partition(";")[0] if "@" in rest else ""
