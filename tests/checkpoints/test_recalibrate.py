import csv
import json
import os
import shlex
import signal
import subprocess
import sys
import time
from dataclasses import asdict, replace
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM, GenerationConfig

from dropeact.axes import InputError
from dropeact.checkpoints import memory, recipes
from dropeact.checkpoints.load import load
from dropeact.checkpoints.loop import Loop
from dropeact.checkpoints.options import Options, unfinished
from dropeact.checkpoints.preparation import alone
from dropeact.checkpoints.recalibrate import recalibrate, snapshots
from dropeact.checkpoints.samples import samples
from dropeact.checkpoints.training import position_losses
from tests.checkpoints import tiny

ROOT = Path(__file__).parents[2]
STEP = 4 * 32
SCRIPT = """
import json, sys, torch
torch.set_num_threads(1)
from dropeact.checkpoints.options import Options
from dropeact.checkpoints.recalibrate import recalibrate
recalibrate(Options(**json.loads(sys.argv[1])))
"""
TOLD = """
from pathlib import Path
from accelerate import PartialState
state = PartialState()
Path(__file__).with_name(f"rank-{state.process_index}").write_text(str(state.num_processes))
"""


@pytest.fixture(autouse=True)
def one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def options(tmp_path):
    return Options(
        source=str(tiny.saved(tmp_path / "model")),
        destination=str(tmp_path / "out"),
        corpus=str(tiny.corpus(tmp_path)),
        tokens=30 * STEP,
        length=32,
        batch=4,
        micro_batch=2,
        learning_rate=3e-3,
        warmup_steps=4,
        heldout_windows=4,
        evaluations=2,
        save_every=5,
    )


