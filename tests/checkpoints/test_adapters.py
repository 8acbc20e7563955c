import pytest
import torch
from safetensors.torch import load as read_tensors
from safetensors.torch import save_file

from dropeact.axes import InputError
from dropeact.checkpoints import adapters, trainables
from dropeact.checkpoints.dropping import dropped
from tests.checkpoints import tiny


def trained_copy(which):
    """A dropped model whose chosen weights were moved a little, beside the source's untouched weights."""
    source = tiny.llama()
    weights = {name: tensor.clone() for name, tensor in source.state_dict().items()}
    model = dropped(source)
    for parameter in model.parameters():
        parameter.data = parameter.data.clone()
    trained = trainables.chosen(model, which, rank=4, seed=0)
    random = torch.Generator().manual_seed(1)
    for parameter in trained.values():
        parameter.data += 0.1 * torch.randn(parameter.shape, generator=random)
    return source, weights, trained


@pytest.mark.parametrize("which", ["attention", "lora", "all"])
def test_adapter_put_back_is_the_trained_weight_within_half_a_level(tmp_path, which):
    source, weights, trained = trained_copy(which)
    adapters.save(tmp_path, trainables.encoded(trained, weights, before={}), {"tokens": 1})
    model = dropped(source)
    adapters.apply(model, tmp_path)
    parameters = dict(model.named_parameters())
    for name, expected in trainables.merged(trained, weights).items():
        change = (expected - weights[name]).abs()
        error = (parameters[name] - expected).abs()
        bound = 0.51 / 127 if which != "lora" else 0.05
        assert (error <= bound * change.amax(-1, keepdim=True) + 1e-6).all(), name
    torch.testing.assert_close(source.state_dict(), weights, atol=0, rtol=0)


def test_int8_rows_against_hand_count():
    values, scale = adapters.quantised(torch.tensor([[1.27, -0.64, 0.0], [0.0, 0.0, 0.0]]))
    assert values.tolist() == [[127, -64, 0], [0, 0, 0]]
    torch.testing.assert_close(scale[0], torch.tensor([0.01]))


def test_adapter_of_another_model_is_refused(tmp_path):
    _, weights, trained = trained_copy("attention")
    adapters.save(tmp_path, trainables.encoded(trained, weights, before={}), {"tokens": 1})
    with pytest.raises(InputError, match="expected an adapter for this model"):
        adapters.apply(dropped(tiny.llama(layers=1)), tmp_path)


def test_a_damaged_adapter_is_one_line(tmp_path):
    _, weights, trained = trained_copy("lora")
    adapters.save(tmp_path, trainables.encoded(trained, weights, before={}), {"tokens": 1})
    file = tmp_path / "adapter.safetensors"
    whole = file.read_bytes()
    tensors = read_tensors(whole)
    for damaged in (b"", whole[:3000]):
        file.write_bytes(damaged)
        with pytest.raises(InputError, match=r"expected an adapter in .*; got .*; copy it again") as caught:
            adapters.apply(dropped(tiny.llama()), tmp_path)
        assert "\n" not in str(caught.value)
    for lacking in (".scale", "0.mlp.up_proj.weight.lora_B"):
        save_file({key: tensor for key, tensor in tensors.items() if not key.endswith(lacking)}, file)
        with pytest.raises(InputError, match="expected changes of weights in"):
            adapters.apply(dropped(tiny.llama()), tmp_path)
    save_file({"model.norm.weight": torch.ones(32)}, file)
    with pytest.raises(InputError, match=r"expected changes of weights in .*; got model\.norm\.weight alone"):
        adapters.apply(dropped(tiny.llama()), tmp_path)
