"""From what the steps of a run left to a release that serves."""

import json
import tempfile
from importlib.metadata import distributions
from pathlib import Path

from two_tower.data.online_config import online_config
from two_tower.data.pulled import Pulled
from two_tower.releases import release
from two_tower.runtime import open_session
from two_tower.statistics import reference

RECORDED = ("two-tower", "torch", "onnx", "onnxruntime-gpu", "feast")


def publish(repo: Path, pulled: Path, towers: Path, index: Path, summary: Path, *, dataset: str, releases: str) -> str:
    """Write the release, which nothing points to yet, and return its id; see `deploy` for what makes it serve.

    repo: feature repository that serves online look-ups. pulled, towers, index: folders of those steps. summary: file
    that `summary.write` wrote. Raises release.ReleaseError where anything does not belong together.
    """
    described = json.loads((pulled / "pulled.json").read_text())
    measured = json.loads(summary.read_text())
    metadata = open_session(towers / "user_tower.onnx").get_modelmeta().custom_metadata_map
    installed = {found.name: found.version for found in distributions()}  # an image holds some of them only
    manifest = {
        "dataset": dataset,
        "contract": described["contract"],
        "bounds": described["bounds"],
        "embedding_space": metadata["embedding_space"],
        "metrics": measured["metrics"],
        "gates": measured["gates"],
        "settings": measured["settings"],
        "versions": {name: installed[name] for name in RECORDED if name in installed},
    }
    with tempfile.TemporaryDirectory() as folder:
        store = Path(folder) / release.FEATURE_STORE
        store.write_text(online_config(repo.resolve(), None if "://" in releases else Path(releases)))
        described_data = Path(folder) / release.REFERENCE
        described_data.write_text(json.dumps(reference.describe(Pulled.read(pulled))))
        return release.publish(releases, [towers, index, store, described_data], manifest)
