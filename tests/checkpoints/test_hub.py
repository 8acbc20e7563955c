"""Hub ids without a hub: what a cache holds, and every failure as one line."""

from types import SimpleNamespace
from typing import Any

import huggingface_hub
import pytest
import torch
from huggingface_hub import constants, errors

from dropeact.axes import InputError
from dropeact.checkpoints.cache import sha256_of
from dropeact.checkpoints.load import load, resolve
from dropeact.checkpoints.source import source
from tests.checkpoints import tiny

COMMIT = "0123456789abcdef0123456789abcdef01234567"
TOKENS = torch.arange(1, 20)[None]


@pytest.fixture
def cached(tmp_path, monkeypatch):
    """A hub cache that holds `maker/tiny` at one commit, called main and v1, and no connection."""
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    repository = tmp_path / "hub" / "models--maker--tiny"
    snapshot = repository / "snapshots" / COMMIT
    for folder in (snapshot, repository / "blobs", repository / "refs"):
        folder.mkdir(parents=True)
    for name in ("main", "v1"):
        (repository / "refs" / name).write_text(COMMIT)
    for file in tiny.saved(tmp_path / "model").iterdir():
        blob = repository / "blobs" / sha256_of(file)
        blob.write_bytes(file.read_bytes())
        (snapshot / file.name).symlink_to(blob)
    return str(tmp_path / "model")


@pytest.mark.parametrize("identifier", ["maker/tiny", "maker/tiny@v1", f"maker/tiny@{COMMIT}"])
def test_a_cached_checkpoint_loads_offline_against_its_folder(cached, identifier):
    checkpoint = load(identifier)
    torch.testing.assert_close(checkpoint.model(TOKENS).logits, load(cached).model(TOKENS).logits)
    known = {name: value for name, value in resolve(cached).items() if name != "settings"}  # the commit names them
    assert checkpoint.identity == known | {"id": identifier, "revision": COMMIT}


def test_what_is_not_cached_is_one_line_offline(cached):
    for identifier in ("maker/tiny@v2", "maker/other"):
        with pytest.raises(InputError, match=f"expected {identifier} in the hub's cache or a connection") as caught:
            resolve(identifier)
        assert "\n" not in str(caught.value)


def test_an_adapter_of_peft_in_the_repository_is_refused(cached, monkeypatch):
    info = SimpleNamespace(sha=COMMIT, siblings=[SimpleNamespace(rfilename="adapter_config.json", lfs=None)])
    monkeypatch.setattr(huggingface_hub.HfApi, "model_info", lambda *_, **__: info)
    with pytest.raises(InputError, match=r"expected a checkpoint without a PEFT adapter; got .* in maker/tiny"):
        resolve("maker/tiny")


def test_an_unreachable_hub_is_no_worse_than_offline(cached, monkeypatch):
    def unreachable(*_arguments, **_options):
        raise errors.HTTPError("no route")  # pyright: ignore[reportPrivateImportUsage] - the client's own

    monkeypatch.setattr(huggingface_hub.HfApi, "model_info", unreachable)
    assert resolve("maker/tiny")["revision"] == COMMIT
    with pytest.raises(InputError, match="expected maker/other in the hub's cache or a connection"):
        resolve("maker/other")


REFUSALS = {
    errors.GatedRepoError: r"maker/tiny is gated: accept its terms on its hub page and log in",
    errors.RevisionNotFoundError: r"expected a revision of maker/tiny; got v1, which does not exist",
    errors.RepositoryNotFoundError: r"expected a local folder or a hub id; found neither at maker/tiny@v1",
}


@pytest.mark.parametrize("kind", REFUSALS)
def test_a_refusal_of_the_hub_is_one_line_whatever_is_cached(cached, monkeypatch, kind):
    response: Any = SimpleNamespace(headers={}, request=None, status_code=403)

    def refuse(*_arguments, **_options):
        raise kind("several\nlines", response=response)

    monkeypatch.setattr(huggingface_hub.HfApi, "model_info", refuse)
    with pytest.raises(InputError, match=REFUSALS[kind]) as caught:
        resolve("maker/tiny@v1")
    assert "\n" not in str(caught.value)


def test_an_unsupported_model_is_refused_before_its_weights_are_fetched(cached, monkeypatch):
    file = SimpleNamespace(rfilename="model.safetensors", lfs=SimpleNamespace(sha256="0" * 64))
    info = SimpleNamespace(sha=COMMIT, siblings=[file])
    monkeypatch.setattr(huggingface_hub.HfApi, "model_info", lambda *_, **__: info)
    monkeypatch.setattr(huggingface_hub, "snapshot_download", lambda *_, **__: pytest.fail("fetched"))
    config = constants.HF_HUB_CACHE + f"/models--maker--tiny/snapshots/{COMMIT}/config.json"
    for text, message in (
        ('{"model_type": "mamba"}', "got mamba in maker/tiny"),
        ('{"model_type": "gemma3", "text_config": {}}', "got gemma3 in maker/tiny, a text model within another"),
    ):
        with open(config, "w") as blob:
            blob.write(text)
        with pytest.raises(InputError, match=message):
            resolve("maker/tiny")


def test_a_revision_is_what_follows_the_at_sign():
    assert (source("maker/tiny@v1").place, source("maker/tiny@v1").revision) == ("maker/tiny", "v1")
    assert source("maker/tiny").revision is None
