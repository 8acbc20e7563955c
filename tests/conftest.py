"""What all tests share: they compute on the CPU, whatever the machine has."""

import os
from collections.abc import Iterator

import pytest

VISIBLE = "CUDA_VISIBLE_DEVICES"


@pytest.fixture(autouse=True, scope="session")
def on_the_cpu() -> Iterator[dict[str, str]]:
    """Measure and train on the CPU, here and in processes that tests start; gives the environment as it was.

    Numbers are compared with those of a CPU, and training takes bfloat16 on a GPU. Tests of a GPU name it themselves.
    """
    import torch  # claims are collected beside tests, and judged without it

    before = dict(os.environ)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch.cuda, "is_available", lambda: False)
        patch.setattr(torch.accelerator, "is_available", lambda: False)
        patch.setenv(VISIBLE, "")
        yield before