def rows(folder):
    with (Path(folder) / "log.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def losses(folder):
    return [float(row["loss"]) for row in rows(folder) if row["loss"]]


def recipe(folder):
    return json.loads((Path(folder) / "recipe.json").read_text())


def launched(options, *launcher):
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    arguments = json.dumps(asdict(options))
    return subprocess.Popen(
        [sys.executable, *launcher, arguments],
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        cwd=ROOT,
    )


@pytest.mark.parametrize("which", ["attention", "lora", "all"])
def test_distillation_lowers_the_divergence_and_the_folder_loads_by_itself(options, which):
    folder = recalibrate(replace(options, trainables=which, lora_rank=4, tokens=60 * STEP, snapshots=(0.5, 1.0)))
    assert sum(losses(folder)[-10:]) < 0.8 * sum(losses(folder)[:10])
    assert load(str(folder)).identity["attention"] == "nope"
    model = AutoModelForCausalLM.from_pretrained(folder)
    ids = torch.arange(1, 25)[None]
    by_adapter = load(str(folder / "adapter")).model
    torch.testing.assert_close(model(ids).logits, by_adapter(ids).logits, atol=0.1, rtol=0)
    assert list(snapshots(folder)) == [30 * STEP, 60 * STEP]
    made = recipe(folder)
    assert (made["tokens"], made["trainables"]) == (60 * STEP, which)
    assert made["heldout"]["after"]["heldout"] < made["heldout"]["before"]["heldout"] + 0.5


def test_frozen_weights_are_the_parents_bit_by_bit(options):
    folder = recalibrate(options)
    source, made = (AutoModelForCausalLM.from_pretrained(place).state_dict() for place in (options.source, folder))
    for name in source:
        changed = "self_attn" in name or "norm" in name
        assert torch.equal(source[name], made[name]) != changed, name


def test_killed_and_started_again_it_reaches_the_same_loss_as_in_one_sitting(options, tmp_path):
    straight = recalibrate(replace(options, destination=str(tmp_path / "straight")))
    process = launched(options, "-c", SCRIPT)
    log = Path(f"{options.destination}.unfinished") / "log.csv"
    deadline = time.monotonic() + 60
    while not (log.is_file() and len(log.read_text().splitlines()) > 9) and time.monotonic() < deadline:
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not Path(options.destination).exists()
    folder = recalibrate(options)
    assert [row["step"] for row in rows(folder)] == [row["step"] for row in rows(straight)]
    assert losses(folder)[-1] == pytest.approx(losses(straight)[-1], abs=1e-4)
    weights = [load(str(place)).model.state_dict() for place in (folder, straight)]
    torch.testing.assert_close(*weights, atol=1e-5, rtol=0)
    assert not list(folder.glob("state-*"))


def test_two_processes_follow_the_loss_of_one(options, tmp_path):
    alone = recalibrate(options)
    script = tmp_path / "script.py"
    script.write_text(SCRIPT + TOLD)
    shared = replace(options, destination=str(tmp_path / "shared"))
    launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    assert launched(shared, *launcher, str(script)).wait(timeout=240) == 0
    assert {file.name: file.read_text() for file in tmp_path.glob("rank-*")} == {"rank-0": "2", "rank-1": "2"}
    assert [row["step"] for row in rows(tmp_path / "shared")] == [row["step"] for row in rows(alone)]
    assert losses(tmp_path / "shared") == pytest.approx(losses(alone), abs=1e-3)
    weights = [load(str(place)).model.state_dict() for place in (tmp_path / "shared", alone)]
    torch.testing.assert_close(*weights, atol=1e-3, rtol=0)


def test_cross_entropy_lowers_the_loss_with_and_without_rotation(options, tmp_path):
    for rope in (False, True):
        place = str(tmp_path / f"ce-{rope}")
        folder = recalibrate(replace(options, destination=place, objective="ce", keep_rope=rope, tokens=60 * STEP))
        assert sum(losses(folder)[-5:]) < sum(losses(folder)[:5])
        assert load(str(folder)).identity["rope"] is rope
        assert load(str(folder / "adapter")).identity["rope"] is rope


def test_minutes_become_a_token_count_that_the_recipe_keeps(options):
    folder = recalibrate(replace(options, tokens=None, budget_minutes=0.05, warmup_steps=10))
    made = recipe(folder)
    assert made["steps"] >= 10
    assert made["tokens"] == made["steps"] * STEP
    assert made["options"]["budget_minutes"] == 0.05


@pytest.mark.parametrize("which", ["attention", "lora"])
def test_tokens_add_up_when_a_run_begins_from_an_adapter(options, tmp_path, which):
    first = recalibrate(replace(options, trainables=which, lora_rank=2))
    second = recalibrate(
        replace(options, destination=str(tmp_path / "more"), trainables=which, lora_rank=2, from_adapter=str(first))
    )
    assert recipe(second)["tokens"] == 60 * STEP
    assert recipe(second)["before"]["tokens"] == 30 * STEP
    assert losses(second)[0] == pytest.approx(losses(first)[-1], rel=0.5)
    ids = torch.arange(1, 25)[None]
    logits = [load(str(place)).model(ids).logits for place in (second, second / "adapter")]
    torch.testing.assert_close(*logits, atol=0.1, rtol=0)


def test_qk_norm_is_trained_and_travels_with_the_adapter(options):
    folder = recalibrate(replace(options, qk_norm="qk"))
    assert load(str(folder / "adapter")).identity["attention"] == "qk_norm_nope"
    assert load(str(folder)).identity["attention"] == "qk_norm_nope"


def same_logits(folder):
    """The checkpoint and its adapter on its source give the same logits, but for the adapter's rounding."""
    ids = torch.arange(1, 25)[None]
    logits = [load(str(place)).model(ids).logits for place in (folder, folder / "adapter")]
    torch.testing.assert_close(*logits, atol=0.1, rtol=0)


def test_a_softmax_scale_travels_with_the_adapter(options):
    folder = recalibrate(replace(options, softmax_scale=2.0, tokens=4 * STEP))
    same_logits(folder)
    assert load(str(folder / "adapter")).identity["softmax_scale"] == 2.0


def test_a_recalibration_of_an_adapted_source_loads_with_both_adapters(options, tmp_path):
    rope = replace(options, objective="ce", keep_rope=True, tokens=20 * STEP, destination=str(tmp_path / "first"))
    first = recalibrate(rope)
    same_logits(recalibrate(replace(options, source=str(first / "adapter"), tokens=4 * STEP)))


class KilledError(Exception):
    """What stands for SIGKILL."""


def killed(*_arguments):
    raise KilledError


def test_a_run_is_not_continued_on_other_weights_or_text(options, tmp_path, monkeypatch):
    few = replace(options, tokens=4 * STEP)
    with monkeypatch.context() as patched:
        patched.setattr("dropeact.checkpoints.recalibrate._finish", killed)
        with pytest.raises(KilledError):
            recalibrate(few)
    tiny.saved(tmp_path / "model", seed=7)
    with pytest.raises(InputError, match=r"expected the source that .*out\.unfinished was begun with; got other"):
        recalibrate(few)
    tiny.saved(tmp_path / "model")
    text = Path(options.corpus).read_text()
    Path(options.corpus).write_text(text + text)
    with pytest.raises(InputError, match=r"expected the corpus that .*out\.unfinished was begun with; got other"):
        recalibrate(few)
    Path(options.corpus).write_text(text)
    assert recipe(recalibrate(few))["steps"] == 4


def test_another_budget_is_another_run(options):
    one, two = (replace(options, tokens=None, warmup_steps=10, budget_minutes=minutes) for minutes in (1.0, 2.0))
    assert one.key() != two.key()


def test_killed_before_its_first_state_a_run_has_its_snapshot_and_begins_again(options, monkeypatch):
    few = replace(options, tokens=6 * STEP, snapshots=(5 / 6,))
    with monkeypatch.context() as patched:
        patched.setattr(Loop, "save", killed)
        with pytest.raises(KilledError):
            recalibrate(few)
    assert list(snapshots(unfinished(options.destination))) == [5 * STEP]
    assert [row["step"] for row in rows(recalibrate(few))] == ["0", "1", "2", "3", "4", "5", "6"]


def test_a_destination_that_appears_in_the_meantime_is_kept_and_so_is_the_run(options, monkeypatch):
    few, place = replace(options, tokens=2 * STEP, snapshots=(1.0,)), Path(options.destination)
    with monkeypatch.context() as patched:
        patched.setattr("dropeact.checkpoints.recalibrate._marks", lambda *_: place.mkdir(exist_ok=True) or set())
        with pytest.raises(InputError, match="move it away and give the same command"):
            recalibrate(few)
    assert not list(place.iterdir())
    place.rmdir()
    folder = recalibrate(few)
    assert not [file for name in ("state-*", "options.json", "windows.npz") for file in folder.glob(name)]


def test_the_same_command_twice_at_once_is_one_line(options):
    with alone(unfinished(options.destination)), pytest.raises(InputError, match="expected one run at a time"):
        recalibrate(options)
    recalibrate(replace(options, tokens=STEP))
    assert not list(Path(options.destination).parent.glob("*.lock"))


def test_heldout_loss_is_measured_without_dropout_against_the_parent(options, tmp_path):
    tiny.saved(tmp_path / "model", attention_dropout=0.5)
    made = recipe(recalibrate(replace(options, objective="ce", keep_rope=True, tokens=STEP)))
    assert made["heldout"]["before"]["heldout"] == pytest.approx(made["heldout"]["parent"]["heldout"], rel=1e-5)


def test_no_windows_have_no_loss():
    none = position_losses(tiny.llama(), torch.empty(0, 32, dtype=torch.long), precision=torch.float32)
    assert none.tolist() == [0.0] * 31


@pytest.mark.parametrize(("text", "told"), [('{"total": 3, "x": 1}', {"total": 3}), ("[]", {}), ("3", {}), ("{", {})])
def test_a_manifest_beside_the_corpus_is_read_if_it_is_one(tmp_path, text, told):
    corpus = tiny.corpus(tmp_path)
    (tmp_path / "manifest.json").write_text(text)
    summary = recipes.corpus_summary(str(corpus))
    assert {name: summary[name] for name in summary if name not in ("kind", "sha256")} == told


def test_samples_are_of_the_whole_distribution_whatever_the_checkpoint_prefers():
    model, cut = tiny.llama(), tiny.llama()
    cut.generation_config = GenerationConfig(top_p=0.01, repetition_penalty=2.0)
    texts = [
        list(islice(samples(each, tiny.tokenizer(), separator_id=0, length=8, seed=1), 32)) for each in (model, cut)
    ]
    assert texts[0] == texts[1]


def test_the_parents_own_samples_serve_as_corpus(options):
    folder = recalibrate(replace(options, corpus="parent", tokens=12 * STEP))
    assert recipe(folder)["corpus"]["kind"] == "parent"


def test_checkpointed_activations_change_no_loss(options, tmp_path):
    plain = recalibrate(replace(options, tokens=6 * STEP))
    spared = recalibrate(replace(options, tokens=6 * STEP, checkpointing=True, destination=str(tmp_path / "spared")))
    assert losses(plain) == pytest.approx(losses(spared), abs=1e-5)


def test_bfloat16_follows_float32(options, tmp_path):
    exact = recalibrate(options)
    rough = recalibrate(replace(options, precision="bfloat16", destination=str(tmp_path / "rough")))
    assert losses(rough) == pytest.approx(losses(exact), rel=0.05, abs=0.02)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"tokens": None}, "expected --tokens or --budget-minutes"),
        ({"budget_minutes": 1.0}, "got both"),
        ({"keep_rope": True}, "expected --objective=ce with --keep-rope"),
        ({"keep_rope": True, "objective": "ce", "qk_norm": "q"}, "either --keep-rope or --qk-norm"),
        ({"trainables": "mlp"}, "expected trainables among all, attention, lora"),
        ({"tokens": None, "budget_minutes": 1.0}, "expected at least 10 steps of warm-up"),
        ({"batch": 3}, "expected a batch in whole micro-batches"),
        ({"keep_rope": True, "objective": "ce", "softmax_scale": 0.5}, "either --keep-rope or --softmax-scale"),
        ({"seed": 2**64}, "expected --seed of 18446744073709551615 or less"),
    ],
)
def test_options_that_contradict_each_other_are_refused(options, fields, message):
    with pytest.raises(InputError, match=message):
        replace(options, **fields)


