"""Metadata of a recording session (RFC 7865) as a value: sessions, participants, streams, and who sends which.

Read as the field writes it: three namespaces and a prefix, ids as `participant_id` or `id`, `send` under the
association, under the participant, or with an `id` inside, associations and streams left out.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime

from gateway.sip.errors import Malformed
from gateway.sip.siprec.xml import Element, read

ROOTS = frozenset({"recording", "recording_metadata"})
"""RFC 7865's root, and that of the draft that BroadWorks follows."""

EXTENSIONS = "extensiondata"
"""Where vendors put their own; not read, even where it has no namespace of its own."""

ENTRIES_MAX = 128
"""Participants, streams, sessions of one document, each: a conference of a hundred fits. More is malformed."""


@dataclass(frozen=True, slots=True, repr=False)
class Participant:
    """Somebody on the recorded call. Personal data, but for the id."""

    id: str
    addresses: tuple[str, ...] = ()
    name: str = ""

    def __repr__(self) -> str:
        return "Participant(…)"


@dataclass(frozen=True, slots=True)
class Stream:
    """A stream that is sent to us; its label is that of an m-line."""

    id: str
    label: str = ""
    mixed: bool = False


@dataclass(frozen=True, slots=True, repr=False)
class Association:
    """Which streams a participant sends; of one that has left, none. Without an id it is named by its address."""

    participant: str
    sends: frozenset[str]


@dataclass(frozen=True, slots=True, repr=False)
class Metadata:
    """One document. `complete` is a snapshot; otherwise it says only what has changed."""

    complete: bool
    sessions: tuple[str, ...] = ()
    participants: tuple[Participant, ...] = ()
    streams: tuple[Stream, ...] = ()
    associations: tuple[Association, ...] = ()
    left: frozenset[str] = frozenset()  # participants that the document says are gone
    joined_s: Mapping[str, float] = field(default_factory=dict)  # Unix time that the client gives for their joining


def parse(data: bytes) -> Metadata:
    """Read a document. Raises `Malformed`."""
    root = read(data)
    if root.name not in ROOTS:
        raise Malformed("XML is no recording metadata")
    found: dict[str, list[Element]] = {}
    for element in _within(root):
        found.setdefault(element.name, []).append(element)
    for name in ("session", "participant", "stream", "participantstreamassoc"):
        if len(found.get(name, ())) > ENTRIES_MAX:
            raise Malformed("metadata has too many entries")
    mode = next((element.text for element in found.get("datamode", ())), "complete")
    people = [(element, person) for element in found.get("participant", ()) if (person := _participant(element))]
    sessions = [_id(element, "session") for element in found.get("session", ())]
    ended = {_id(element, "participant") for element in found.get("participantsessionassoc", ()) if _is_over(element)}
    return Metadata(
        complete=mode.lower() != "partial",
        sessions=tuple(dict.fromkeys(filter(None, sessions))),
        participants=tuple({person.id: person for _, person in people}.values()),
        streams=tuple({s.id: s for s in map(_stream, found.get("stream", ())) if s.id or s.label}.values()),
        associations=tuple(_associations(people, found.get("participantstreamassoc", []))),
        left=frozenset(ended | {person.id for element, person in people if _is_over(element)}) - {""},
        joined_s=dict(_joined(people, found.get("participantsessionassoc", []))),
    )


def instant(text: str) -> float | None:
    """Unix time of an xs:dateTime, also with a zone like +0000 (OpenSIPS); without one it is UTC. None: no time."""
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        return None
    return at.replace(tzinfo=at.tzinfo or UTC).timestamp()


def _within(element: Element) -> Iterator[Element]:
    """All elements below: drafts put participants into sessions."""
    for child in element.children:
        if child.name != EXTENSIONS:
            yield child
            yield from _within(child)


def _id(element: Element, what: str) -> str:
    return element.attributes.get(f"{what}_id") or element.attributes.get("id") or element.first("id")


def _participant(element: Element) -> Participant | None:
    """None for a mere mention: no id and no address."""
    names = list(element.all("nameid"))
    addresses = [name.attributes.get("aor", "") for name in names] + [aor.text for aor in element.all("aor")]
    addresses = list(dict.fromkeys(filter(None, (address.strip() for address in addresses))))
    name = next((text for text in (*(n.first("name") for n in names), element.first("name")) if text), "")
    found = _id(element, "participant") or next(iter(addresses), "")
    return Participant(found, tuple(addresses), name) if found else None


def _stream(element: Element) -> Stream:
    return Stream(_id(element, "stream"), element.first("label"), element.first("mode").lower() == "mixed")


def _associations(people: list[tuple[Element, Participant]], associations: list[Element]) -> Iterator[Association]:
    """One for each participant of whom anything is said; several elements about one are taken together."""
    sends: dict[str, set[str]] = {}
    for element in associations:
        own = sends.setdefault(
            element.attributes.get("participant_id") or element.attributes.get("participant", ""), set()
        )
        if not _is_over(element):
            own.update(_sends(element))
    for element, person in people:
        if found := set(_sends(element)):
            sends.setdefault(person.id, set()).update(found)
    return (Association(participant, frozenset(streams)) for participant, streams in sends.items() if participant)


def _sends(element: Element) -> Iterator[str]:
    texts = (child.text or child.first("id") or child.attributes.get("id", "") for child in element.all("send"))
    return (text for text in texts if text)


def _joined(people: list[tuple[Element, Participant]], associations: list[Element]) -> Iterator[tuple[str, float]]:
    told = [(_id(element, "participant"), element) for element in associations]
    for participant, element in [*told, *((person.id, element) for element, person in people)]:
        at_s = instant(element.first("associate-time"))
        if participant and at_s is not None:
            yield participant, at_s


def _is_over(element: Element) -> bool:
    return any(element.all("disassociate-time"))
