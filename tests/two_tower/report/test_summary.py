import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.two_tower import parts
from tests.two_tower.timelines import CONTRACT, lookup_towers, timeline
from two_tower.config import EvaluationConfig
from two_tower.evaluation.evaluate import evaluate
from two_tower.gates import Verdict
from two_tower.releases import release
from two_tower.report.summary import write
from two_tower.retrieval import index

ITEMS = {"a": [1.0, 0.0], "b": [0.0, 1.0], "c": [1.0, 1.0]}


@pytest.fixture
def run(tmp_path):
    """A function that writes both files of a run; it returns the page and the figures."""
    pulled = timeline([("u", "a", 0), ("v", "b", 0.5), ("v", "c", 3)], {1: "a b c", 2: "a b c", 9: "a b c"}, 1, 2)
    pulled.write(tmp_path / "pulled")
    towers = lookup_towers(tmp_path / "towers", {"u": [1.0, 0.0], "v": [0.0, 1.0]}, ITEMS)
    evaluate(pulled, towers, None, EvaluationConfig(bootstrap_samples=10)).write(tmp_path / "evaluation.json")
    (tmp_path / "model").mkdir()
    model = {"config": {"dim": 2, "epochs": 1}, "history": [{"epoch": 1, "loss": 0.5, "recall@20": 0.25}]}
    (tmp_path / "model" / "model.json").write_text(json.dumps(model))
    Verdict(gate="data", passed=True).write(tmp_path / "data.json")
    Verdict(gate="promotion", passed=False, reasons=("too low",)).write(tmp_path / "promotion.json")

    def written() -> tuple[str, dict]:
        write(
            "shop",
            evaluation=tmp_path / "evaluation.json",
            model=tmp_path / "model",
            towers=towers,
            pulled=tmp_path / "pulled",
            verdicts=[tmp_path / "data.json", tmp_path / "promotion.json"],
            releases=str(tmp_path / "releases"),
            page=tmp_path / "report.html",
            summary=tmp_path / "summary.json",
        )
        return (tmp_path / "report.html").read_text(), json.loads((tmp_path / "summary.json").read_text())

    return written


def publish(folder, towers) -> str:
    """Publish and activate a release of the towers, whose settings have another dim."""
    index.build(np.array(list(ITEMS.values()), dtype=np.float32), "dot", "space", towers / "index.onnx")
    pq.write_table(pa.table({"item_id": list(ITEMS)}), towers / "items.parquet")
    manifest = parts.manifest("space", contract=CONTRACT, settings={"dim": 64})
    name = release.publish(folder, [towers], manifest)
    release.activate(folder, name)
    return name


def test_the_summary_has_the_figures_and_the_page_shows_them(run):
    page, figures = run()
    assert set(figures) == {"metrics", "slices", "counts", "baselines", "gates", "settings", "split", "advice"}
    assert figures["gates"] == {
        "data": {"passed": True, "reasons": []},
        "promotion": {"passed": False, "reasons": ["too low"]},
    }
    sentence = "Split by time: training before 2024-01-01 01:00, validation before 2024-01-01 02:00, test up to"
    assert figures["split"]["method"] == "time" and figures["split"]["meaning"].startswith(sentence)
    assert sentence in page
    assert figures["settings"] == {"dim": 2, "epochs": 1} and figures["counts"]["events"] == 1
    assert figures["metrics"]["two_tower"]["recall@20"] == 1
    assert "Held by the promotion gate" in page and "1 epochs. The best is epoch 1" in page
    assert 'id="map"' in page and "There is no current release" in page


def test_the_page_lists_the_changes_since_the_current_release(run, tmp_path):
    name = publish(tmp_path / "releases", tmp_path / "towers")
    page, _ = run()
    assert f"Changes since release <code>{name}</code>" in page
    assert "<td>dim</td><td>64</td><td>2</td>" in page


def test_a_corrupt_current_release_is_not_compared(run, tmp_path):
    name = publish(tmp_path / "releases", tmp_path / "towers")
    (tmp_path / "releases" / name / "items.parquet").write_bytes(b"")
    assert "There is no current release" in run()[0]
