"""The four tables: what the RFCs ask of them, row by row, and what must hold for all."""

from __future__ import annotations

import pytest

from gateway.sip.machines import (
    CLIENT_INVITE,
    CLIENT_OTHER,
    SERVER_INVITE,
    SERVER_OTHER,
    STREAMS,
    Act,
    Input,
    Machine,
    State,
)

DATAGRAMS = [SERVER_INVITE, SERVER_OTHER, CLIENT_INVITE, CLIENT_OTHER]
MACHINES = [*DATAGRAMS, *(STREAMS[machine] for machine in DATAGRAMS)]
KINDS = ["server INVITE", "server other", "client INVITE", "client other"]
NAMES = [f"{kind} over {way}" for way in ("UDP", "TCP") for kind in KINDS]
LINGERING = {Act.LINGER_FULL, Act.LINGER_J, Act.LINGER_D, Act.LINGER_T4}
ALARMS = {Act.RESEND_LATER, Act.RESEND_SLOWLY, Act.GIVE_UP_LATER, *LINGERING}
SET_BY = {
    Input.GIVE_UP: {Act.GIVE_UP_LATER},
    Input.LINGER: LINGERING,
}
WAITING_FOR_ITS_USER = {State.TRYING, State.PROCEEDING}


def _states(machine: Machine) -> set[State]:
    return {machine.start} | {state for state, _ in machine.rows.values()}


@pytest.mark.parametrize("machine", MACHINES, ids=NAMES)
def test_every_state_is_reached_and_nothing_leaves_the_last(machine: Machine) -> None:
    reached, frontier = {machine.start}, [machine.start]
    while frontier:
        state = frontier.pop()
        for (source, _), (target, _) in machine.rows.items():
            if source is state and target not in reached:
                reached.add(target)
                frontier.append(target)
    assert reached == _states(machine) | {State.TERMINATED}
    assert not [source for source, _ in machine.rows if source is State.TERMINATED]


@pytest.mark.parametrize("machine", MACHINES, ids=NAMES)
def test_every_state_that_its_user_does_not_end_is_ended_by_a_timer(machine: Machine) -> None:
    for state in _states(machine) - {State.TERMINATED}:
        enders = [event for event in SET_BY if machine.rows.get((state, event), (None,))[0] is State.TERMINATED]
        if not enders:
            assert state in WAITING_FOR_ITS_USER
            continue
        for (source, event), (target, acts) in machine.rows.items():
            if target is state and source is not state:
                inherited = (source, enders[0]) in machine.rows
                assert inherited or any(SET_BY[ender] & set(acts) for ender in enders), (source, event)


@pytest.mark.parametrize("machine", MACHINES, ids=NAMES)
def test_a_final_answer_is_told_or_sent_once_for_each_message(machine: Machine) -> None:
    for (_, event), (_, acts) in machine.rows.items():
        if event in (Input.SUCCESS, Input.FAILURE):
            assert len([act for act in acts if act not in ALARMS]) <= 2


def test_rfc_6026_a_2xx_is_accepted_and_lingers() -> None:
    assert SERVER_INVITE.rows[State.PROCEEDING, Input.SUCCESS] == (State.ACCEPTED, (Act.SEND, Act.LINGER_FULL))
    assert CLIENT_INVITE.rows[State.ACCEPTED, Input.SUCCESS] == (State.ACCEPTED, (Act.TELL,))


@pytest.mark.parametrize("machine", DATAGRAMS, ids=KINDS)
def test_over_a_stream_nothing_is_sent_again_and_only_accepted_invites_linger(machine: Machine) -> None:
    stream = STREAMS[machine]
    acts = {act for _, row in stream.rows.values() for act in row}
    assert not acts & {Act.RESEND_LATER, Act.RESEND_SLOWLY, Act.LINGER_D, Act.LINGER_J, Act.LINGER_T4}
    assert not [event for _, event in stream.rows if event is Input.RESEND]
    lingering = {target for target, row in stream.rows.values() if Act.LINGER_FULL in row}
    assert lingering <= {State.ACCEPTED}
