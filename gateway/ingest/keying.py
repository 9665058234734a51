"""The SRTP keys of one call, a pair for each m-line: the peer's as described, and ours, which live as long as his does.

A description that repeats the peer's key is answered with ours as it was, so that both contexts go on; another key, tag
or suite gets a new one of ours, so that both begin anew.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from gateway.calls.call import PENDING
from media.sdp import SUITES, Crypto, MasterKey, Media, SessionDescription, Terms, answering, crypto_of, narrowed


@dataclass(frozen=True, slots=True)
class _Pair:
    ours: Crypto
    theirs: Crypto


class Keying:
    """`terms` say what is taken; `random(n)` gives n unpredictable bytes."""

    def __init__(self, terms: Terms, random: Callable[[int], bytes]) -> None:
        self._terms = terms
        self._random = random
        self._pairs: dict[int, _Pair] = {}
        self._offered: dict[int, tuple[Crypto, ...]] = {}

    @property
    def optional(self) -> bool:
        """Whether media may come without keys."""
        return self._terms.plain

    @property
    def possible(self) -> bool:
        """Whether any media can be taken."""
        return self._terms.plain or self._terms.keys

    def taken(self, described: SessionDescription) -> SessionDescription:
        """An offer as far as it is taken."""
        return narrowed(described, self._terms)

    def answer(self, index: int, media: Media) -> Crypto | None:
        """Our line for an m-line as taken; None where that is plain."""
        theirs = crypto_of(media)
        if theirs is None:
            self._pairs.pop(index, None)
            return None
        pair = self._pairs.get(index)
        if pair is None or pair.theirs != theirs:
            pair = self._pairs[index] = _Pair(self._line(theirs.tag, theirs.suite), theirs)
        return pair.ours

    def offer(self, index: int) -> tuple[Crypto, ...]:
        """Our lines for an offer: the one that holds, else one for each suite; none where keys do not count."""
        pair = self._pairs.get(index)
        if pair is not None:
            self._offered[index] = (pair.ours,)
        elif self._terms.keys:
            self._offered[index] = tuple(self._line(tag, suite) for tag, suite in enumerate(SUITES, 1))
        return self._offered.get(index, ())

    def answered(self, described: SessionDescription) -> SessionDescription:
        """The answer to our offer as far as it is taken; its keys and ours hold from now on.

        An offer that was not made here is a refresh, which said what held.
        """
        lines = [self._offered.pop(index, self._held(index)) for index in range(len(described.media))]
        taken = self.taken(answering(described, lines))
        for index, (media, ours) in enumerate(zip(taken.media, lines, strict=True)):
            theirs = crypto_of(media)
            if theirs is None:
                self._pairs.pop(index, None)
            else:
                self._pairs[index] = _Pair(next(line for line in ours if line.tag == theirs.tag), theirs)
        return taken

    def settle(self, offer: SessionDescription) -> None:
        """Agree on the keys of an offer as taken, before it is answered."""
        for index, media in enumerate(offer.media):
            if media.port:
                self.answer(index, media)

    @property
    def agreed(self) -> dict[int, dict[str, str]]:
        """What the media worker is told, of each m-line that is not plain."""
        return {index: self.told(index) for index in {*self._pairs, *self._offered}}

    def told(self, index: int) -> dict[str, str]:
        """What the media worker is told of an m-line; empty where it is plain."""
        pair = self._pairs.get(index)
        if pair is None:
            return PENDING if index in self._offered else {}
        ours, theirs = pair.ours.key.reveal().hex(), pair.theirs.key.reveal().hex()
        return {"suite": pair.theirs.suite, "ours": ours, "theirs": theirs}

    def _held(self, index: int) -> tuple[Crypto, ...]:
        pair = self._pairs.get(index)
        return () if pair is None else (pair.ours,)

    def _line(self, tag: int, suite: str) -> Crypto:
        return Crypto(tag, suite, MasterKey(self._random(SUITES[suite])))
