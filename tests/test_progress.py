"""How far long work is, in a log file."""

from __future__ import annotations

import io
import time

from harmoseg.progress import Progress, format_time


def test_a_line_says_what_is_done_and_what_is_left() -> None:
    seconds = iter((0.0, 0.0, 60.0))
    progress = Progress(100, "training", "batch", clock=lambda: next(seconds))
    with progress:
        progress.update(25)
        assert progress.line() == "training: 25 of 100 batches in 60 s, about 3 min left"


def test_what_was_done_before_does_not_make_the_rest_look_short() -> None:
    seconds = iter((0.0, 0.0, 60.0))
    with Progress(100, "scoring", done=50, clock=lambda: next(seconds)) as progress:
        progress.update(10)
        assert progress.line() == "scoring: 60 of 100 cases in 60 s, about 4 min left"


def test_lines_come_also_while_no_part_ends() -> None:
    stream = io.StringIO()
    with Progress(10, "predicting", stream=stream, every=0.01):
        deadline = time.monotonic() + 60
        while stream.getvalue().count("\n") < 2 and time.monotonic() < deadline:
            time.sleep(0.01)
    assert stream.getvalue().startswith("  predicting: 0 of 10 cases in ")


def test_times_are_told_in_their_unit() -> None:
    assert [format_time(s) for s in (40, 720, 12000)] == ["40 s", "12 min", "3 h 20 min"]
