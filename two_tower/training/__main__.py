"""Training alone: `python -m two_tower.training`, as torchrun, Kubeflow Trainer and Katib start it."""

import argparse
import sys
import tempfile
from pathlib import Path

from two_tower.config import TrainConfig, with_assignments
from two_tower.errors import InputError
from two_tower.storage import StorageError
from two_tower.training.network.model import DESCRIPTION
from two_tower.training.sampling.places import download, upload
from two_tower.training.train import train

INPUT = 2  # exit status


def main(arguments: list[str] | None = None) -> int:
    """Train on what a run's pull step wrote, and write the model; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m two_tower.training", description=__doc__)
    parser.add_argument("--pulled", required=True, metavar="DIR", help="what the pull step wrote; or s3://, gs://")
    parser.add_argument("--out", required=True, metavar="DIR", help="the model's folder; or s3://, gs://")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="a setting; may be repeated")
    given = parser.parse_args(arguments)
    try:
        with tempfile.TemporaryDirectory() as temporary:
            _train(given.pulled, given.out, given.set, Path(temporary))
    except (InputError, StorageError) as error:
        sys.stderr.write(f"error: {error}\n")
        return INPUT
    return 0


def _train(pulled: str, out: str, assignments: list[str], temporary: Path) -> None:
    config: TrainConfig = with_assignments({"train": TrainConfig()}, assignments)["train"]
    source = download(pulled, temporary / "pulled")
    if not (source / "pulled.json").is_file():
        raise InputError(f"--pulled {pulled}: no pulled.json there. Give the folder that a run's pull step wrote.")
    folder = temporary / "model" if "://" in out else Path(out)
    train(source, config, folder)
    if "://" in out and (folder / DESCRIPTION).is_file():  # of several processes one writes
        upload(folder, out, last=DESCRIPTION)


if __name__ == "__main__":
    sys.exit(main())
