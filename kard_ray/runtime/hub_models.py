"""Models of the Hugging Face hub, downloaded into its own cache: safetensors, JSON and tokenizers only."""

from __future__ import annotations

import re
from pathlib import Path

from kard_ray.runtime.bundled_models import bundled_names
from kard_ray.runtime.errors import UserError

MODEL_FILES = ("*.safetensors", "*.json", "*.txt", "*.model", "*.jinja")
_NOT_DOWNLOADED = ("onnx/*", "openvino/*", "original/*", "coreml/*")


def resolve_hub(ref: str) -> Path:
    """The snapshot of ``ref``, whose name is the commit; downloaded if need be. Raises UserError."""
    from huggingface_hub.errors import (
        GatedRepoError,
        HfHubHTTPError,
        LocalEntryNotFoundError,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    repo, revision = _split_hub_id(ref)
    path = cached_hub_model(ref) if _is_commit(revision) else None
    if path is None:
        try:
            path = _snapshot(ref, local_files_only=False)
        except LocalEntryNotFoundError as error:
            raise UserError(not_cached(ref)) from error
        except GatedRepoError as error:
            raise UserError(
                f"model {ref!r}: access is gated: accept its terms on the hub, then run `hf auth login`."
            ) from error
        except RepositoryNotFoundError as error:
            raise UserError(
                f"model {ref!r}: the hub has no public model {repo!r}, and there is no such directory."
            ) from error
        except RevisionNotFoundError as error:
            raise UserError(f"model {ref!r}: the hub has no revision {revision!r} of it.") from error
        except (HfHubHTTPError, OSError) as error:
            raise UserError(
                f"model {ref!r}: the download failed ({error}): try again or give a local directory."
            ) from error
    return path


def _split_hub_id(ref: str) -> tuple[str, str | None]:
    repo, _, revision = ref.partition("@")
    return repo, revision or None


def _is_commit(revision: str | None) -> bool:
    return revision is not None and re.fullmatch(r"[0-9a-f]{40}", revision) is not None


def cached_hub_model(ref: str) -> Path | None:
    """The snapshot in the hub's cache, complete as far as the cache can tell, or None."""
    from huggingface_hub.errors import LocalEntryNotFoundError

    try:
        return _snapshot(ref, local_files_only=True)
    except LocalEntryNotFoundError:
        return None


def _snapshot(ref: str, *, local_files_only: bool) -> Path:
    from huggingface_hub import snapshot_download

    repo, revision = _split_hub_id(ref)
    folder = snapshot_download(
        repo,
        revision=revision,
        allow_patterns=list(MODEL_FILES),
        ignore_patterns=list(_NOT_DOWNLOADED),
        local_files_only=local_files_only,
    )
    return Path(folder)


def not_cached(ref: str) -> str:
    """Why a model that is not in the cache cannot be had."""
    from huggingface_hub import is_offline_mode

    why = "the hub is switched off (HF_HUB_OFFLINE=1)" if is_offline_mode() else "the hub cannot be reached"
    return (
        f"model {ref!r}: it is not in the hub's local cache and {why}: download it where there is a network, "
        f"give a local directory, or use one of {', '.join(bundled_names())}."
    )
