"""A cache written behind what it holds is what one put together anew at every call is."""

import copy

import torch
from transformers import DynamicLayer

from dropeact.measurements.growing_cache import FOLLOWING, GrowingLayer

ROWS, KV_HEADS, HEAD_DIM = 2, 3, 4


def columns(count, rows=ROWS):
    return torch.randn(2, rows, KV_HEADS, count, HEAD_DIM).unbind()


def test_what_is_read_cropped_and_read_again_against_a_layer_that_copies():
    torch.manual_seed(0)
    growing, copying = GrowingLayer(), DynamicLayer()
    for count, taken_back in ((5, 0), (3, 2), (FOLLOWING, 1), (1, 0), (2 * FOLLOWING, 9), (4, 0)):
        more = columns(count)
        for given, expected in zip(growing.update(*more), copying.update(*more), strict=True):
            assert torch.equal(given, expected)
        growing.crop(-taken_back)
        copying.crop(-taken_back)
        assert growing.get_seq_length() == copying.get_seq_length()


def test_columns_that_fit_are_written_without_a_copy_of_the_others():
    layer = GrowingLayer()
    before, _ = layer.update(*columns(5))
    after, _ = layer.update(*columns(FOLLOWING))
    assert after.data_ptr() == before.data_ptr()
    grown, _ = layer.update(*columns(1))
    assert grown.data_ptr() != before.data_ptr()
    assert torch.equal(grown[:, :, :-1], after)


def test_rows_made_of_one_row_do_not_write_into_it_or_into_each_other():
    layer = GrowingLayer()
    layer.update(*columns(5, rows=1))
    kept = layer.keys.clone()
    repeated = copy.deepcopy(layer)
    repeated.batch_repeat_interleave(ROWS)
    more = columns(2)
    keys, _ = repeated.update(*more)
    assert torch.equal(keys[:, :, :5], kept.expand(ROWS, -1, -1, -1))
    assert torch.equal(keys[:, :, 5:], more[0])
    assert torch.equal(layer.keys, kept)
    single = copy.deepcopy(layer)
    single.batch_repeat_interleave(1)
    single.update(*columns(2, rows=1))
    assert torch.equal(layer.keys, kept)
    assert layer.get_seq_length() == 5
