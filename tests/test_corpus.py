import json
import re
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from dropeact import corpus
from dropeact.axes import InputError
from dropeact.corpus import Passage
from dropeact.corpus.arms import tokenise


class WordTokenizer:
    """One token per word, its id the length of the word; adds a 1 unless it is told to add nothing."""

    bos_token_id: int | None = 1

    def __call__(self, text: str, *, add_special_tokens: bool = True) -> dict[str, list[int]]:
        return {"input_ids": [1] * add_special_tokens + [len(word) for word in text.split()]}


class NoBosTokenizer(WordTokenizer):
    bos_token_id = None


def sentences(text: str) -> set[str]:
    """The sentences of five words or more: shorter ones ("Come on.") are common to all speech."""
    return {s.strip() for s in re.split(r'(?<=[.!?])["\s]+', text) if len(s.split()) >= 5}


def written(path: Path, lines: list[str], between: str = "\n") -> Path:
    path.write_text(between.join(lines), encoding="utf-8")
    return path


def objects(count: int) -> list[str]:
    return [json.dumps({"text": f"The text number {number}."}) for number in range(1, count + 1)]


def test_passages_are_eight_per_register_and_four_per_half_against_hand_count() -> None:
    assert len(corpus.passages()) == 32
    assert Counter((p.register, p.half) for p in corpus.passages()) == {
        (register, half): 4 for register in ("literary", "technical", "conversational", "factual") for half in "AB"
    }


def test_ids_are_distinct_against_hand_count() -> None:
    assert len({p.id for p in (*corpus.passages(), *corpus.repeated())}) == 32 + 16


@pytest.mark.parametrize("texts", [corpus.passages(), corpus.repeated()], ids=["passages", "repeated"])
def test_no_two_texts_begin_with_the_same_word_against_hand_count(texts: tuple[Passage, ...]) -> None:
    first_words = [re.split(r"\W", p.text)[0].lower() for p in texts]
    assert len(set(first_words)) == len(texts)


def test_no_sentence_stands_in_two_passages_against_hand_count() -> None:
    count = Counter(sentence for p in corpus.passages() for sentence in sentences(p.text))
    assert len(count) > 600
    assert [sentence for sentence, times in count.items() if times > 1] == []


def test_passages_share_no_run_of_eight_words_against_hand_count() -> None:
    runs: Counter[tuple[str, ...]] = Counter()
    for passage in corpus.passages():
        words = re.findall(r"[a-z'-]+", passage.text.lower())
        runs.update(set(zip(*(words[i:] for i in range(8)), strict=False)))
    assert [run for run, times in runs.items() if times > 1] == []


def test_passages_are_long_enough_for_512_positions_against_hand_count() -> None:
    # 470 words of the shortest passages were 558 or more tokens under the SmolLM2 tokenizer.
    assert min(len(p.text.split()) for p in corpus.passages()) >= 470


def test_passages_are_ascii_without_stray_space_against_hand_count() -> None:
    for passage in corpus.passages():
        assert passage.text.isascii()
        assert re.search(r"  | \n|\n |\n{3}|^\s|\s$", passage.text) is None, passage.id


def test_repeated_texts_are_one_sentence_32_times_against_hand_count() -> None:
    assert len(corpus.repeated()) == 16
    assert "".join(p.half for p in corpus.repeated()) == "AB" * 8
    for passage in corpus.repeated():
        sentence = passage.text[: passage.text.index(".") + 1]
        assert passage.text == " ".join([sentence] * 32)
        assert len(sentence.split()) >= 14


def test_hash_changes_with_a_letter_an_id_a_half_and_the_order_against_itself() -> None:
    texts = corpus.passages()
    first, *rest = texts
    changed = [
        (replace(first, text="o" + first.text[1:]), *rest),
        (replace(first, id="literary-00"), *rest),
        (replace(first, half="B"), *rest),
        (*rest, first),
        texts[:-1],
    ]
    hashes = [corpus.corpus_hash(some) for some in (texts, *changed)]
    assert len(set(hashes)) == len(hashes)
    assert hashes[0] == corpus.corpus_hash(list(texts))
    assert re.fullmatch("[0-9a-f]{64}", hashes[0])


def test_json_lines_alternate_between_the_halves_against_hand_count(tmp_path: Path) -> None:
    own = json.dumps(
        {"id": "mine", "register": "poem", "half": "A", "text": "A line\u2028and another."}, ensure_ascii=False
    )
    texts = corpus.from_file(written(tmp_path / "own.jsonl", [*objects(15), "", own, ""]))
    assert "".join(p.half for p in texts) == "AB" * 8
    assert texts[0] == Passage("text-01", "own", "A", "The text number 1.")
    assert texts[15] == Passage("mine", "poem", "B", "A line\u2028and another.")


def test_plain_text_is_cut_at_blank_lines_against_hand_count(tmp_path: Path) -> None:
    paragraphs = [f"Paragraph {number}\nhas two lines." for number in range(17)]
    texts = corpus.from_file(written(tmp_path / "own.txt", ["\ufeff", *paragraphs, "\n"], between="\n \t\n\n"))
    assert [p.text for p in texts] == paragraphs
    assert [p.half for p in texts] == ["A", "B"] * 8 + ["A"]


