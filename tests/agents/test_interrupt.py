"""Ctrl-C and SIGTERM are held back once, and never a second time."""

from __future__ import annotations

import signal
import threading

import pytest

from agents.interrupt import held_back_interrupts

SIGNALS = [signal.SIGINT, signal.SIGTERM]
USUAL = {signal.SIGINT: signal.default_int_handler, signal.SIGTERM: signal.SIG_DFL}


@pytest.fixture(autouse=True)
def signals_as_python_treats_them():
    before = {number: signal.signal(number, way) for number, way in USUAL.items()}
    yield
    for number, way in before.items():
        signal.signal(number, way)


@pytest.mark.parametrize("first", SIGNALS)
@pytest.mark.parametrize("second", SIGNALS)
def test_the_first_one_is_noted_and_the_second_one_strikes(first, second):
    with pytest.raises(KeyboardInterrupt), held_back_interrupts() as interrupted:
        assert not interrupted()
        signal.raise_signal(first)
        assert interrupted()
        signal.raise_signal(second)
        pytest.fail("the second one was held back")
    assert {number: signal.getsignal(number) for number in SIGNALS} == USUAL


@pytest.mark.parametrize("own", SIGNALS)
def test_a_handler_of_the_program_stays_in_place_and_the_other_signal_is_held_back(own):
    heard = []
    signal.signal(own, lambda number, frame: heard.append(number))
    with held_back_interrupts() as interrupted:
        signal.raise_signal(own)
        assert heard == [own] and not interrupted()
        [other] = {*SIGNALS} - {own}
        signal.raise_signal(other)
        assert interrupted() and heard == [own]


def test_other_threads_hold_nothing_back():
    seen = []

    def work():
        with held_back_interrupts() as interrupted:
            seen.append(interrupted())

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert seen == [False]
