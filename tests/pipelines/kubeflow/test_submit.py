"""`two-tower submit` against a stand-in Pipelines API, over HTTP."""

import io
import json
import socket
from typing import Any

import pytest

from pipelines.cli.console import plain_console
from pipelines.kubeflow.submit import IN_CLUSTER, Endpoint
from pipelines.kubeflow.submitted_run import Request, submit_request
from tests.pipelines.cli.running import two_tower
from tests.pipelines.endpoint import HELD, TOKEN, pipelines, recorded, scenario
from two_tower import __version__
from two_tower.errors import InputError


@pytest.fixture(autouse=True)
def alone(tmp_path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without this machine's own kfp settings."""
    for name in ("KF_PIPELINES_ENDPOINT", "KF_PIPELINES_UI_ENDPOINT"):
        monkeypatch.delenv(name, raising=False)


def submit(host: str, **changes: Any) -> tuple[int, str, str]:
    given = {
        "host": host,
        "token": "",
        "namespace": "",
        "pipeline": "training",
        "dataset": None,
        "data_dir": "",
        "feature_repo": "s3://shop/features",
        "releases": "s3://shop/releases",
        "as_of": "",
        "fingerprint": "",
        "experiment": "two-tower",
        "schedule": None,
        "wait": False,
        "assignments": (),
    }
    out, err = io.StringIO(), io.StringIO()
    request = Request(**(given | changes))
    status, _ = submit_request(request, plain_console(file=out), plain_console(file=err), poll_every=0.01)
    return status, out.getvalue(), err.getvalue()


def test_a_run_is_started_and_its_address_printed() -> None:
    with pipelines() as api:
        status, out, _ = submit(api.address, assignments=("epochs=7", "shards=2", "service_account=trainer"))
    assert status == 0 and out == f"run: {api.address}/#/runs/details/run-1\n"
    (_, experiment), (_, run) = api.created
    assert experiment["display_name"] == "two-tower" and run["experiment_id"] == "experiment-1"
    assert run["service_account"] == "trainer"
    given = run["runtime_config"]["parameters"]
    assert (given["feature_repo"], given["releases"]) == ("s3://shop/features", "s3://shop/releases")
    assert given["fingerprint"] == "", "the run computes it"
    assert json.loads(given["train_config"])["epochs"] == 7
    assert "comp-embed" in run["pipeline_spec"]["pipeline_spec"]["components"]


def test_a_fingerprint_of_ones_own_reuses_the_pull() -> None:
    with pipelines() as api:
        submit(api.address, fingerprint="table version 7", as_of="2026-01-01T00:00:00+00:00")
    given = api.created[-1][1]["runtime_config"]["parameters"]
    assert (given["fingerprint"], given["as_of"]) == ("table version 7", "2026-01-01T00:00:00+00:00")


def test_a_recurring_run_reads_new_data_each_time() -> None:
    with pipelines() as api:
        status, out, _ = submit(api.address, pipeline="refresh_items", schedule="30 3 * * *")
    kind, made = api.created[-1]
    assert (status, kind) == (0, "recurringruns")
    assert out == f"recurring run: {api.address}/#/recurringrun/details/run-1\n"
    assert made["trigger"]["cron_schedule"]["cron"] == "0 30 3 * * *"
    assert made["max_concurrency"] == "1" or made["max_concurrency"] == 1
    tasks = made["pipeline_spec"]["pipeline_spec"]["root"]["dag"]["tasks"]
    assert "enableCache" not in tasks["fingerprint-repository"]["cachingOptions"]
    assert tasks["catalogue"]["cachingOptions"]["enableCache"]
    assert made["runtime_config"]["parameters"]["fingerprint"] == ""


def test_a_recurring_run_on_files_that_only_the_pods_read_uses_no_cache() -> None:
    given = {"dataset": "movielens-100k", "feature_repo": None, "data_dir": "/raw", "assignments": ("volumes=c:/raw",)}
    with pipelines() as api:
        submit(api.address, schedule="0 3 * * *", **given)
        submit(api.address, **given)
    recurring, run = (made for kind, made in api.created if kind != "experiments")
    tasks = recurring["pipeline_spec"]["pipeline_spec"]["root"]["dag"]["tasks"]
    assert not any(task.get("cachingOptions", {}).get("enableCache") for task in tasks.values())
    assert run["runtime_config"]["parameters"]["fingerprint"].startswith("submitted 20")


def wait(host: str, **changes: Any) -> tuple[int, str, str]:
    return submit(host, dataset="sample", feature_repo=None, wait=True, **changes)


def test_a_held_run_prints_its_steps_and_the_reasons() -> None:
    with pipelines(runs=scenario("held_by_gate"), log=HELD) as api:
        status, out, err = wait(api.address)
    assert status == 3
    assert "= prepare           reused" in out and "✗ promotion-gate    10 s" in out
    assert "the promotion-gate holds this release back\n  - recall@20 is 1.0000; above 283.3333" in err
    assert f"{api.address}/#/runs/details/run-1" in err


def test_a_failed_step_without_a_log_says_where_to_look() -> None:
    with pipelines(runs=scenario("step_failed")[-1:]) as api:
        status, _, err = wait(api.address)
    assert status == 1 and "step prepare failed" in err
    assert "kubectl -n kubeflow logs -l pipeline/runid=run-1 -c main" in err


def test_a_stopped_run_is_called_stopped() -> None:
    with pipelines(runs=scenario("terminated")[-1:]) as api:
        status, _, err = wait(api.address)
    assert status == 1 and "stopped: somebody stopped the run" in err and "failed" not in err


def test_an_api_that_stays_away_ends_with_a_fault_and_the_way_to_follow() -> None:
    with pipelines(runs=[scenario("sample_succeeded")[0], 500]) as api:
        status, _, err = wait(api.address, assignments=("api_minutes=0.002",))
    assert status == 1
    assert "has not given the state of the run for 0.002 minutes (HTTP 500). The run goes on." in err
    assert f"two-tower submit --host {api.address} --follow run-1" in err and "Try again" not in err


def test_a_run_is_followed_and_stopped_later() -> None:
    with pipelines(runs=scenario("held_by_gate"), log=HELD) as api:
        status, _, err = submit(api.address, dataset="sample", feature_repo=None, follow="run-7")
        assert status == 3 and "run-7" in err and api.created == []
        status, out, _ = submit(api.address, feature_repo=None, follow="run-7", stop=True)
    assert (status, api.stopped) == (0, ["run-7"]) and out.startswith("stopping: ")


def test_a_wrong_address_is_said_at_once() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"http://127.0.0.1:{free.getsockname()[1]}"
        with pytest.raises(InputError, match=f"no Pipelines API responds at {address}.*port-forward"):
            submit(address)
    with pytest.raises(InputError, match=r"--host 'kubeflow\.example\.com' is not a URL"):
        submit("kubeflow.example.com")


def test_a_login_page_is_no_pipelines_api() -> None:
    with (
        pipelines(page="<html>Log in</html>") as api,
        pytest.raises(InputError, match=r"a web page, perhaps a login.*port-forward"),
    ):
        submit(api.address)


@pytest.mark.parametrize("moves_after", range(5), ids=["check", "version", "list", "experiment", "run"])
def test_a_redirect_gets_no_token_at_any_request(moves_after: int) -> None:
    with pipelines() as login, pipelines(token=TOKEN, moved_to=login.address, moves_after=moves_after) as api:
        with pytest.raises(InputError, match=rf"redirects to {login.address}/login \(HTTP 302\)"):
            submit(api.address, token=TOKEN)
        assert login.requests == 0, "the target was asked"
        assert [kind for kind, _ in api.created].count("runs") == 0


def test_a_redirect_while_waiting_gets_no_token_and_says_how_to_follow() -> None:
    runs = scenario("sample_succeeded")[:5]
    with pipelines() as login, pipelines(runs=runs, token=TOKEN, moved_to=login.address, moves_after=6) as api:
        with pytest.raises(InputError, match=r"redirects to .* The run continues; follow it with: .*--follow run-1"):
            wait(api.address, token=TOKEN)
        assert login.requests == 0


def test_a_redirected_log_is_no_log() -> None:
    runs = scenario("step_failed")[-1:]
    with pipelines() as login, pipelines(runs=runs, token=TOKEN, moved_to=login.address, moves_after=6) as api:
        status, _, err = wait(api.address, token=TOKEN)
        assert (status, login.requests) == (1, 0) and "its log could not be read" in err


def test_a_namespace_without_rights_is_said() -> None:
    """The message is that of IsAuthorized in backend/src/apiserver/resource of kubeflow/pipelines 2.17.0 (read)."""
    message = "User 'ann' is not authorized with reason:  (request: &ResourceAttributes{Namespace:nope,...})"
    with (
        pipelines(forbidden=message) as api,
        pytest.raises(InputError, match=r"\(HTTP 403\): User 'ann' is not authorized.*--namespace exists"),
    ):
        submit(api.address, namespace="nope")


def test_an_installation_for_several_users_needs_a_namespace(tmp_path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pipelines(multi_user=True) as api:
        with pytest.raises(InputError, match=r"has a namespace for each user\. Pass yours with --namespace"):
            Endpoint.of(api.address, "", "")
        assert submit(api.address, namespace="ann")[0] == 0
        assert api.created[0][1]["namespace"] == "ann"
        (tmp_path / "namespace").write_text("bob\n")
        monkeypatch.setattr("pipelines.kubeflow.submit.POD_NAMESPACE", tmp_path / "namespace")
        assert Endpoint.of(api.address, "", "").namespace == "bob"


@pytest.mark.parametrize(
    ("host", "exposed"),
    [
        ("http://kubeflow.example.com/pipeline", True),
        ("http://10.0.0.7:8080", True),
        ("http://svc.example.com", True),
        ("https://kubeflow.example.com", False),
        ("http://localhost:8080", False),
        ("http://127.0.0.2:8080", False),
        ("http://[::1]:8080", False),
        (IN_CLUSTER, False),
        ("http://ml-pipeline.kubeflow.svc:8888", False),
        ("http://ml-pipeline:8888", False),
        ("http://kubeflow.local", False),
    ],
)
def test_a_token_over_plain_http_is_warned_of_beyond_loopback_and_the_cluster(host: str, exposed: bool) -> None:
    assert Endpoint(host=host, token="t", namespace="").sends_token_in_the_clear is exposed
    assert not Endpoint(host=host, token="", namespace="").sends_token_in_the_clear


def test_a_full_database_is_said() -> None:
    with (
        pipelines(forbidden="Failed to create a run", forbidden_status=500) as api,
        pytest.raises(InputError, match=r"refused the request \(HTTP 500\): Failed to create a run\."),
    ):
        submit(api.address)


def test_an_expired_token_is_said_before_and_while_waiting() -> None:
    with pipelines(token=TOKEN) as api:
        with pytest.raises(InputError, match=r"refused the token \(HTTP 401\).*environment variable TWO_TOWER_TOKEN"):
            submit(api.address, token="an-old-one")
        assert submit(api.address, token=TOKEN)[0] == 0
    with (
        pipelines(runs=scenario("sample_succeeded")[:5], expires_after=8) as api,
        pytest.raises(InputError, match="refused the token"),
    ):
        wait(api.address)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"feature_repo": None}, "--feature-repo s3://BUCKET/FOLDER or --dataset NAME"),
        ({"feature_repo": "./features"}, "--feature-repo './features' cannot be opened by the steps"),
        ({"feature_repo": None, "dataset": "sampel"}, "Did you mean 'sample'"),
        ({"releases": ""}, "--releases '' cannot be opened"),
        ({"schedule": "0 3 * * *", "fingerprint": "v7"}, "a recurring run would not read new data"),
        ({"stop": True}, "--stop needs the run"),
        ({"schedule": "every night"}, "is not a cron expression"),
        ({"schedule": "0 3 * * *", "wait": True}, "--wait is for one run"),
        ({"assignments": ("accelerator_count=1",)}, "Did you mean"),
        ({"pipeline": "trainning"}, "Did you mean 'training'"),
        ({"as_of": "2026-01-01"}, "no time zone"),
    ],
)
def test_bad_input_is_a_sentence(changes, said: str) -> None:
    with pipelines() as api, pytest.raises(InputError) as caught:
        submit(api.address, **changes)
    assert said in str(caught.value)
    assert api.created == []


def test_a_mounted_volume_may_hold_the_releases() -> None:
    with pipelines() as api:
        assert submit(api.address, releases="/mnt/releases", assignments=("volumes=claim:/mnt",))[0] == 0


def test_a_data_set_needs_no_feature_repository() -> None:
    with pipelines() as api:
        assert submit(api.address, dataset="sample", feature_repo=None)[0] == 0
    given = api.created[-1][1]["runtime_config"]["parameters"]
    assert (given["dataset"], given["fingerprint"]) == ("sample", f"sample of {__version__}")


def test_the_command_prints_its_result_as_json() -> None:
    call = ["submit", "--feature-repo", "s3://shop/features", "--releases", "s3://shop/releases", "--json", "--wait"]
    with pipelines(runs=[recorded()["held_by_gate_07_failed"]], log=HELD) as api:
        result = two_tower(*call, "--host", api.address)
    document = json.loads(result.stdout)
    assert result.exit_code == document["status"] == 3
    assert document["url"] == f"{api.address}/#/runs/details/run-1" and document["run"] == "run-1"
    assert document["step"] == "promotion-gate" and "recall@20 is 1.0000" in document["reasons"][0]
    assert "promotion-gate" in result.stderr
