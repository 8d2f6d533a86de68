# SPDX-License-Identifier: GPL-3.0-or-later
"""The server's order of work."""

import threading

from lpmm_runtime.request_queue import RequestQueue


def always(_: str) -> bool:
    return True


def test_exact_requests_come_first_in_their_order() -> None:
    queue: RequestQueue[str] = RequestQueue(always)
    queue.put_live("a", "live")
    queue.put("first")
    queue.put("second")
    assert [queue.take() for _ in range(3)] == ["first", "second", "live"]


def test_a_live_request_takes_the_place_of_the_older_one_of_its_character_only() -> None:
    queue: RequestQueue[str] = RequestQueue(always)
    queue.put_live("a", "a1")
    queue.put_live("b", "b1")
    for number in range(2, 9):
        queue.put_live("a", f"a{number}")
    assert [queue.take(), queue.take()] == ["a8", "b1"]


def test_a_request_that_is_not_ready_waits_without_holding_up_the_others() -> None:
    stopped = {"slow"}
    queue: RequestQueue[str] = RequestQueue(lambda request: request not in stopped)
    queue.put("slow")
    queue.put_live("a", "live")
    assert queue.take() == "live"
    taken: list[str] = []
    worker = threading.Thread(target=lambda: taken.append(queue.take()))
    worker.start()
    stopped.clear()
    queue.reconsider()
    worker.join(20)
    assert taken == ["slow"]


def test_what_nobody_waits_for_is_discarded() -> None:
    queue: RequestQueue[str] = RequestQueue(always)
    queue.put("theirs")
    queue.put_live("a", "theirs")
    queue.put_live("b", "ours")
    queue.discard(lambda request: request == "theirs")
    assert queue.take() == "ours"
