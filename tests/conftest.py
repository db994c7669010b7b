"""What holds for every test."""

import signal

import pytest
import torch

# For tensors as small as the tests' a second thread costs more than it gives.
torch.set_num_threads(1)

# A shell's background job ignores Ctrl-C; tests that send it are to find Python's own way.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The longest tests first: begun last, one of them would run while the other cores idle."""
    items.sort(key=lambda item: item.get_closest_marker("slow") is None)