@pytest.mark.parametrize(
    ("name", "lines", "message"),
    [
        ("few.jsonl", objects(15), "expected at least 16 texts .* got 15; add"),
        ("few.txt", ["One paragraph only."], "expected at least 16 texts .* got 1; add"),
        ("empty.jsonl", [], "expected at least 16 texts .* got 0; add"),
        (
            "broken.jsonl",
            [*objects(16), '{"text": '],
            'JSON object with a "text" on line 17 .* got no valid JSON .*; write',
        ),
        ("list.jsonl", ['["text"]'], 'JSON object with a "text" on line 1 .* got list; write'),
        ("keys.jsonl", ['{"body": "x"}'], r"line 1 .* got the keys \['body'\]; write"),
        ("blank.jsonl", ['{"text": " "}'], "not empty as \"text\" on line 1 .* got ' '; write"),
        ("number.jsonl", ["", '{"id": 7, "text": "x"}'], 'not empty as "id" on line 2 .* got 7; write'),
        (
            "ids.jsonl",
            ['{"id": "a", "text": "x"}', '{"id": "a", "text": "y"}'],
            "different id .* got 'a' for texts 1 and 2",
        ),
        (
            "texts.jsonl",
            ['{"text": "x"}', '{"text": "y"}', '{"text": "x"}'],
            "different text .* got 'x' for texts 1 and 3",
        ),
    ],
)
def test_unusable_file_error_names_the_line(tmp_path: Path, name: str, lines: list[str], message: str) -> None:
    with pytest.raises(InputError, match=message) as caught:
        corpus.from_file(written(tmp_path / name, lines))
    assert name in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("key", ["text", "id", "register"])
def test_half_of_a_surrogate_pair_is_named_by_line_and_key(tmp_path: Path, key: str) -> None:
    lines = objects(20)
    lines[4] = json.dumps({"text": "It was late.", "id": "five", "register": "own", key: "a \ud83d b"})
    with pytest.raises(InputError, match=rf'whole characters as "{key}" on line 5 of .*; got half of a surrogate pair'):
        corpus.from_file(written(tmp_path / "own.jsonl", lines))
    lines[4] = json.dumps({"text": "A whole one: \U0001f600."})
    assert len(corpus.from_file(written(tmp_path / "own.jsonl", lines))) == 20


def test_json_that_is_nested_too_deep_is_named_by_its_line(tmp_path: Path) -> None:
    lines = [*objects(20), '{"text": ' + "[" * 200_000]
    with pytest.raises(InputError, match=r"on line 21 of .*; got no valid JSON"):
        corpus.from_file(written(tmp_path / "own.jsonl", lines))


def test_file_that_is_not_utf8_error_names_the_byte(tmp_path: Path) -> None:
    path = tmp_path / "latin.txt"
    path.write_bytes("caf\u00e9 noir".encode("latin-1"))
    with pytest.raises(InputError, match=r"expected UTF-8 text in .* got 0xe9 at byte 3; convert it"):
        corpus.from_file(path)


@pytest.mark.parametrize(("name", "got"), [("absent.txt", "No such file"), (".", "(Is a directory|Permission denied)")])
def test_file_that_cannot_be_read_error_names_the_path(tmp_path: Path, name: str, got: str) -> None:
    with pytest.raises(InputError, match=f"expected a file of texts at .* got {got}.*; name a readable"):
        corpus.from_file(tmp_path / name)


@pytest.mark.parametrize(
    ("arm", "ids"),
    [("first", [[3, 5, 1], [4, 2, 6]]), ("bos", [[1, 3, 5], [1, 4, 2]]), ("separator", [[9, 3, 5], [9, 4, 2]])],
)
def test_arms_begin_as_they_say_against_hand_count(arm: str, ids: list[list[int]]) -> None:
    texts = [Passage("one", "own", "A", "The horse a stood"), Passage("two", "own", "B", "Rain is coming")]
    tokens = tokenise(texts, WordTokenizer(), arm=arm, length=3, separator_id=9)
    assert tokens.dtype == np.int64
    np.testing.assert_array_equal(tokens, ids)


def test_prepended_id_counts_toward_the_length_against_hand_count() -> None:
    texts = [Passage("short", "own", "A", "Only three words")]
    assert tokenise(texts, WordTokenizer(), arm="bos", length=4).shape == (1, 4)
    with pytest.raises(InputError, match="expected at least 4 tokens in every text; got 3 in short; lengthen"):
        tokenise(texts, WordTokenizer(), arm="first", length=4)


@pytest.mark.parametrize(
    ("tokenizer", "arm", "length", "message"),
    [
        (NoBosTokenizer(), "bos", 3, "expected a bos_token_id .* got a tokenizer without one; choose --arm=first"),
        (WordTokenizer(), "separator", 3, "expected a separator .* got a pair that names none; add one"),
        (WordTokenizer(), "last", 3, "expected an arm among first, bos, separator; got last; choose"),
        (WordTokenizer(), "first", 1, "expected at least 1 text and a length of 2; got 32 and 1; name"),
    ],
)
def test_unusable_arm_error_says_what_is_missing(tokenizer: WordTokenizer, arm: str, length: int, message: str) -> None:
    with pytest.raises(InputError, match=message):
        tokenise(corpus.passages(), tokenizer, arm=arm, length=length)
