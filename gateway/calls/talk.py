"""Who speaks, as subscribers were told: a new worker's detector begins in silence, and knows nothing of it."""

from __future__ import annotations

from dataclasses import dataclass

SURE_S = 1.0  # after a worker's death: somebody who has not been heard by then does not speak any more


@dataclass(slots=True)
class Talk:
    """One leg's party."""

    speaking: bool = False
    _unsure: bool = False

    def hear(self, *, started: bool) -> bool:
        """What a detector says; whether it is news."""
        news = started != self.speaking
        self.speaking, self._unsure = started, False
        return news

    def lose(self) -> bool:
        """The worker that heard it is dead; whether `settle` is to be asked after `SURE_S`."""
        self._unsure = self.speaking
        return self._unsure

    def settle(self) -> bool:
        """Whether speech has ended unheard, and is to be told as over."""
        over, self._unsure = self._unsure, False
        if over:
            self.speaking = False
        return over
