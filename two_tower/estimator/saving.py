"""Copy the folder of a fitted estimator to the place that it is served from."""

import shutil
import tempfile
from pathlib import Path

from two_tower.errors import InputError
from two_tower.estimator.fitted import Fitted
from two_tower.estimator.fitting import REPOSITORY

STORES = ("data/registry.db", "data/online.db")  # written again: the registry has absolute paths of the sources


def save(fitted: Fitted, target: Path) -> None:
    """Copy a fitted folder, and write its users to the online store that its release reads.

    Args:
        fitted: The opened folder of a fitted estimator.
        target: Output folder. It appears only when it is complete.

    Raises:
        InputError: `target` is not empty, or the online store cannot be reached.
    """
    from two_tower.data.features import materialize

    if target.exists() and not target.is_dir():
        raise InputError(f"{target} is a file. Pass a folder that does not exist yet.")
    if target.exists() and any(target.iterdir()):
        raise InputError(f"{target} is not empty. Pass a folder that does not exist yet.")
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=f".{target.name}-") as temporary:
        whole = Path(temporary) / "model"
        shutil.copytree(fitted.folder, whole)
        for name in STORES:
            (whole / REPOSITORY / name).unlink(missing_ok=True)
        materialize(fitted.external_repo or whole / REPOSITORY, fitted.as_of)
        if target.exists():
            target.rmdir()
        whole.rename(target)
