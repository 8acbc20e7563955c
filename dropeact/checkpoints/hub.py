"""Hugging Face id -> a local folder (downloaded once into the hub's own cache), with every failure as one line."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from dropeact.axes import InputError
from dropeact.checkpoints.source import FILES


@contextmanager
def _one_line(name: str, revision: str | None) -> Iterator[None]:
    """Turn the hub's exceptions into one line with a remedy."""
    from huggingface_hub import errors

    at = f"{name}@{revision}" if revision else name
    try:
        yield
    except errors.GatedRepoError as error:
        raise InputError(f"{name} is gated: accept its terms on its hub page and log in (`hf auth login`)") from error
    except errors.RevisionNotFoundError as error:
        raise InputError(
            f"expected a revision of {name}; got {revision}, which does not exist; check the name"
        ) from error
    except errors.RepositoryNotFoundError as error:
        raise InputError(
            f"expected a local folder or a hub id; found neither at {at}; check the name, or log in"
        ) from error
    except (errors.LocalEntryNotFoundError, errors.OfflineModeIsEnabled, errors.HfHubHTTPError, OSError) as error:
        raise InputError(
            f"expected {at} in the hub's cache or a connection to fetch it; got neither; connect once"
        ) from error


def folder(name: str, revision: str | None) -> Path:
    """Download the config, tokenizer and safetensors of a hub id."""
    from huggingface_hub import snapshot_download

    with _one_line(name, revision):
        return Path(snapshot_download(name, revision=revision, allow_patterns=FILES))


def listing(name: str, revision: str | None) -> tuple[str, dict, dict[str, str]]:
    """Return the commit, the config and the sha256 of each weight file of a hub id, without downloading weights."""
    from huggingface_hub import HfApi, hf_hub_download

    with _one_line(name, revision):
        info = HfApi().model_info(name, revision=revision, files_metadata=True)
        config = json.loads(Path(hf_hub_download(name, "config.json", revision=info.sha)).read_text())
    files = {file.rfilename: file.lfs.sha256 for file in info.siblings or () if file.lfs is not None}
    weights = {file: sha for file, sha in files.items() if "/" not in file and file.endswith(".safetensors")}
    return str(info.sha), config, weights
