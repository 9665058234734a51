"""What a media worker has been told of a leg and has said of it, in one place, so that another can go on with it.

Whatever a leg's state is, it stands here as the `Open` that would begin it: terms and keys of the last description,
whether it is paused, whether its announcement has been heard, which source behind NAT it takes.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace

from media.messages import (
    Command,
    Discard,
    Hold,
    Latched,
    Message,
    Open,
    Pause,
    Play,
    Played,
    Release,
    Resume,
    Resumed,
    Rolled,
    Update,
)
from media.sources import RELATCH_US

_SHARED = {entry.name for entry in fields(Update)} & {entry.name for entry in fields(Open)}


@dataclass(slots=True)
class Told:
    """One leg."""

    opened: Open
    released: bool = False
    held: bool = False  # its keys are away, or were
    prompt: str = ""  # what is being played to it
    _ordered: Pause | Resume | None = None  # the newest of them: whoever gave it may still wait for an answer
    _updated: Update | None = None  # the newest description
    _updated_at: float = 0.0

    def hear(self, message: Message, now: float) -> None:
        """A command that goes out, or an event that has come, at monotonic time `now`."""
        match message:
            case Update():
                self._updated, self._updated_at = message, now
                agreed = {name: getattr(message, name) for name in _SHARED}
                counted = {name: self.opened.srtp[name] for name in ("ssrc", "rollovers") if name in self.opened.srtp}
                if message.srtp.get("theirs") == self.opened.srtp.get("theirs"):  # another key counts anew
                    agreed["srtp"] = message.srtp | counted
                self.opened = replace(self.opened, **agreed, sending=message.receiving, answered=True)
            case Pause() | Resume():
                self.opened = replace(self.opened, paused=isinstance(message, Pause))
                self._ordered = message
            case Release():
                self.released = True
            case Hold():
                self.held = True
            case Discard():
                self.opened = replace(self.opened, sink={})
            case Play():
                self.prompt = message.prompt
            case Played():
                self.prompt = ""
                if message.complete:
                    self.opened = replace(self.opened, announce=False, from_us=message.end_us)
            case Resumed():
                self.opened = replace(self.opened, from_us=max(self.opened.from_us, message.at_us))
            case Rolled():
                counted = {"ssrc": str(message.ssrc), "rollovers": str(message.count)}
                self.opened = replace(self.opened, srtp=self.opened.srtp | counted)
            case Latched():
                self.opened = replace(self.opened, latched=message.source)

    def again(self, now: float) -> list[Command]:
        """What another worker is told after the death of the one that had it; the sockets go with the first.

        A prompt begins anew. For as long as a description is so new that its sender may come from elsewhere it is
        told once more, since it may have done so unheard.
        """
        self.opened = replace(self.opened, life=self.opened.life + 1)
        commands: list[Command] = [self.opened]
        if self._updated is not None and now - self._updated_at < RELATCH_US / 1e6:
            commands.append(self._updated)
        if self._ordered is not None:
            commands.append(self._ordered)
        if self.held and not self.released:
            commands.append(Hold(self.opened.leg))
        if self.released:
            commands.append(Release(self.opened.leg))
        if self.prompt:
            commands.append(Play(self.opened.leg, self.prompt))
        return commands