def test_unusable_requests_are_one_line_and_write_nothing(options, tmp_path):
    (tmp_path / "empty.txt").write_text("")
    (tmp_path / "short.txt").write_text("the river ran")
    recalibrated = str(recalibrate(replace(options, destination=str(tmp_path / "done"), tokens=4 * STEP)))
    other = str(tiny.saved(tmp_path / "other", seed=5))
    small = tiny.saved(tmp_path / "small")
    model: Any = tiny.llama()
    model.resize_token_embeddings(200)
    model.save_pretrained(small)
    (tmp_path / "dangling").symlink_to(tmp_path / "nowhere")
    before = sorted(tmp_path.rglob("*"))
    for fields, message in [
        ({"source": recalibrated}, "expected a Llama with rotation to recalibrate"),
        ({"source": f"{recalibrated}/adapter"}, "expected a Llama with rotation to recalibrate"),
        ({"source": str(small)}, r"expected tokens that .*small has embeddings of, 200 of them; got the id"),
        ({"destination": str(tmp_path / "dangling")}, "expected a destination that does not exist"),
        ({"corpus": str(tmp_path / "empty.txt")}, "expected text in the corpus"),
        ({"corpus": str(tmp_path / "short.txt")}, "expected at least one batch"),
        ({"corpus": str(tmp_path / "none.txt")}, "which does not exist"),
        ({"destination": recalibrated}, "expected a destination that does not exist"),
        ({"from_adapter": other}, "expected a folder with adapter.safetensors"),
        ({"from_adapter": recalibrated, "source": other}, "expected an adapter made from"),
        ({"from_adapter": recalibrated, "qk_norm": "q"}, "expected an adapter with attention q_norm_nope"),
        ({"from_adapter": recalibrated, "softmax_scale": 0.5}, "expected an adapter with softmax scale 0.5; got None"),
    ]:
        with pytest.raises(InputError, match=message) as caught:
            recalibrate(replace(options, **fields))
        assert "\n" not in str(caught.value)
    assert sorted(tmp_path.rglob("*")) == before


