"""Progress lines: rare, with rate and remaining time, on stderr."""

from __future__ import annotations

import pytest

from reprolib.run import training
from reprolib.run.training import Progress, duration


class Clock:
    """A clock that the test moves."""

    def __init__(self) -> None:
        self.now = 100.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(training, "time", clock)
    return clock


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0 s"), (41.6, "42 s"), (59.4, "59 s"), (59.6, "1 min 0 s"), (185, "3 min 5 s"), (3599.4, "59 min 59 s"),
        (3599.6, "1 h 0 min"), (7800, "2 h 10 min"), (100_000, "27 h 46 min"),
    ],
)  # fmt: skip
def test_durations_carry_over_to_the_next_unit(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def test_short_work_prints_nothing(clock: Clock, capfd: pytest.CaptureFixture[str]) -> None:
    work = Progress("cgn", 100)
    for step in range(100):
        clock.now += 0.099
        work.update(step + 1)
    assert capfd.readouterr() == ("", "")


def test_a_line_gives_rate_remaining_time_and_note(clock: Clock, capfd: pytest.CaptureFixture[str]) -> None:
    work = Progress("cgn", 5000)
    clock.now += 20
    work.update(1000, "loss 0.5")
    out, err = capfd.readouterr()
    assert err == "cgn: 1,000 of 5,000 steps, 50.0 steps/s, 1 min 20 s left; loss 0.5\n"
    assert out == ""  # stdout belongs to results


def test_steps_done_before_a_resume_do_not_count_for_the_rate(clock: Clock, capfd: pytest.CaptureFixture[str]) -> None:
    work = Progress("cgn", 1000, done=900)
    clock.now += 10
    work.update(950)
    assert "5.0 steps/s, 10 s left" in capfd.readouterr().err


def test_slow_steps_are_told_in_seconds_each(clock: Clock, capfd: pytest.CaptureFixture[str]) -> None:
    work = Progress("table", 3, unit="classifiers")
    clock.now += 90
    work.update(1)
    assert capfd.readouterr().err == "table: 1 of 3 classifiers, 1 min 30 s each, 3 min 0 s left\n"


def test_no_progress_yet_has_no_remaining_time(clock: Clock, capfd: pytest.CaptureFixture[str]) -> None:
    work = Progress("cgn", 10)
    clock.now += 11
    work.update(0)
    assert capfd.readouterr().err == "cgn: 0 of 10 steps, ? each, unknown time left\n"


def test_lines_keep_their_distance(clock: Clock, capfd: pytest.CaptureFixture[str]) -> None:
    work = Progress("cgn", 1000, every=10)
    for step in range(100):
        clock.now += 1
        work.update(step + 1)
    assert len(capfd.readouterr().err.splitlines()) == 10
