"""The ordered map: order, bounds, and what an error leaves."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator

import pytest

from harmoseg import parallel
from harmoseg.parallel import ordered_map


def test_results_come_in_order_though_work_ends_in_another() -> None:
    def work(number: int) -> int:
        time.sleep(0.02 if number % 3 == 0 else 0)
        return number**2

    assert list(ordered_map(work, range(20), threads=4)) == [n**2 for n in range(20)]


@pytest.mark.parametrize("eager", [False, True])
def test_items_are_drawn_only_a_little_ahead(eager) -> None:
    drawn = 0

    def items() -> Iterator[int]:
        nonlocal drawn
        for number in range(1, 101):
            drawn = number
            yield number

    for result in ordered_map(lambda n: n, items(), threads=3, ahead=2, eager=eager):
        assert drawn - result <= 5


def test_items_that_take_much_memory_are_worked_on_alone(monkeypatch) -> None:
    monkeypatch.setattr(parallel, "MOST_MEMORY", 100)
    under_way, most = 0, 0
    lock = threading.Lock()

    def work(size: int) -> int:
        nonlocal under_way, most
        with lock:
            under_way += size
            most = max(most, under_way)
        time.sleep(0.005)
        with lock:
            under_way -= size
        return size

    sizes = [60, 30, 60, 200, 10, 90, 20]
    assert list(ordered_map(work, sizes, threads=4, memory=lambda size: size)) == sizes
    assert most == 200  # one that is larger than the bound goes alone


def test_an_eager_result_does_not_wait_for_the_next_item() -> None:
    done = threading.Event()

    def items() -> Iterator[int]:
        yield 1
        assert done.wait(10)  # set by the work on the item before
        time.sleep(0.05)
        yield 2
        pytest.fail("the first result was not handed out before a third item was drawn")

    def work(number: int) -> int:
        done.set()
        return number

    results = ordered_map(work, items(), threads=4, ahead=4, eager=True)
    assert next(results) == 1
    results.close()


def test_an_interruption_comes_after_the_results_before_it() -> None:
    def items() -> Iterator[int]:
        yield from range(3)
        raise KeyboardInterrupt

    seen = []
    with pytest.raises(KeyboardInterrupt):
        for result in ordered_map(lambda n: n, ordered_map(lambda n: n, items()), eager=True):
            seen.append(result)
    assert seen == [0, 1, 2]


def test_an_error_of_the_work_is_raised_in_its_place_and_stops_the_rest() -> None:
    begun = []

    def work(number: int) -> int:
        begun.append(number)
        return 1 // (5 - number)

    results = ordered_map(work, iter(range(1000)), threads=2)
    with pytest.raises(ZeroDivisionError):
        list(results)
    assert len(begun) < 20


def test_closing_closes_what_items_are_drawn_from() -> None:
    closed = []

    def items() -> Iterator[int]:
        try:
            yield from range(100)
        finally:
            closed.append(True)

    results = ordered_map(lambda n: n, items(), threads=2)
    assert next(results) == 0
    results.close()
    assert closed
