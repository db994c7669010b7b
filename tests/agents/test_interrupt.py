"""Ctrl-C is held back once, and never a second time."""

from __future__ import annotations

import signal
import threading

import pytest

from agents.interrupt import held_back_interrupts


@pytest.fixture(autouse=True)
def ctrl_c_as_python_treats_it():
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def test_the_first_interrupt_is_noted_and_the_second_one_strikes():
    with pytest.raises(KeyboardInterrupt), held_back_interrupts() as interrupted:
        assert not interrupted()
        signal.raise_signal(signal.SIGINT)
        assert interrupted()
        signal.raise_signal(signal.SIGINT)
        pytest.fail("the second one was held back")
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_a_handler_of_the_program_stays_in_place():
    heard = []
    signal.signal(signal.SIGINT, lambda number, frame: heard.append(number))
    with held_back_interrupts() as interrupted:
        signal.raise_signal(signal.SIGINT)
    assert heard == [signal.SIGINT] and not interrupted()


def test_other_threads_hold_nothing_back():
    seen = []

    def work():
        with held_back_interrupts() as interrupted:
            seen.append(interrupted())

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert seen == [False]
