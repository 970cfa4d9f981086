"""Settings of Python's garbage collector: it does not scan the libraries while requests wait."""

import gc
import importlib


def freeze_libraries() -> None:
    """Exclude the imported libraries from garbage collection.

    Scanning their half a million objects took a quarter of a second. Requests that waited for it got popular items,
    because the look-up of their users timed out. Releases are loaded later, so replaced ones are still collected.
    """
    for name in ("two_tower.data.online", "feast.infra.passthrough_provider"):  # else the first look-up imports Feast
        importlib.import_module(name)
    gc.freeze()


def unfreeze() -> None:
    """Undo `freeze_libraries`, for a process that continues without the service."""
    gc.unfreeze()
