"""The command line as a user meets it: what it refuses, what it prints as JSON, its help, and how fast it starts."""

import json
import shlex
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import typer
import yaml

from pipelines.cli.main import app
from tests.pipelines.cli.running import two_tower
from tests.two_tower import parts
from two_tower import __version__
from two_tower.releases import release

BAD_INPUT = [
    (["run"], "either --dataset NAME or --feature-repo DIR"),
    (["run", "--dataset", "movielens-10k"], "Did you mean 'movielens-100k'"),
    (["run", "--dataset", "sample", "--set", "epoch=3"], "Did you mean 'epochs'"),
    (["run", "--dataset", "sample", "--set", "epochs"], "KEY=VALUE"),
    (["run", "--dataset", "sample", "--set", "epochs=many"], "epochs"),
    (["run", "--dataset", "sample", "--as-of", "yesterday"], "ISO 8601"),
    (["run", "--dataset", "sample", "--as-of", "2024-01-01"], "no time zone"),
    (["run", "--dataset", "sample", "--runner", "dock"], "'subprocess', 'docker'"),
    (["run", "--dataset", "movielens-100k", "--data-dir", "/no/such/folder"], "/no/such/folder"),
    (["run", "--feature-repo", "/no/such/repo"], "feature_store.yaml is missing"),
    (["tune", "--dataset", "sample", "--timeout", "5x"], "--timeout '5x' is not a duration"),
    (["init", "/no/such/dir"], "--interactions FILE is missing"),
    (["init", "/no/such/dir", "--interactions", "/no/such/clicks.csv"], "/no/such/clicks.csv"),
    (["compile", "--out", "/no/such/folder/p.yaml"], "--out /no/such/folder/p.yaml cannot be written"),
    (["tune", "--pulled", "s3://b/p", "--katib", "/no/such/folder/e.yaml"], "--katib /no/such/folder/e.yaml cannot be"),
    (["recommend", "--releases", "/no/such/releases", "--user", "u1"], "/no/such/releases"),
    (["releases", "show", "--releases", "/no/such/releases"], "no release"),
    (["releases", "list", "--releases", "/no/such/releases"], "/no/such/releases does not exist"),
    (["run", "--dataset", "sample", "--set", "loss=no_module:X"], "loss=no_module:X: importing 'no_module' failed"),
    (["releases", "activate", "20240101T000000-00000000", "--releases", "/no/such"], "20240101T000000-00000000"),
    (["serve", "--releases", __file__], "is a file"),
    (["submit", "--host", "example.com"], "is not a URL"),
    (["submit", "--schedule", "daily"], "is not a cron expression"),
    (["frobnicate"], "No such command 'frobnicate'"),
    (["run", "--dataste", "sample"], "--dataset"),
    (["recommend", "--user", "u1"], "--releases"),
    (["recommend", "--releases", "/no", "--user", "u1", "--filter", "price<3"], "--filter 'price<3' is not JSON"),
]


def commands() -> dict[tuple[str, ...], Any]:
    """Every command by the words that call it."""
    program: Any = typer.main.get_command(app)
    groups = {(name,): command for name, command in program.commands.items()}
    leaves = {words: one for words, one in groups.items() if not hasattr(one, "commands")}
    nested = {
        (*words, name): command
        for words, group in groups.items()
        for name, command in getattr(group, "commands", {}).items()
    }
    return leaves | nested


COMMANDS = commands()


def example(words: tuple[str, ...]) -> list[str]:
    """The example at the end of the help of a command."""
    epilog = COMMANDS[words].epilog
    assert epilog and epilog.startswith("Example:")
    return shlex.split(epilog.splitlines()[-1])


@pytest.mark.parametrize(("arguments", "text"), BAD_INPUT)
def test_bad_input_is_one_line_on_stderr_and_status_2(tmp_path: Path, arguments: list[str], text: str) -> None:
    out = ["--out", str(tmp_path / "out")] if arguments[0] == "run" else []
    result = two_tower(*arguments, *out)
    assert result.exit_code == 2
    *_, line = result.stderr.splitlines()
    assert line.startswith("error: ") and text in line
    assert result.stdout == ""
    assert not (tmp_path / "out" / "run.json").exists()


