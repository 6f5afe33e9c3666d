"""What a worker holds: deliveries, slots, duplicates, ends."""

from __future__ import annotations

import threading

from distren.amqp.link import Delivery
from distren.wire.fields import Blob
from distren.wire.frames import Render
from distren.worker.hand import REMEMBERED, Ending, Hand, Holding, Receipt, Stage


def render(frame: int, issue: int = 1, job: int = 7) -> Render:
    manifest = Blob(digest="0" * 64, size=1)
    return Render(
        job=job, frame=frame, issue=issue, renderer="test", manifest=manifest, first=0, last=9, time_limit=10.0
    )


def delivery(tag: int, session: int = 1) -> Delivery:
    return Delivery(body=b"", tag=tag, session=session, queue="frames")


def taken(hand: Hand) -> Holding:
    holding = hand.next()
    assert holding is not None
    return holding


def test_a_frame_waits_for_a_slot_and_is_rendered_and_finished() -> None:
    hand = Hand(1)
    assert hand.receive(render(1), delivery(1)) is Receipt.NEW
    holding = taken(hand)
    assert holding.stage is Stage.RENDERING
    hand.sending(holding)
    assert hand.finish(holding) == delivery(1)
    assert hand.is_empty


def test_no_more_frames_are_rendered_at_once_than_there_are_slots() -> None:
    hand = Hand(1)
    for tag in (1, 2):
        hand.receive(render(tag), delivery(tag))
    first, seconds = taken(hand), []
    thread = threading.Thread(target=lambda: seconds.append(taken(hand)))
    thread.start()
    thread.join(0.1)
    assert thread.is_alive()
    hand.sending(first)
    thread.join(10)
    assert [one.render.frame for one in seconds] == [2]


def test_more_slots_take_the_next_frame_at_once() -> None:
    hand = Hand(0)
    hand.receive(render(1), delivery(1))
    seconds: list[Holding] = []
    thread = threading.Thread(target=lambda: seconds.append(taken(hand)))
    thread.start()
    hand.resize(1)
    thread.join(10)
    assert len(seconds) == 1


def test_a_delivery_of_a_frame_in_hand_takes_the_place_of_the_lost_one() -> None:
    hand = Hand(1)
    hand.receive(render(1), delivery(1))
    holding = taken(hand)
    hand.forget_deliveries()
    assert hand.receive(render(1), delivery(5, session=2)) is Receipt.AGAIN
    assert hand.finish(holding) == delivery(5, session=2)


def test_a_second_delivery_of_a_frame_in_hand_is_superfluous() -> None:
    hand = Hand(1)
    hand.receive(render(1), delivery(1))
    assert hand.receive(render(1), delivery(2)) is Receipt.SUPERFLUOUS


def test_a_frame_that_was_finished_a_moment_ago_is_superfluous() -> None:
    hand = Hand(1)
    hand.receive(render(1), delivery(1))
    hand.finish(taken(hand))
    assert hand.receive(render(1), delivery(2)) is Receipt.SUPERFLUOUS


def test_a_later_issue_of_a_finished_frame_is_new() -> None:
    hand = Hand(1)
    hand.receive(render(1), delivery(1))
    hand.finish(taken(hand))
    assert hand.receive(render(1, issue=2), delivery(2)) is Receipt.NEW


def test_only_the_last_finished_frames_are_remembered() -> None:
    hand = Hand(1)
    for number in range(REMEMBERED + 1):
        hand.receive(render(number), delivery(number))
        hand.finish(taken(hand))
    assert hand.receive(render(0), delivery(1)) is Receipt.NEW
    assert hand.receive(render(REMEMBERED), delivery(2)) is Receipt.SUPERFLUOUS


def test_a_lost_connection_lets_go_what_has_not_begun() -> None:
    hand = Hand(1)
    for tag in (1, 2):
        hand.receive(render(tag), delivery(tag))
    holding = taken(hand)
    hand.forget_deliveries()
    assert hand.holdings() == [holding]
    assert hand.receive(render(2), delivery(3, session=2)) is Receipt.NEW


def test_a_frame_acknowledged_early_takes_no_delivery_again() -> None:
    hand = Hand(1)
    hand.receive(render(1), delivery(1))
    holding = taken(hand)
    assert hand.release_early(holding) == delivery(1)
    assert hand.receive(render(1), delivery(2)) is Receipt.SUPERFLUOUS
    assert hand.finish(holding) is None


def test_calling_a_job_off_stops_its_renders_and_lets_its_waiting_frames_go() -> None:
    hand = Hand(1)
    for tag, job in ((1, 7), (2, 7), (3, 8)):
        hand.receive(render(tag, job=job), delivery(tag))
    holding = taken(hand)
    assert hand.call_off(7, None) == [delivery(2)]
    assert holding.stop.is_set()
    assert holding.ending is Ending.CALLED_OFF
    assert [one.render.job for one in hand.holdings()] == [7, 8]


def test_calling_frames_off_leaves_the_others() -> None:
    hand = Hand(2)
    for tag in (1, 2):
        hand.receive(render(tag), delivery(tag))
    first, second = taken(hand), taken(hand)
    hand.call_off(7, [2])
    assert (first.stop.is_set(), second.stop.is_set()) == (False, True)


def test_a_frame_that_is_dropped_may_come_again() -> None:
    hand = Hand(1)
    hand.receive(render(1), delivery(1))
    assert hand.drop(taken(hand)) == delivery(1)
    assert hand.receive(render(1), delivery(2)) is Receipt.NEW


def test_frames_that_wait_too_long_are_taken_out_but_for_those_to_keep() -> None:
    now = 0.0
    hand = Hand(0, clock=lambda: now)
    for tag in (1, 2, 3):
        hand.receive(render(tag), delivery(tag))
    now = 5.0
    hand.receive(render(4), delivery(4))
    assert hand.take_waiting(keep=1, before=4.0) == [delivery(2), delivery(3)]
    assert [one.render.frame for one in hand.holdings()] == [1, 4]


def test_a_closed_hand_gives_no_frame_to_a_slot() -> None:
    hand = Hand(1)
    hand.receive(render(1), delivery(1))
    hand.close()
    assert hand.next() is None
