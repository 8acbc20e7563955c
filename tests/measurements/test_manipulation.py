import numpy as np
import pytest
import torch

from dropeact.measurements.manipulation import manipulation
from tests.tiny_models import eager_attention, llama

LAYER = 0
PROMPTS = [[3, 5, 60, 20, 11, 8], [9, 8, 7, 6, 44]]


def test_ratio_and_sinks_of_an_unchanged_model_against_hugging_face():
    model = llama("gqa-rope")
    ratios, rates = [], []
    for ids in (torch.tensor([prompt]) for prompt in PROMPTS):
        with torch.no_grad():
            after = model(ids, output_hidden_states=True).hidden_states[LAYER + 1][0]
        first, *others = after.norm(dim=-1).double().tolist()
        ratios.append(first / np.median(others))
        scores = eager_attention(model, ids)[LAYER + 1 :, 0, :, 1:, 0].mean(-1)
        rates.append((scores >= 0.3).double().mean().item())
    checks = manipulation(model, PROMPTS, {"baseline": ()}, layer=LAYER).sel(condition="baseline")
    assert float(checks["first_ratio"]) == pytest.approx(sum(ratios) / 2, rel=1e-5)
    assert 0 < sum(rates) / 2 < 1
    assert float(checks["sink_rate"]) == pytest.approx(sum(rates) / 2)
