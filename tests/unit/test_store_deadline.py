from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from threading import Event, Thread

import pytest

from certshelf.errors import StoreBusy, StoreTimeout
from certshelf.store.deadline import MAX_ABANDONED, Deadline


@pytest.fixture
def hung() -> Iterator[Event]:
    """Calls that wait for it hang until the test is over."""
    released = Event()
    yield released
    released.set()


def test_a_result_and_an_error_come_through() -> None:
    deadline = Deadline(5)
    assert deadline.call(lambda: 42, "count") == 42
    with pytest.raises(ZeroDivisionError):
        deadline.call(lambda: 1 / 0, "divide")


def test_one_thread_serves_call_after_call() -> None:
    deadline = Deadline(5)
    assert len({deadline.call(threading.get_ident, "look") for _ in range(20)}) == 1


def test_a_call_that_hangs_ends_at_the_deadline_and_says_what_it_was(hung: Event) -> None:
    with pytest.raises(StoreTimeout) as caught:
        Deadline(0.05).call(hung.wait, "cannot read a.pfx in /srv/shelf")
    assert str(caught.value) == "cannot read a.pfx in /srv/shelf: no answer within 0.05 s"


def test_when_too_many_hang_each_call_fails_at_once_until_one_comes_back(hung: Event) -> None:
    deadline = Deadline(0.05)
    for _ in range(MAX_ABANDONED):
        with pytest.raises(StoreTimeout):
            deadline.call(hung.wait, "read")
    assert deadline.abandoned == MAX_ABANDONED
    deadline.seconds = 60  # a call that waited would run into the test's own time limit
    with pytest.raises(StoreBusy):
        deadline.call(lambda: 1, "read")
    hung.set()
    end = time.monotonic() + 30
    while deadline.abandoned and time.monotonic() < end:
        time.sleep(0.005)
    assert deadline.call(lambda: 1, "read") == 1


def test_no_more_threads_hang_than_may_however_many_call_at_once(hung: Event) -> None:
    deadline = Deadline(0.2, max_abandoned=3)
    met: list[BaseException] = []

    def call() -> None:
        try:
            deadline.call(hung.wait, "read")
        except (StoreTimeout, StoreBusy) as error:
            met.append(error)

    callers = [Thread(target=call) for _ in range(10)]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join()
    assert len(met) == 10
    assert deadline.abandoned == 3


def test_a_closed_deadline_lets_its_threads_end() -> None:
    deadline = Deadline(5)
    worker = deadline.call(threading.current_thread, "look")
    deadline.close()
    worker.join(5)
    assert not worker.is_alive()
