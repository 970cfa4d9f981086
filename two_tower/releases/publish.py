"""Publishes the release of a training run, from the outputs of its steps."""

import json
import tempfile
from importlib.metadata import distributions
from pathlib import Path

from two_tower.data.online_config import online_config
from two_tower.data.pulled import Pulled
from two_tower.releases import release
from two_tower.releases.manifest import File, Manifest
from two_tower.runtime import open_session
from two_tower.schema import Contract
from two_tower.statistics import reference

RECORDED = ("two-tower", "torch", "onnx", "onnxruntime-gpu", "feast")


def publish(repo: Path, pulled: Path, towers: Path, index: Path, summary: Path, *, dataset: str, releases: str) -> str:
    """Write the release of a run and return its id; nothing points to it yet (see `deployment.deploy`).

    Args:
        repo: Feature repository whose online store the release reads.
        pulled: Folder written by the pull step.
        towers: Folder with the ONNX files of both towers.
        index: Folder written by the index step.
        summary: File written by `report.summary.write`.
        dataset: Name of the data set.
        releases: Folder or URL of the releases.

    Raises:
        ReleaseError: A file is missing, or files do not belong together.
    """
    description = json.loads((pulled / "pulled.json").read_text())
    evaluation = json.loads(summary.read_text())
    metadata = open_session(towers / File.USER_TOWER).get_modelmeta().custom_metadata_map
    installed = {one.name: one.version for one in distributions()}  # an image holds only some of RECORDED
    manifest = Manifest(
        dataset=dataset,
        contract=Contract.from_dict(description["contract"]),
        embedding_space=metadata["embedding_space"],
        bounds=description["bounds"],
        metrics=evaluation["metrics"],
        gates=evaluation["gates"],
        settings=evaluation["settings"],
        versions={name: installed[name] for name in RECORDED if name in installed},
    )
    with tempfile.TemporaryDirectory() as folder:
        store = Path(folder) / File.FEATURE_STORE
        store.write_text(online_config(repo.resolve(), None if "://" in releases else Path(releases)))
        statistics = Path(folder) / File.REFERENCE
        statistics.write_text(json.dumps(reference.describe(Pulled.read(pulled))))
        return release.publish(releases, [towers, index, store, statistics], manifest)
