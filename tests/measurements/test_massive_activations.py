import torch

from dropeact.measurements import massive_activations
from dropeact.measurements.massive_activations import largest, read_stream
from dropeact.measurements.observe import observe
from tests import tiny_models


def test_largest_activations_against_hand_count() -> None:
    hidden = torch.tensor([[[1.0, -7.0, 2.0], [5.0, 0.0, 3.0]], [[0.0, 0.0, 9.0], [8.0, 1.0, -10.0]]])
    top = largest(hidden, ranks=2)
    assert top.value.tolist() == [[-7, 5], [-10, 9]]
    assert top.token.tolist() == [[0, 1], [1, 0]]
    assert top.channel.tolist() == [[1, 0], [2, 2]]


def test_both_thresholds_must_be_passed_against_hand_count() -> None:
    hidden = 0.1 * torch.ones(3, 10, 20)
    hidden[0, 0, 3], hidden[0, 4, 3], hidden[0, 0, 5] = -101.0, 150.0, 99.0  # 99 is not above 100
    hidden[1] = 1.0
    hidden[1, 0, 3] = 999.0  # above 100, below 1000 x median
    read = read_stream(hidden)
    assert read["massive"].tolist() == [2, 0, 0]
    assert read["massive_channels"].tolist() == [1, 0, 0]
    assert read["massive_tokens"].sum(-1).tolist() == [2, 0, 0]


def test_planted_massive_activations_are_all_found_and_none_invented() -> None:
    model = tiny_models.llama(gain=1.0)
    model.get_parameter("model.embed_tokens.weight")[
        0, 7
    ] = -2000  # token 0, wherever it stands, is massive in channel 7
    ids = tiny_models.tokens(4, 60).clamp(min=1)
    ids[:, 0] = 0
    ids[1, 33] = 0
    observed = observe(model, ids, ids=list("abcd"), halves=["A"] * 4, phenomena=(massive_activations,))
    assert (observed["massive_activation_count"].T.values == [1, 2, 1, 1]).all()
    assert (observed["massive_activation_tokens"].T.values == [1, 2, 1, 1]).all()
    assert (observed["massive_activation_channels"] == 1).all()
    top = observed.sel(rank=1, depth=3)
    assert (top["activation_channel"] == 7).all()
    assert (top["activation_value"] < -1900).all()
    assert set(observed["activation_token"].sel(text="b", depth=3, rank=[1, 2]).values.tolist()) == {0, 33}
    assert (observed["activation_median"] < 1).all()
