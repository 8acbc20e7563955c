"""Hugging Face id -> a local folder (downloaded once into the hub's own cache), with every failure as one line.

Offline, what the cache holds of a revision stands for the hub: its commit and the hashes of its files are the same.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from dropeact.axes import InputError
from dropeact.checkpoints.cache import sha256_of
from dropeact.checkpoints.source import FILES, PEFT, WEIGHTS, check_alone, read_config


def _failures() -> tuple[type[Exception], ...]:
    """What the hub's client raises: nothing cached, offline, no connection, and what the hub itself refuses."""
    from huggingface_hub import errors

    return (errors.HTTPError, OSError)  # pyright: ignore[reportPrivateImportUsage] - of the client that is installed


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
    except _failures() as error:
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
    from huggingface_hub import HfApi, errors, hf_hub_download

    with _one_line(name, revision):
        try:
            info = HfApi().model_info(name, revision=revision, files_metadata=True)
        except errors.HfHubHTTPError:  # the hub did answer
            raise
        except _failures():
            return _cached_listing(name, revision)
        check_alone({file.rfilename for file in info.siblings or ()}, name)
        config = read_config(Path(hf_hub_download(name, "config.json", revision=info.sha)).parent)
    files = {file.rfilename: file.lfs.sha256 for file in info.siblings or () if file.lfs is not None}
    weights = {file: sha for file, sha in files.items() if "/" not in file and file.endswith(".safetensors")}
    return str(info.sha), config, weights


def _cached_listing(name: str, revision: str | None) -> tuple[str, dict, dict[str, str]]:
    """The same of what the cache holds: a snapshot's folder is named after its commit."""
    from huggingface_hub import snapshot_download

    snapshot = Path(snapshot_download(name, revision=revision, allow_patterns=FILES, local_files_only=True))
    check_alone({file.name for file in snapshot.glob(PEFT)}, name)
    return snapshot.name, read_config(snapshot), {file.name: sha256_of(file) for file in snapshot.glob(WEIGHTS)}