def test_the_recipes_command_names_every_option_that_differs_from_its_default(options):
    command = replace(options, keep_rope=True, objective="ce", snapshots=(0.5, 1.0), tokens=640).command()
    assert command == (
        f"dropeact recalibrate {options.source} DST --corpus=CORPUS --objective=ce --tokens=640 --length=32 --batch=4 "
        "--micro-batch=2 --learning-rate=0.003 --warmup-steps=4 --keep-rope --heldout-windows=4 --evaluations=2 "
        "--save-every=5 --snapshots=0.5,1.0"
    )


def test_the_recipes_command_can_be_given_to_a_shell(options):
    command = replace(options, source="my models/it's", separator="<|a b|>").command()
    assert shlex.split(command)[2:5] == ["my models/it's", "DST", "--corpus=CORPUS"]
    assert "--separator=<|a b|>" in shlex.split(command)


def test_another_runs_unfinished_folder_is_not_taken_over(options):
    begun = Path(f"{options.destination}.unfinished")
    begun.mkdir()
    (begun / "options.json").write_text(json.dumps({"key": "another"}))
    with pytest.raises(InputError, match="was begun with; got others"):
        recalibrate(options)


def test_memory_that_will_not_suffice_is_told_before_anything_is_loaded(options, monkeypatch):
    monkeypatch.setattr(memory, "available", lambda device: 1000)
    monkeypatch.setattr("dropeact.checkpoints.recalibrate.load", lambda *arguments, **options: pytest.fail("loaded"))
    with pytest.raises(InputError, match=r"GiB of free memory on cpu; got 0\.0; lower"):
        recalibrate(options)


def test_memory_estimate_counts_weights_against_hand_count():
    config = {"hidden_size": 8, "num_hidden_layers": 2, "vocab_size": 10, "num_attention_heads": 2}
    config |= {"num_key_value_heads": 1, "intermediate_size": 16, "tie_word_embeddings": True}
    weights = 2 * (8 * 8 * 2 + 8 * 4 * 2 + 3 * 8 * 16) + 80
    kinds = {"trainables": "all", "windows": 1, "length": 4, "checkpointing": False}
    full = memory.needed(config, half=False, cpu=False, **kinds)
    assert full - memory.needed(config, half=True, cpu=False, **kinds) == 2 * weights
    assert memory.needed(config, half=False, cpu=True, **kinds) - full == 4 * weights
    activations = 4 * (1 * 4 * 2 * (12 * 8 + 4 * 16) + 6 * 128 * 10)  # 4 tokens, 2 layers; logits by 128 tokens
    # 4 bytes a weight of the student and 4 of its parent, 12 of its gradient and moments
    assert full == (4 + 4 + 12) * weights + activations
