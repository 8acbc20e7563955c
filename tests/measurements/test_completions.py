"""Batches with left padding and a shared prefix give what each row gives alone, with and without rotation."""

import pytest
import torch

from dropeact.measurements import completions
from dropeact.measurements.completions import Cached, common_length, greedy, log_probabilities, read
from tests.tiny_models import ARCHITECTURES, KINDS, llama, of

ROWS = [[5, 6, 7, 11], [5, 6, 9, 12, 13, 14, 15], [5, 6, 7], [5, 6, 8, 44, 31, 20, 2, 3, 90]]


@pytest.fixture(params=KINDS)
def model(request):
    torch.set_num_threads(1)
    return llama(request.param)


def uncached_greedy(model, row, steps):
    ids = list(row)
    for _ in range(steps):
        ids.append(int(model(torch.tensor([ids]), use_cache=False).logits[0, -1].argmax()))
    return ids[len(row) :]


def uncached_log_probability(model, row, completion):
    logits = model(torch.tensor([[*row, *completion]]), use_cache=False).logits[0].double().log_softmax(-1)
    places = range(len(row) - 1, len(row) + len(completion) - 1)
    return sum(float(logits[place, token]) for place, token in zip(places, completion, strict=True))


@pytest.mark.parametrize("at_once", [1, 2, 4])
@torch.no_grad()
def test_greedy_in_batches_against_one_by_one_without_a_cache(model, at_once):
    alone = [uncached_greedy(model, row, 6) for row in ROWS]
    batched: list = [None] * len(ROWS)
    for indices, cached, last in read(model, ROWS, at_once=at_once):
        for index, written in zip(indices, greedy(cached, last, steps=6, finished=lambda ids: False), strict=True):
            batched[index] = written
    assert batched == alone


@pytest.mark.parametrize("architecture", ARCHITECTURES)
@torch.no_grad()
def test_rows_longer_than_a_window_against_one_by_one_without_a_cache(architecture, monkeypatch):
    monkeypatch.setattr(completions, "FOLLOWING", 8)
    model = of(architecture)
    rows = [[*ROWS[0], *range(20, 45)], [*ROWS[1], *range(40, 54)], [*ROWS[3], *range(60, 83)]]  # windows: 12
    options = [[3, 5], [80, 17, 2], [9, 1, 33]]
    found, written = torch.zeros(len(rows), dtype=torch.double), {}
    for indices, cached, last in read(model, rows, at_once=3):
        found[indices] = log_probabilities(cached, last, [options[index] for index in indices]).double()
        written |= dict(zip(indices, greedy(cached, last, steps=4, finished=lambda ids: False), strict=True))
    expected = [uncached_log_probability(model, *pair) for pair in zip(rows, options, strict=True)]
    torch.testing.assert_close(found, torch.tensor(expected, dtype=torch.double), atol=1e-4, rtol=1e-4)
    assert [written[index] for index in range(3)] == [uncached_greedy(model, row, 4) for row in rows]


@torch.no_grad()
def test_log_probabilities_of_uneven_completions_against_one_by_one_without_a_cache(model):
    options = [[3], [4, 80, 17], [9, 1], [60, 61, 62, 63]]
    found = torch.zeros(len(ROWS), dtype=torch.double)
    for indices, cached, last in read(model, ROWS, at_once=4):
        found[indices] = log_probabilities(cached, last, [options[index] for index in indices]).double()
    expected = [uncached_log_probability(model, *pair) for pair in zip(ROWS, options, strict=True)]
    torch.testing.assert_close(found, torch.tensor(expected, dtype=torch.double), atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize(("limit", "most"), [("CHUNK", 3), ("TOKENS", 13), ("TOKENS", 1)])
@torch.no_grad()
def test_chunked_reading_against_reading_at_once(model, limit, most, monkeypatch):
    whole = Cached(model, len(ROWS)).extend(ROWS, keep=2)
    monkeypatch.setattr(completions, limit, most)
    chunked = Cached(model, len(ROWS)).extend(ROWS, keep=2)
    assert torch.isfinite(chunked).all()
    torch.testing.assert_close(chunked, whole, atol=1e-4, rtol=1e-4)


@torch.no_grad()
def test_a_branch_leaves_no_trace(model):
    cached = Cached(model, 2)
    cached.extend([[1, 2, 3], [4, 5]])
    expected = [cached.extend([[7], [8]])]
    again = Cached(model, 2)
    again.extend([[1, 2, 3], [4, 5]])
    with again.branch():
        again.extend([[50, 51], [52]])
    torch.testing.assert_close(again.extend([[7], [8]]), expected[0], atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_rows_end_each_at_its_own_step():
    model = llama("gqa-rope")
    cached = Cached(model, 2)
    last = cached.extend([[1, 2, 3], [4, 5]])[:, -1]
    first = greedy(cached, last, steps=4, finished=lambda ids: False)
    stopped = greedy(cached, last, steps=4, finished=lambda ids: ids[-1] == first[0][1])
    assert stopped[0] == first[0][:2]
    assert len(stopped[1]) >= 2 or first[1][0] == first[0][1]


def test_common_length_leaves_every_row_a_token_against_hand_count():
    assert common_length([[1, 2, 3], [1, 2, 4]]) == 2
    assert common_length([[1, 2], [1, 2]]) == 1
    assert common_length([[7]]) == 0
    assert common_length([[1, 2], [3, 2]]) == 0
