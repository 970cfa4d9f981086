"""Train without a pipeline: `python -m two_tower.training`, as torchrun, Kubeflow Trainer and Katib start it."""

import argparse
import os
import sys
import tempfile
from pathlib import Path

from torch.distributed.elastic.multiprocessing.errors import record

from two_tower.config import TrainConfig, with_assignments
from two_tower.errors import InputError
from two_tower.storage import StorageError
from two_tower.training.network.model import DESCRIPTION
from two_tower.training.sampling.places import download, upload
from two_tower.training.train import train

BAD_INPUT = 2  # exit status


def main(arguments: list[str] | None = None) -> int:
    """Train on the output of a run's pull step and write the model; return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m two_tower.training", description=__doc__)
    parser.add_argument(
        "--pulled", required=True, metavar="DIR", help="output of the pull step: folder, s3:// or gs://"
    )
    parser.add_argument("--out", required=True, metavar="DIR", help="folder of the model: local, s3:// or gs://")
    parser.add_argument(
        "--set", action="append", default=[], metavar="KEY=VALUE", help="a setting; can be given several times"
    )
    options = parser.parse_args(arguments)
    try:
        with tempfile.TemporaryDirectory() as temporary:
            # torchrun reads the error of a process from a file, and names the file in a variable.
            train_ = record(_train) if "TORCHELASTIC_ERROR_FILE" in os.environ else _train
            train_(options.pulled, options.out, options.set, Path(temporary))
    except (InputError, StorageError) as error:
        sys.stderr.write(f"error: {error}\n")
        return BAD_INPUT
    return 0


def _train(pulled: str, out: str, assignments: list[str], temporary: Path) -> None:
    config: TrainConfig = with_assignments({"train": TrainConfig()}, assignments)["train"]
    source = download(pulled, temporary / "pulled")
    if not (source / "pulled.json").is_file():
        raise InputError(
            f"--pulled {pulled} is not a pull: pulled.json is missing. Pass the folder written by the pull step."
        )
    folder = temporary / "model" if "://" in out else Path(out)
    train(source, config, folder)
    if "://" in out and (folder / DESCRIPTION).is_file():  # only one of several processes writes it
        upload(folder, out, last=DESCRIPTION)


if __name__ == "__main__":
    sys.exit(main())
