"""Materialise the latest features of a data set to Redis: materialise.py DATASET HOST:PORT FOLDER.

Afterwards FOLDER is a Feast repository with this Redis as its online store; `online/` holds the part for the service.
"""

import sys
from datetime import datetime
from pathlib import Path

import pyarrow.compute as pc
import yaml

from two_tower.data.features import materialize
from two_tower.data.online_config import online_config
from two_tower.datasets import load
from two_tower.datasets.prepare import prepare


def main(dataset: str, redis: str, folder: Path) -> None:
    prepare(dataset, None, folder)
    settings = folder / "feature_store.yaml"
    config = yaml.safe_load(settings.read_text())
    config["online_store"] = {"type": "redis", "connection_string": redis}
    settings.write_text(yaml.safe_dump(config))
    newest: datetime = pc.max(load(dataset).interactions["event_timestamp"]).as_py()
    counts = materialize(folder, newest)
    (folder / "online").mkdir(exist_ok=True)
    (folder / "online" / "feature_store.yaml").write_text(online_config(folder))
    sys.stdout.write(", ".join(f"{view}: {rows} rows" for view, rows in counts.items()) + "\n")


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], Path(sys.argv[3]))
