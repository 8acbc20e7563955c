import json

import numpy as np
import pytest

from dropeact.axes import InputError
from dropeact.checkpoints.corpora import documents
from dropeact.checkpoints.packing import packed, separator_of, step_windows
from tests.checkpoints import tiny


def test_windows_join_documents_with_the_separator_against_hand_count():
    tokenizer = tiny.tokenizer()
    texts = tiny.documents(6, words=5)
    windows = packed(texts, tokenizer, separator_id=0, length=7, heldout=1)
    ids = [[*tokenizer(text, add_special_tokens=False)["input_ids"], 0] for text in texts]
    stream = [index for document in ids[1:] for index in document]
    assert windows.training.ravel().tolist() == stream[: windows.training.size]
    assert windows.heldout.ravel().tolist() == ids[0][:7]


def test_no_document_is_both_trained_on_and_held_out():
    texts = [f"{'the river ' * 8}{number}" for number in range(120)]
    windows = packed(texts, tiny.tokenizer(), separator_id=0, length=16, heldout=2)
    assert len(windows.heldout) == 2
    limited = packed(texts, tiny.tokenizer(), separator_id=0, length=16, heldout=2, limit=64)
    assert 4 <= len(limited.training) < len(windows.training)


def test_steps_visit_every_window_once_an_epoch_against_hand_count():
    visited = np.concatenate([step_windows(step, batch=4, count=10, seed=1) for step in range(5)])
    assert sorted(visited[:10]) == sorted(visited[10:]) == list(range(10))
    assert visited[:10].tolist() != visited[10:].tolist()
    assert step_windows(2, batch=4, count=10, seed=1).tolist() == visited[8:12].tolist()


def test_batch_larger_than_the_corpus_repeats_windows_against_hand_count():
    numbers = step_windows(0, batch=7, count=3, seed=0)
    assert np.bincount(numbers, minlength=3).min() >= 2


def test_separator_is_the_one_named_or_found():
    assert separator_of(tiny.tokenizer(), None) == 0
    with pytest.raises(InputError, match="the tokenizer has no <s>"):
        separator_of(tiny.tokenizer(), "<s>")


def test_documents_of_files_folders_and_lines_are_the_same_set(tmp_path):
    texts = tiny.documents(5)
    (tmp_path / "a").mkdir()
    for number, text in enumerate(texts[:3]):
        (tmp_path / "a" / f"{number}.txt").write_text(text)
    (tmp_path / "a" / "rest.jsonl").write_text("".join(json.dumps({"text": text}) + "\n" for text in texts[3:]))
    assert sorted(documents(str(tmp_path / "a"), seed=0)) == sorted(texts)
    assert list(documents(str(tmp_path / "a"), seed=0)) == list(documents(str(tmp_path / "a"), seed=0))


def test_unusable_corpora_are_one_line(tmp_path):
    with pytest.raises(InputError, match="does not exist"):
        list(documents(str(tmp_path / "none.txt"), seed=0))
    (tmp_path / "bad.jsonl").write_text('{"body": 1}\n')
    with pytest.raises(InputError, match=r"expected a field `text` in .*bad.jsonl, line 1"):
        list(documents(str(tmp_path / "bad.jsonl"), seed=0))
    (tmp_path / "bad.jsonl").write_text("{text}\n")
    with pytest.raises(InputError, match="expected one JSON object a line"):
        list(documents(str(tmp_path / "bad.jsonl"), seed=0))
    for line in (b'{"text": "caf\xe9"}', b'{"text": "half a pair \\ud83d"}'):
        (tmp_path / "bad.jsonl").write_bytes(b'{"text": "the river"}\n' + line + b"\n")
        with pytest.raises(InputError, match=r"expected one JSON .* in .*bad\.jsonl, line 2; correct it"):
            list(documents(str(tmp_path / "bad.jsonl"), seed=0))
