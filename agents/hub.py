"""Models on the Hugging Face hub, found there, or in the cache where it cannot be reached."""

from __future__ import annotations

import difflib
from pathlib import Path

HINT = "a name on the hub is OWNER/NAME, as in Qwen/Qwen2.5-0.5B"


def find_model(name: str) -> str:
    """What transformers is to load: a folder, a name on the hub, or its copy in the cache.

    One quick question to the hub, where transformers would ask again and again for a minute.

    Args:
        name: a folder, or else a name on the hub.

    Returns:
        The folder; the name, where the hub knows it; else the folder in the cache.

    Raises:
        OSError: if there is no such model, or none is in the cache and the hub cannot be reached.
    """
    from huggingface_hub import get_hf_file_metadata, hf_hub_url, try_to_load_from_cache
    from huggingface_hub.errors import (
        EntryNotFoundError,
        GatedRepoError,
        HFValidationError,
        RepositoryNotFoundError,
    )

    if Path(name).is_dir():
        return name
    cached = None
    folders = (path.name for path in Path().iterdir() if path.is_dir())
    near = difflib.get_close_matches(name, ["tiny", *folders], n=1)
    advice = f"did you mean {near[0]}?" if near else HINT
    try:
        cached = try_to_load_from_cache(name, "config.json")
        get_hf_file_metadata(hf_hub_url(name, "config.json"))
    except (GatedRepoError, EntryNotFoundError):
        return name  # transformers tells what is the matter with it
    except (RepositoryNotFoundError, HFValidationError):
        raise OSError(
            "there is no folder and no model on the hub of this name (or it is private, and needs "
            f"`hf auth login`): {advice}"
        ) from None
    except Exception as error:  # of the HTTP client, which is another one in each version
        if isinstance(cached, str):
            return str(Path(cached).parent)
        raise OSError(
            "there is no folder of this name and no such model in the cache, and the hub cannot be "
            f"reached ({error}): {advice}"
        ) from None
    return name
