"""Who gave wrong passwords waits longer and longer; others do not."""

from __future__ import annotations

from webui.accounts.back_off import FORGOTTEN_AFTER_SECONDS, FREE_TRIES, LONGEST_SECONDS, MOST_KEPT, BackOff


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_the_first_tries_are_free_and_then_the_wait_doubles() -> None:
    clock = Clock()
    back_off = BackOff(clock)
    waits = []
    for _ in range(FREE_TRIES + 8):
        back_off.failed("address 10.0.0.1")
        waits.append(back_off.wait_seconds("address 10.0.0.1"))
    assert waits[: FREE_TRIES - 1] == [0.0] * (FREE_TRIES - 1)
    assert waits[FREE_TRIES - 1 :] == [1, 2, 4, 8, 16, 32, LONGEST_SECONDS, LONGEST_SECONDS, LONGEST_SECONDS]


def test_another_browser_does_not_wait() -> None:
    back_off = BackOff(Clock())
    for _ in range(20):
        back_off.failed("address 10.0.0.1")
    assert back_off.wait_seconds("browser 5f") == 0.0


def test_a_right_password_and_time_let_failures_be_forgotten() -> None:
    clock = Clock()
    back_off = BackOff(clock)
    for _ in range(10):
        back_off.failed("a")
        back_off.failed("b")
    back_off.succeeded("a")
    assert back_off.wait_seconds("a") == 0.0
    clock.now += FORGOTTEN_AFTER_SECONDS
    back_off.failed("b")
    assert back_off.wait_seconds("b") == 0.0


def test_what_is_kept_is_bounded() -> None:
    back_off = BackOff(Clock())
    for number in range(MOST_KEPT + 5):
        for _ in range(FREE_TRIES):
            back_off.failed(f"address {number}")
    assert back_off.wait_seconds("address 0") == 0.0
    assert back_off.wait_seconds(f"address {MOST_KEPT}") > 0.0
