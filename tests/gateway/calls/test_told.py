"""What a second worker is told of a leg: as it stands now, whatever the first one was told when."""

from __future__ import annotations

from dataclasses import fields, replace

from gateway.calls.talk import Talk
from gateway.calls.told import Told
from media.messages import Discard, Hold, Latched, Open, Pause, Play, Played, Release, Resume, Resumed, Rolled, Update

OPENED = Open(7, {8: "PCMA"}, 101, ("192.0.2.1", 4000), nat=True, announce=True, sink={"key": "00"})


def test_the_newest_description_counts_and_nothing_of_the_opening_is_forgotten() -> None:
    told = Told(OPENED)
    told.hear(Update(7, {0: "PCMU"}, ("192.0.2.2", 5000), receiving=False, hears=False, quiet_s=9.0), 0.0)
    (opened,) = told.again(100.0)
    assert isinstance(opened, Open)
    assert (opened.codecs, opened.remote, opened.event_pt) == ({0: "PCMU"}, ("192.0.2.2", 5000), None)
    assert (opened.sending, opened.hears, opened.quiet_s) == (False, False, 9.0)
    assert (opened.nat, opened.sink, opened.life) == (True, {"key": "00"}, 1)


def test_every_field_of_a_description_has_its_place_in_the_opening() -> None:
    assert {entry.name for entry in fields(Update)} - {entry.name for entry in fields(Open)} == {"receiving"}


def test_pause_latch_release_and_an_announcement_that_was_heard_are_kept() -> None:
    told = Told(OPENED)
    for message in (
        Play(7, "prompt"),
        Played(7, 20_000, 2_000_000, complete=True),
        Pause(7, 1),
        Latched(7, 42),
        Release(7),
    ):
        told.hear(message, 0.0)
    opened, pause, release = told.again(1.0)
    assert isinstance(opened, Open)
    assert pause == Pause(7, 1)
    assert (opened.announce, opened.from_us, opened.paused, opened.latched) == (False, 2_000_000, True, 42)
    assert release == Release(7)
    told.hear(Resume(7, 2), 2.0)
    told.hear(Resumed(7, 2, 3_000_000), 2.1)
    opened, *_ = told.again(3.0)
    assert isinstance(opened, Open)
    assert (opened.paused, opened.life) == (False, 2)
    assert opened.from_us == 3_000_000, "what waited in the socket since the pause is not kept"


def test_a_held_leg_is_held_again_until_it_is_released_or_nothing_of_it_is_kept() -> None:
    told = Told(OPENED)
    told.hear(Hold(7), 0.0)
    assert told.again(1.0)[1:] == [Hold(7)]
    told.hear(Release(7), 2.0)
    assert told.again(3.0)[1:] == [Release(7)]
    lost = Told(OPENED)
    lost.hear(Hold(7), 0.0)
    lost.hear(Discard(7), 1.0)
    opened, *_ = lost.again(2.0)
    assert isinstance(opened, Open)
    assert opened.sink == {}


def test_an_announcement_that_was_not_heard_to_its_end_begins_again() -> None:
    told = Told(OPENED)
    told.hear(Play(7, "prompt"), 0.0)
    assert told.again(1.0)[1:] == [Play(7, "prompt")]
    told.hear(Played(7, 0, 0, complete=False), 2.0)  # it cannot be: nothing is kept
    (opened,) = told.again(3.0)
    assert isinstance(opened, Open)
    assert opened.announce


def test_a_peer_that_may_just_move_may_still_do_so() -> None:
    told, update = Told(OPENED), Update(7, {8: "PCMA"})
    told.hear(update, 0.0)
    assert told.again(4.0)[1:] == [update]
    assert told.again(6.0)[1:] == []


def test_speech_that_goes_on_over_a_workers_death_starts_once() -> None:
    talk = Talk()
    assert talk.hear(started=True)
    assert talk.lose()
    assert not talk.hear(started=True)  # the new detector's
    assert not talk.settle()
    assert talk.hear(started=False)


def test_speech_that_is_not_heard_again_has_ended() -> None:
    talk = Talk()
    talk.hear(started=True)
    assert talk.lose()
    assert talk.settle()
    assert talk.hear(started=True)


def test_a_silent_party_loses_nothing() -> None:
    talk = Talk()
    assert not talk.lose()
    assert not talk.settle()


def test_a_rollover_counter_stays_with_its_key() -> None:
    told = Told(replace(OPENED, srtp={"suite": "S", "theirs": "aa", "ours": "bb"}))
    told.hear(Rolled(7, 42, 3), 0.0)
    told.hear(Update(7, {8: "PCMA"}, srtp={"suite": "S", "theirs": "aa", "ours": "cc"}), 1.0)
    counted = {"ssrc": "42", "rollovers": "3"}
    assert told.opened.srtp == {"suite": "S", "theirs": "aa", "ours": "cc"} | counted
    told.hear(Update(7, {8: "PCMA"}, srtp={"suite": "S", "theirs": "dd", "ours": "cc"}), 2.0)
    assert told.opened.srtp == {"suite": "S", "theirs": "dd", "ours": "cc"}