@pytest.mark.parametrize(("arguments", "text"), [one for one in BAD_INPUT if one[0][0] not in ("serve", "frobnicate")])
def test_bad_input_with_json_is_a_document_on_stdout(arguments: list[str], text: str) -> None:
    result = two_tower(*arguments, "--json")
    assert result.exit_code == 2
    error = json.loads(result.stdout)["error"]
    assert error["status"] == 2 and text in error["message"]
    assert error["message"] in result.stderr


def test_every_command_has_the_common_options() -> None:
    for words, command in COMMANDS.items():
        options = {option for parameter in command.params for option in parameter.opts}
        expected = {"--debug"} if words == ("serve",) else {"--json", "--quiet", "--debug"}
        assert expected <= options, words


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_the_help_of_a_command_ends_with_an_example_that_parses(words: tuple[str, ...]) -> None:
    result = two_tower(*words, "--help")
    assert result.exit_code == 0
    call = example(words)
    assert call == shlex.split(result.stdout.splitlines()[-1])
    assert call[: len(words) + 1] == ["two-tower", *words]
    COMMANDS[words].make_context(words[-1], call[len(words) + 1 :])  # raises a usage error for a wrong option


def test_the_examples_that_need_no_training_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "runs" / "sample" / "releases"
    for n in range(3):
        release.publish(folder, [parts.write(tmp_path / f"{n}")], parts.manifest(dataset=f"{n}"))
    newest = release.list_releases(folder)[0].id
    release.activate(folder, newest)
    Path("clicks.csv").write_text(
        "user_id,item_id,clicked_at\n"
        + "".join(f"u{n % 7},i{n % 11},2026-01-{n % 28 + 1:02d} 10:00:00\n" for n in range(200))
    )
    Path("products.csv").write_text("item_id,price\n" + "".join(f"i{n},{n}.5\n" for n in range(11)))
    for words in [
        ("init",),
        ("compile",),
        ("recommend",),
        ("settings",),
        *(words for words in COMMANDS if words[0] == "releases"),
    ]:
        call = [newest if "-1a2b3c4d" in word else word for word in example(words)[1:]]
        result = two_tower(*call)
        assert result.exit_code == 0, (call, result.stderr)
        assert json.loads(two_tower(*call, "--json", "--quiet").stdout), call


def test_help_lists_every_command() -> None:
    result = two_tower("--help")
    assert result.exit_code == 0
    listed = result.stdout.partition("Commands:")[2]
    assert all(f"\n  {words[0]} " in listed for words in COMMANDS)
    assert two_tower().exit_code == two_tower("releases").exit_code == 2
    assert "Commands:" in two_tower().stderr and two_tower().stdout == ""


def test_version() -> None:
    assert two_tower("--version").stdout.strip() == __version__


