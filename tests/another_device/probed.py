"""Every architecture, with its rotation and without, probed on the CPU, on another device, and on two that share it."""

from typing import Any

import torch

from benchmarks.passes import EVERYTHING
from dropeact.checkpoints.dropping import unrotated
from dropeact.probes.probing import probing
from tests import tiny_models
from tests.another_device import pretended
from tests.another_device.spreading import spread


def read(model: Any, tokens: torch.Tensor) -> dict[str, torch.Tensor]:
    """Everything that is read of one pass, and its logits."""
    with probing(model, EVERYTHING) as seen, torch.no_grad():
        logits = model(tokens, use_cache=False).logits
    return {name: seen[name] for name in seen.values} | {"logits": logits.cpu()}


def main() -> None:
    """All passes of each, compared with the one on the CPU."""
    tokens = tiny_models.tokens(2, 40)
    for kind in tiny_models.ARCHITECTURES:
        for made in (lambda model: model, unrotated):
            expected = read(made(tiny_models.of(kind)), tokens)
            for place in (lambda model: model.to(pretended.NAME), spread):
                with pretended.pretending():
                    found = read(made(place(tiny_models.of(kind))), tokens.to(pretended.NAME))
                torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-4)
        print(kind, len(expected))


if __name__ == "__main__":
    main()
