"""What Python's garbage collector walks: not the libraries, while requests wait."""

import gc
import importlib


def spare_libraries() -> None:
    """Have it walk what is imported no more: half a million objects took it a quarter of a second, and with it every
    request that waited, which then was answered with popular items for the store's lateness.

    Releases are opened after that, so that what belongs to an earlier one is still found.
    """
    importlib.import_module("two_tower.data.online")  # and Feast with it, which is else imported by the first look-up
    gc.freeze()


def walk_all() -> None:
    """Undo `spare_libraries`, where the process goes on without the service."""
    gc.unfreeze()