@pytest.mark.parametrize("call", [["--help"], ["run", "--help"], ["releases", "list", "--help"]], ids=" ".join)
def test_help_loads_none_of_the_libraries_that_do_the_work(call: list[str]) -> None:
    """Because of this the start takes under 0.3 s; a test of the time would fail on a busy machine."""
    heavy = ["kfp", "torch", "feast", "pandas", "pyarrow", "numpy", "onnx", "rich", "fsspec", "pydantic", "duckdb"]
    code = (
        "import sys\nfrom pipelines.cli.main import app\n"
        f"try: app({call})\n"
        f"finally: sys.stderr.write(str([name for name in {heavy} if name in sys.modules]))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "Example:" in done.stdout and done.stderr == "[]"


def test_the_program_runs_as_a_process_with_its_exit_status() -> None:
    command = [sys.executable, "-m", "pipelines", "run", "--dataset", "sample", "--as-of", "yesterday", "--json"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == json.loads(done.stdout)["error"]["status"] == 2
    assert "Traceback" not in done.stderr


def test_the_service_takes_its_port_from_the_environment(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        result = two_tower("serve", "--releases", str(tmp_path), env={"PORT": str(port)})
    assert result.exit_code == 2
    assert f"cannot listen on 127.0.0.1:{port}" in result.stderr


def test_compile_writes_the_settings_as_defaults(tmp_path: Path) -> None:
    result = two_tower("compile", "--out", str(tmp_path / "p.yaml"), "--set", "loss=triplet", "--set", "epochs=2")
    assert result.exit_code == 0, result.stderr
    spec = next(iter(yaml.safe_load_all((tmp_path / "p.yaml").read_text())))
    default = spec["root"]["inputDefinitions"]["parameters"]["train_config"]["defaultValue"]
    assert '"loss": "triplet"' in default
    assert '"epochs": 2' in default


def test_releases_and_recommendations_as_json(tmp_path: Path) -> None:
    folder = str(tmp_path / "releases")
    name = release.publish(folder, [parts.write(tmp_path / "parts")], parts.manifest())
    release.activate(folder, name)
    (one,) = json.loads(two_tower("releases", "list", "--releases", folder, "--json").stdout)
    assert (one["id"], one["current"], one["problem"], one["dataset"]) == (name, True, "", "by hand")
    assert json.loads(two_tower("releases", "show", "--releases", folder, "--json").stdout)["dataset"] == "by hand"
    assert json.loads(two_tower("releases", "activate", name, "--releases", folder, "--json").stdout) == {
        "current": name
    }
    call = ["recommend", "--releases", folder, "--user"]
    response = json.loads(two_tower(*call, "u1", "-k", "2", "--json").stdout)
    assert response["release"] == name and response["fallback"] == "popular"
    assert [item["item_id"] for item in response["items"]] == ["i9", "i8"]
    text = two_tower(*call, "[u1]", "-k", "2").stdout
    assert "fallback: the online store does not know user [u1]; these items are the most popular" in text
    assert two_tower(*call, "u1", "--quiet").output == ""


def test_a_store_that_does_not_respond_is_an_error_of_recommend(tmp_path: Path) -> None:
    files = parts.write(tmp_path / "parts")
    config = f"project: tiny\nprovider: local\nregistry: {tmp_path}/no.db\nentity_key_serialization_version: 3\n"
    (files / "feature_store.yaml").write_text(
        config + 'online_store: {type: redis, connection_string: "127.0.0.1:1"}\n'
    )
    name = release.publish(tmp_path / "releases", [files], parts.manifest())
    release.activate(tmp_path / "releases", name)
    result = two_tower("recommend", "--releases", str(tmp_path / "releases"), "--user", "u1", "--json")
    assert result.exit_code == 2
    message = json.loads(result.stdout)["error"]["message"]
    assert message.startswith(f"the online store of release {name} did not respond, so the features of user 'u1' are")


def test_the_program_ends_with_its_status_while_a_thread_opens_a_release() -> None:
    code = """
import sys, threading, time
from onnx import parser
from onnxruntime import InferenceSession
from pipelines.cli.main import main

model = parser.parse_model('<ir_version: 10, opset_import: ["" : 21]> g (float[n] x) => (float[n] y) { y = Neg(x) }')
def work():
    while True:
        InferenceSession(model.SerializeToString())
threading.Thread(target=work, daemon=True).start()
time.sleep(0.2)
sys.argv = ["two-tower", "recommend"]
main()
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert done.returncode == 2 and "terminate called" not in done.stderr


def test_a_release_id_is_not_cut_on_a_narrow_terminal(tmp_path: Path) -> None:
    name = release.publish(tmp_path / "releases", [parts.write(tmp_path / "parts")], parts.manifest())
    call = ["releases", "list", "--releases", str(tmp_path / "releases")]
    assert name in two_tower(*call, env={"COLUMNS": "60"}).stdout
