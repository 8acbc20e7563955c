"""Every architecture, with its rotation and without, probed on the CPU and on a device that is not."""

from typing import Any

import torch

from benchmarks.passes import EVERYTHING
from dropeact.checkpoints.dropping import unrotated
from dropeact.probes.probing import probing
from tests import tiny_models
from tests.another_device import pretended


def read(model: Any, tokens: torch.Tensor) -> dict[str, torch.Tensor]:
    """Everything that is read of one pass, and its logits."""
    with probing(model, EVERYTHING) as seen, torch.no_grad():
        logits = model(tokens, use_cache=False).logits
    return {name: seen[name] for name in seen.values} | {"logits": logits.cpu()}


def main() -> None:
    """Both passes of each, compared."""
    tokens = tiny_models.tokens(2, 40)
    for kind in tiny_models.ARCHITECTURES:
        for rotates in (True, False):
            model: Any = tiny_models.of(kind)
            model = model if rotates else unrotated(model)
            expected = read(model, tokens)
            with pretended.pretending():
                found = read(model.to(pretended.NAME), tokens.to(pretended.NAME))
            torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-4)
        print(kind, len(expected))


if __name__ == "__main__":
    main()
