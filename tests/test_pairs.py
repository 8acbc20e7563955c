import errno
from pathlib import Path

import pytest

from dropeact import pairs
from dropeact.axes import InputError
from dropeact.checkpoints.load import dense
from dropeact.checkpoints.source import read_config, source

WHOLE = 'name = "x"\nrope = "a"\ndrope = "b"\n'


def test_known_pairs_and_the_default():
    assert {"smollm2-135m", "llama2-7b"} <= set(pairs.known())
    assert pairs.load(pairs.DEFAULT).primary_arm == "first"
    assert pairs.load("llama2-7b").published


def test_the_training_length_of_the_default_pair_against_the_config_that_its_weights_come_with():
    pair = pairs.load(pairs.DEFAULT)
    assert pair.training_length == read_config(dense(source(pair.rope)))["max_position_embeddings"]


def test_a_pair_file_of_the_users_own(tmp_path):
    file = tmp_path / "mine.toml"
    file.write_text('name = "mine"\nrope = "a"\ndrope = "b"\nprimary_arm = "bos"\n')
    assert pairs.load(str(file)).primary_arm == "bos"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('name = "x"\nrope = "a"\n', 'drope = "..."'),
        ('name = "x"\nrope = "a"\ndrope = "b"\nspeed = 3\n', "'speed'"),
        ('name = "x"\nrope = "a"\ndrope = "b"\nprimary_arm = "last"\n', "'last'"),
        ("name = \n", "in TOML"),
        pytest.param(WHOLE + f"training_length = {'1' * 5000}", "in TOML; got .* 5000 digits; correct", id="digits"),
        pytest.param(WHOLE + f"limits = {'[' * 100_000}", "in TOML; got .*recursion depth", id="nested"),
        pytest.param(WHOLE + f"write_layer = 0x{'f' * 5000}", "number as write_layer.*20000 bits; correct", id="bits"),
        (WHOLE + "limits = 3\n", "expected a list of texts as limits in .*; got 3"),
        (WHOLE + 'other_arms = "bos"\n', "expected a list of texts as other_arms in .*; got 'bos'"),
        (WHOLE + "other_arms = [1]\n", "expected a list of texts as other_arms"),
        (WHOLE + "primary_arm = []\n", "expected a text as primary_arm"),
        (WHOLE + "separator = 0\n", "expected a text as separator"),
        (WHOLE + "title = 1\n", "expected a text as title"),
        (WHOLE + "training_length = true\n", "expected a whole number as training_length"),
        (WHOLE + "write_layer = -1\n", "expected a whole number as write_layer"),
        (WHOLE + 'published = "no"\n', "expected true or false as published"),
        ('name = "../x"\nrope = "a"\ndrope = "b"\n', "expected a name without slashes"),
        ('name = 1\nrope = "a"\ndrope = "b"\n', 'expected name = "..."'),
    ],
)
def test_a_bad_pair_file_is_one_clear_line(tmp_path, text, message):
    file = tmp_path / "bad.toml"
    file.write_text(text)
    with pytest.raises(InputError, match=message) as error:
        pairs.load(str(file))
    assert "\n" not in str(error.value)


def test_a_pair_file_of_other_bytes_and_a_pair_that_is_no_table_are_one_clear_line(tmp_path):
    (tmp_path / "bad.toml").write_bytes(b"\xff")
    with pytest.raises(InputError, match="expected a pair file in UTF-8"):
        pairs.load(str(tmp_path / "bad.toml"))
    with pytest.raises(InputError, match=r"expected the keys of a pair in run\.json; got \[\]"):
        pairs.from_dict([], "run.json")  # pyright: ignore[reportArgumentType] - as a damaged run.json has it


def test_a_pair_file_that_may_not_be_read_is_not_told_as_one_to_write(tmp_path, monkeypatch):
    (tmp_path / "own.toml").write_text(WHOLE)

    def refused(path, *_args):
        raise PermissionError(errno.EACCES, "Permission denied", str(path))

    monkeypatch.setattr(Path, "read_text", refused)
    monkeypatch.setattr(pairs, "known", dict)
    with pytest.raises(InputError, match=rf"^expected to read {tmp_path}/own\.toml; got permission denied; make it"):
        pairs.load(str(tmp_path / "own.toml"))


def test_unknown_pair_names_the_known_ones():
    with pytest.raises(InputError, match="llama2-7b, smollm2-135m"):
        pairs.load("nope")


def test_two_checkpoints_are_named_after_themselves():
    assert pairs.of("org/model-a@main", "org/model-b").name == "model-a-main--model-b"


def test_the_checkpoints_of_a_known_pair_are_that_pair():
    known = pairs.load("llama2-7b")
    assert pairs.of(known.rope, known.drope) == known


def test_local_folders_with_one_name_do_not_collide(tmp_path):
    first, second = tmp_path / "a" / "model", tmp_path / "b" / "model"
    first.mkdir(parents=True)
    second.mkdir(parents=True)
    assert pairs.of(str(first), "x").name != pairs.of(str(second), "x").name


def test_round_trip_through_json():
    pair = pairs.load("llama2-7b")
    assert pairs.from_dict(pair.as_dict()) == pair
