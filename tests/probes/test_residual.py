import torch
from torch import Tensor

from dropeact.measurements.residual import READINGS
from dropeact.probes.probing import Readings, probing
from tests import tiny_models


def stream_of(model, ids: Tensor) -> Tensor:
    """The probed residual stream, [depth, batch, token, hidden]."""
    with probing(model, Readings(stream=(lambda hidden: {"hidden": hidden},))) as seen:
        model(ids, use_cache=False)
    return seen["hidden"]


def test_every_depth_but_the_last_agrees_with_hugging_face_hidden_states() -> None:
    model, ids = tiny_models.llama(), tiny_models.tokens()
    states = torch.stack(model(ids, use_cache=False, output_hidden_states=True).hidden_states)
    torch.testing.assert_close(stream_of(model, ids)[:-1], states[:-1], atol=1e-6, rtol=0)


def test_last_depth_is_read_before_the_final_norm_against_hugging_face() -> None:
    model, ids = tiny_models.llama(), tiny_models.tokens()
    after_norm = model(ids, use_cache=False, output_hidden_states=True).hidden_states[-1]
    last = stream_of(model, ids)[-1]
    torch.testing.assert_close(model.model.norm(last), after_norm, atol=1e-5, rtol=1e-5)
    assert not torch.allclose(last, after_norm, rtol=0.1)  # what a probe of hidden_states[-1] would call the stream


def test_first_token_has_the_same_trajectory_in_every_text() -> None:
    # it attends only to itself, so its whole path is one number per depth; spread is rounding
    model, ids = tiny_models.llama(), tiny_models.tokens(4)
    ids[:, 0] = 5
    with probing(model, READINGS) as seen:
        model(ids, use_cache=False)
    norms = seen["first_norm"]
    assert norms.shape == (4, 4)
    torch.testing.assert_close(norms, norms[:, :1].expand_as(norms), atol=0, rtol=1e-5)
    assert (seen["other_norm_mean"].std(1) > 1e-4).all()


def test_projections_are_read_before_the_rotation() -> None:
    ids = tiny_models.tokens()
    for kind, equal in (("gqa-rope", False), ("gqa-nope", True)):
        model = tiny_models.llama(kind)
        readings = Readings(
            attended=(lambda a: {"after": a.key},), projected=(lambda p: {p.tensor: p.heads.transpose(1, 2)},)
        )
        with probing(model, readings) as seen:
            model(ids, use_cache=False)
        assert torch.equal(seen["key"], seen["after"]) is equal
        torch.testing.assert_close(seen["key"].norm(dim=-1), seen["after"].norm(dim=-1))  # a rotation keeps lengths
