import re
import subprocess
import sys
from pathlib import Path

import pytest

import two_tower
from tests.two_tower import parts
from two_tower.releases import release

PAGE = Path(two_tower.__file__).parents[1] / "docs" / "reference" / "python.md"


def test_importing_the_package_imports_nothing_heavy() -> None:
    script = "import two_tower, sys; print([m for m in ('torch', 'feast', 'numpy', 'onnxruntime') if m in sys.modules])"
    said = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout
    assert said.strip() == "[]"


def test_every_name_is_there_and_documented() -> None:
    for name in two_tower.__all__:
        assert getattr(two_tower, name).__doc__, name
    assert set(two_tower.__all__) < set(dir(two_tower))
    with pytest.raises(AttributeError, match="no attribute 'fit'"):
        two_tower.fit  # noqa: B018


def test_an_unknown_setting_is_answered_with_the_nearest() -> None:
    with pytest.raises(two_tower.InputError, match="Did you mean 'epochs'"):
        two_tower.train_towers(None, epoch=3)


def test_the_lines_of_the_reference_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    """With the checkerboard's own release in the place of the demo's."""
    (block,) = re.findall(r"## One function per step\n\n.*\n\n((?:    .*\n|\n)+)", PAGE.read_text())
    code = re.sub(r"^    ", "", block, flags=re.MULTILINE)
    monkeypatch.chdir(tmp_path)
    steps, served = code.split("release =")
    scope: dict = {}
    exec(steps, scope)
    publish(scope, tmp_path / "runs" / "sample" / "releases")
    exec(f"release ={served}", scope)
    said = capsys.readouterr().out
    assert "recent_items" in said
    assert re.search(r"^1\.0$", said, re.MULTILINE), "the checkerboard's recall"
    assert len(re.findall(r"Item\(item_id=\d+, score=-?[\d.e-]+\)", said)) == 5


def publish(scope: dict, releases: Path) -> None:
    from two_tower.releases.item_index import build_index

    build_index(scope["towers"], scope["pulled"], Path("index"))
    manifest = parts.manifest(
        scope["model"].embedding_space,
        contract=scope["pulled"].contract,
        bounds={"as_of": scope["pulled"].bounds.as_of.isoformat()},
    )
    release.activate(releases, release.publish(releases, [Path("towers"), Path("index")], manifest))
