"""What holds for every test."""

import torch

torch.set_num_threads(
    1
)  # for tensors as small as the tests' a second thread costs more than it gives
