"""The command line as a user meets it: what it refuses, and how it says so."""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from tests.two_tower import parts
from two_tower import __version__
from two_tower.releases import release


def two_tower(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "pipelines", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, env=os.environ | environment)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["run"], "either --dataset NAME or --feature-repo DIR"),
        (["run", "--dataset", "movielens-10k"], "Did you mean 'movielens-100k'"),
        (["run", "--dataset", "sample", "--set", "epoch=3"], "Did you mean 'epochs'"),
        (["run", "--dataset", "sample", "--set", "epochs"], "KEY=VALUE"),
        (["run", "--dataset", "sample", "--set", "epochs=many"], "not a whole number"),
        (["run", "--dataset", "sample", "--as-of", "yesterday"], "ISO 8601"),
        (["run", "--dataset", "sample", "--as-of", "2024-01-01"], "no time zone"),
        (["run", "--dataset", "movielens-100k", "--data-dir", "/no/such/folder"], "/no/such/folder"),
        (["run", "--feature-repo", "/no/such/repo"], "feature_store.yaml"),
        (["init", "/no/such/dir"], "--interactions FILE is needed"),
        (["init", "/no/such/dir", "--interactions", "/no/such/clicks.csv"], "/no/such/clicks.csv: no such file"),
        (["recommend", "--releases", "/no/such/releases", "--user", "u1"], "/no/such/releases"),
        (["releases", "show", "--releases", "/no/such/releases"], "no release"),
        (["releases", "activate", "20240101T000000-00000000", "--releases", "/no/such"], "20240101T000000-00000000"),
        (["serve", "--releases", __file__], "is a file"),
        (["frobnicate"], "No such command"),
    ],
)
def test_bad_input_is_a_sentence_and_exit_status_2(tmp_path: Path, arguments: list[str], said: str) -> None:
    out = ["--out", str(tmp_path / "out")] if arguments[0] == "run" else []
    done = two_tower(*arguments, *out)
    assert done.returncode == 2
    assert said in " ".join(done.stderr.split())
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "out" / "run.json").exists()


def test_the_service_takes_its_port_from_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        monkeypatch.setenv("PORT", str(port))
        done = two_tower("serve", "--releases", str(tmp_path))
    assert done.returncode == 2
    assert f"cannot listen on 127.0.0.1:{port}" in " ".join(done.stderr.split())


def test_help_names_every_command() -> None:
    done = two_tower("--help")
    assert done.returncode == 0
    for command in ("init", "run", "compile", "serve", "recommend", "releases"):
        assert command in done.stdout


def test_compile_writes_the_settings_as_defaults(tmp_path: Path) -> None:
    done = two_tower("compile", "--out", str(tmp_path / "p.yaml"), "--set", "loss=triplet", "--set", "epochs=2")
    assert done.returncode == 0, done.stderr
    spec = next(iter(yaml.safe_load_all((tmp_path / "p.yaml").read_text())))
    default = spec["root"]["inputDefinitions"]["parameters"]["train_config"]["defaultValue"]
    assert '"loss": "triplet"' in default
    assert '"epochs": 2' in default


def test_releases_and_recommendations_as_json(tmp_path: Path) -> None:
    made = parts.write(tmp_path / "parts")
    name = release.publish(tmp_path / "releases", [made], parts.manifest())
    release.activate(tmp_path / "releases", name)
    listed = two_tower("releases", "list", "--releases", str(tmp_path / "releases"), "--json")
    (one,) = json.loads(listed.stdout)
    assert (one["id"], one["current"], one["problem"], one["dataset"]) == (name, True, "", "by hand")
    asked = two_tower("recommend", "--releases", str(tmp_path / "releases"), "--user", "u1", "-k", "2", "--json")
    answer = json.loads(asked.stdout)
    assert answer["release"] == name and answer["fallback"] == "popular"
    assert [item["item_id"] for item in answer["items"]] == ["i9", "i8"]
    told = two_tower("recommend", "--releases", str(tmp_path / "releases"), "--user", "[u1]", "-k", "2")
    assert "fallback: the online store does not know user [u1]; these items are the most popular" in told.stdout


def test_a_release_can_be_read_off_the_table_on_a_narrow_terminal(tmp_path: Path) -> None:
    name = release.publish(tmp_path / "releases", [parts.write(tmp_path / "parts")], parts.manifest())
    assert name in two_tower("releases", "list", "--releases", str(tmp_path / "releases"), COLUMNS="60").stdout


def test_version() -> None:
    assert two_tower("--version").stdout.strip() == __version__
