"""Audio as WAV, any byte range of it (RFC 9110 §14), and as Ogg Opus where that is how it came."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request, Response
from fastapi.responses import JSONResponse, StreamingResponse

from gateway.api.context import AsCaller, InContext, OfCall, check_kept
from gateway.errors import NotOpus
from gateway.ogg import OggOpus
from gateway.playback import Manner, Wav
from storage.model import Kind

router = APIRouter(prefix="/v1/calls", tags=["audio"])

_RANGE = re.compile(r"bytes=(\d{0,15})-(\d{0,15})\Z")


@router.head("/{call}/audio", include_in_schema=False)
@router.get("/{call}/audio", response_class=StreamingResponse)
def audio(
    request: Request,
    context: InContext,
    who: AsCaller,
    call: OfCall,
    track: Annotated[int | None, Query(ge=0, le=63, description="one track; without it, a channel for each")] = None,
    comfort_noise: Annotated[bool, Query(description="the sender's silence at the level it told; false: zeros")] = True,
    conceal: Annotated[bool, Query(description="make up what the network lost for up to 60 ms; false: zeros")] = False,
) -> Response:
    """The call as 16-bit WAV, sample 0 at the answer, at its tracks' highest rate: 8 kHz of G.711 alone.

    `Range: bytes=a-b` opens only what it needs. Where `conceal` has made something up, cue points behind the samples
    mark it, and `Link` names the list of it.
    """
    check_kept(context, who, context.recordings.call(who.tenant, call), Kind.AUDIO)
    wav = Wav.open(context.recordings, who.tenant, call, track, how=Manner(comfort_noise, conceal))
    headers = {"Accept-Ranges": "bytes", "ETag": wav.etag, "Cache-Control": "no-store"}
    headers["Content-Disposition"] = f'attachment; filename="{call}.wav"'
    if wav.conceals:
        only = "" if track is None else f"?track={track}"
        headers["Link"] = f'</v1/calls/{call}/audio/concealed{only}>; rel="describedby"'
    span = byte_range(request.headers.get("range", ""), wav.size)
    if request.headers.get("if-range", wav.etag) != wav.etag:
        span = None
    if span == () or request.method == "HEAD":
        wav.close()
    if span == ():
        return Response(status_code=416, headers={"Content-Range": f"bytes */{wav.size}"})
    start, end = span or (0, wav.size)
    headers["Content-Length"] = str(end - start)
    if span:
        headers["Content-Range"] = f"bytes {start}-{end - 1}/{wav.size}"
    status = 206 if span else 200
    if request.method == "HEAD":
        return Response(status_code=status, headers=headers, media_type="audio/wav")
    context.released["released_user"] += 1
    return StreamingResponse(_body(wav, start, end), status, headers, media_type="audio/wav")


def _body(wav: Wav, start: int, end: int) -> Iterator[bytes]:
    with wav:
        yield from wav.read(start, end)


@router.get("/{call}/audio/concealed")
def concealed(
    context: InContext,
    who: AsCaller,
    call: OfCall,
    track: Annotated[int | None, Query(ge=0, le=63, description="one track; without it, all of them")] = None,
) -> dict[str, Any]:
    """What is made up in the call's audio with `conceal=true`: for each track, spans in ms of the call.

    `complete` is false of a track with so many gaps that its gap map, and so this list, leaves some out.
    """
    check_kept(context, who, context.recordings.call(who.tenant, call), Kind.AUDIO)
    with Wav.open(context.recordings, who.tenant, call, track) as wav:
        tracks = [
            {
                "track": found.index,
                "label": found.label,
                "participant": found.participant,
                "concealed_ms": [[start_us / 1000, end_us / 1000] for start_us, end_us in found.concealed],
                "complete": not found.facts.gaps_omitted,
            }
            for found in wav.tracks
        ]
    return {"call": call, "tracks": tracks}


@router.get("/{call}/audio/opus", response_class=StreamingResponse)
def opus(
    context: InContext,
    who: AsCaller,
    call: OfCall,
    track: Annotated[int, Query(ge=0, le=63, description="the track; only one fits into a file")] = 0,
) -> Response:
    """A track as Ogg Opus, its packets as they were received; 406 of one that was not received in Opus alone."""
    check_kept(context, who, context.recordings.call(who.tenant, call), Kind.AUDIO)
    try:
        file = OggOpus.open(context.recordings, who.tenant, call, track)
    except NotOpus as error:
        return JSONResponse({"error": "NotOpus", "detail": str(error)}, status_code=406)
    context.released["released_user"] += 1
    headers = {"Accept-Ranges": "none", "Cache-Control": "no-store"}
    headers["Content-Disposition"] = f'attachment; filename="{call}.opus"'
    return StreamingResponse(_pages(file), 200, headers, media_type="audio/ogg")


def _pages(file: OggOpus) -> Iterator[bytes]:
    with file:
        yield from file.read()


def byte_range(header: str, size: int) -> tuple[int, int] | tuple[()] | None:
    """A single byte range as (start, end), () if it cannot be satisfied, None to send everything.

    Several ranges, other units and malformed headers are ignored, as RFC 9110 §14.2 allows.
    """
    match = _RANGE.match(header.strip())
    if match is None or match.groups() == ("", ""):
        return None
    first, last = match.groups()
    if not first:  # the last n bytes
        return (max(0, size - int(last)), size) if int(last) else ()
    start = int(first)
    end = int(last) + 1 if last else size
    if last and int(last) < start:
        return None
    return (start, min(end, size)) if start < size else ()
