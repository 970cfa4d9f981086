"""What Kubeflow is given, step by step."""

from pathlib import Path

import pytest
import yaml

from pipelines.kubeflow.compiled import PIPELINES, Plan
from pipelines.kubeflow.resources import NEEDS
from tests.pipelines.specs import Compiled, compiled
from two_tower import __version__
from two_tower.errors import InputError

GATES = {"data-gate", "leak-gate", "parity-gate", "promotion-gate", "deploy-gate", "refresh-gate"}
UNCACHED = {
    "dataset": {
        "validate",
        "data-gate",
        "promote",
        "report",
        "promotion-gate",
        "materialise",
        "publish",
        "deploy",
        "deploy-gate",
    },
    "refresh_items": {
        "fingerprint-repository",
        "current-release",
        "refresh-gate",
        "publish-refreshed",
        "deploy",
        "deploy-gate",
    },
}
UNCACHED["training"] = {"fingerprint-repository"} | UNCACHED["dataset"]
ASKED = [
    "accelerator=amd.com/gpu",
    "accelerators=2",
    "train_cpu=16",
    "train_memory=64Gi",
    "data_cpu=500m",
    "retries=5",
    "retry_seconds=10",
    "retry_factor=3",
    "step_timeout=1000",
    "train_timeout=9000",
    "node_selector=pool=batch",
    "train_node_selector=cloud/gpu=a100",
    "tolerations=batch=yes:NoSchedule",
    "train_tolerations=amd.com/gpu:NoSchedule",
    "secrets=s3/id=AWS_ACCESS_KEY_ID,s3/AWS_SECRET_ACCESS_KEY",
    "secret_volumes=feast:/etc/feast",
    "volumes=raw:/raw",
    "s3_endpoint=http://minio:9000",
    "s3_region=eu-west-1",
    "s3_addressing=virtual",
    "store_minutes=0.5",
    "environment=AWS_DEFAULT_REGION=us-east-1,OMP_NUM_THREADS=2",
    "image_prefix=registry.example.com/team/",
    "image_tag=1.2.3",
    "train_image_tag=1.2.3-cuda",
    "image_pull_secret=pull",
    "shards=4",
]


def test_the_training_line_is_in_order() -> None:
    line = compiled("training")
    assert "data-gate" in line.before("leaks")
    assert "leak-gate" in line.before("train")
    assert "parity-gate" in line.before("index") & line.before("evaluate")
    assert line.before("promotion-gate") == {"promote", "report"}, "a held release still has its report"
    assert "promotion-gate" in line.before("materialise")
    assert {"materialise", "index", "report"} <= line.before("publish")
    assert line.before("deploy") == {"publish"}
    assert line.before("deploy-gate") == {"deploy"}


def test_the_refresh_is_in_order_and_trains_nothing() -> None:
    line = compiled("refresh_items", "shards=3")
    assert line.before("refresh") == {"fetch", "catalogue", "shards"}
    assert line.before("refresh-gate") == {"refresh"}
    assert {"refresh-gate", "refresh", "fetch"} <= line.before("publish-refreshed")
    assert line.before("deploy") == {"publish-refreshed"}
    assert not {"train", "export", "evaluate", "promote"} & set(line.steps)


@pytest.mark.parametrize("pipeline", ["training", "refresh_items"])
def test_the_catalogue_is_embedded_in_shards(pipeline: str) -> None:
    line = compiled(pipeline, "shards=4")
    loop = line.steps["shards"]
    assert yaml.safe_load(loop["parameterIterator"]["items"]["raw"]) == ["1/4", "2/4", "3/4", "4/4"]
    assert line.container("embed")["image"] == f"two-tower-train:{__version__}"
    assert "index" not in line.steps


def test_one_shard_needs_no_pod_of_its_own_in_training() -> None:
    assert {"index"} <= set(compiled("training").steps)
    assert not {"embed", "snapshot", "assemble"} & set(compiled("training").steps)


@pytest.mark.parametrize("pipeline", PIPELINES)
def test_every_step_is_placed_by_default(pipeline: str) -> None:
    line = compiled(pipeline)
    for name in line.containers():
        container, resources = line.container(name), line.container(name)["resources"]
        assert container["image"] in {f"two-tower-{image}:{__version__}" for image in ("data", "train", "serving")}, (
            name
        )
        assert resources["resourceCpuRequest"] and resources["resourceMemoryRequest"], name
        assert resources["resourceMemoryLimit"] == resources["resourceMemoryRequest"], name
        assert ("accelerator" in resources) == (name == "train"), name
        assert int(line.pod(name)["activeDeadlineSeconds"]) == (86400 if name == "train" else 14400), name
    if pipeline != "refresh_items":
        assert line.container("train")["resources"]["accelerator"] == {
            "count": "1",
            "resourceCount": "1",
            "type": "nvidia.com/gpu",
            "resourceType": "nvidia.com/gpu",
        }


@pytest.mark.parametrize("pipeline", PIPELINES)
def test_steps_are_tried_again_with_back_off_but_gates_are_not(pipeline: str) -> None:
    line = compiled(pipeline)
    for name in line.containers():
        attempts = 4 * int(
            line.pod(name)["activeDeadlineSeconds"]
        )  # Argo ends a running attempt at the end of the window
        window = f"{attempts + 30 + 60 + 120}s"
        policy = {"maxRetryCount": 3, "backoffDuration": "30s", "backoffFactor": 2.0, "backoffMaxDuration": window}
        assert line.steps[name].get("retryPolicy") == (None if name in GATES else policy), name


@pytest.mark.parametrize("pipeline", PIPELINES)
def test_only_what_touches_the_world_is_never_reused(pipeline: str) -> None:
    line = compiled(pipeline)
    uncached = {name for name in line.containers() if not line.steps[name]["cachingOptions"].get("enableCache")}
    assert uncached == UNCACHED[pipeline]


def test_settings_reach_training() -> None:
    line = compiled("training", *ASKED)
    train, pod = line.container("train"), line.pod("train")
    assert train["image"] == "registry.example.com/team/two-tower-train:1.2.3-cuda"
    assert train["resources"]["accelerator"]["resourceType"] == "amd.com/gpu"
    assert train["resources"]["accelerator"]["resourceCount"] == "2"
    assert (train["resources"]["resourceCpuRequest"], train["resources"]["resourceMemoryLimit"]) == ("16", "64Gi")
    assert pod["activeDeadlineSeconds"] == "9000"
    assert pod["nodeSelector"]["labels"] == {"pool": "batch", "cloud/gpu": "a100"}
    assert [(t["key"], t["operator"], t.get("value"), t["effect"]) for t in pod["tolerations"]] == [
        ("batch", "Equal", "yes", "NoSchedule"),
        ("amd.com/gpu", "Exists", None, "NoSchedule"),
    ]


def test_settings_reach_every_step() -> None:
    line = compiled("training", *ASKED)
    for name in line.containers():
        container, pod = line.container(name), line.pod(name)
        assert container["image"].startswith("registry.example.com/team/two-tower-"), name
        assert container["image"].endswith(":1.2.3-cuda" if name == "train" else ":1.2.3"), name
        assert {one["name"]: one["value"] for one in container["env"]} == {
            "AWS_ENDPOINT_URL": "http://minio:9000",
            "AWS_REGION": "eu-west-1",
            "AWS_DEFAULT_REGION": "us-east-1",
            "TWO_TOWER_S3_ADDRESSING": "virtual",
            "OMP_NUM_THREADS": "2",
            "TWO_TOWER_STORE_RETRY_SECONDS": "30",
        }, name
        assert pod["nodeSelector"]["labels"]["pool"] == "batch", name
        variables = {k["envVar"]: k["secretKey"] for s in pod["secretAsEnv"] for k in s["keyToEnv"]}
        assert variables == {"AWS_ACCESS_KEY_ID": "id", "AWS_SECRET_ACCESS_KEY": "AWS_SECRET_ACCESS_KEY"}, name
        assert [(s["secretName"], s["mountPath"]) for s in pod["secretAsVolume"]] == [("feast", "/etc/feast")], name
        assert [(v["constant"], v["mountPath"]) for v in pod["pvcMount"]] == [("raw", "/raw")], name
        assert [s["secretName"] for s in pod["imagePullSecret"]] == ["pull"], name
    assert line.container("pull")["resources"]["resourceCpuRequest"] == "500m"
    assert line.pod("pull")["activeDeadlineSeconds"] == "1000"
    assert line.steps["pull"]["retryPolicy"] == {
        "maxRetryCount": 5,
        "backoffDuration": "10s",
        "backoffFactor": 3.0,
        "backoffMaxDuration": "7210s",
    }


@pytest.mark.parametrize("pipeline", ["training", "dataset"])
def test_each_accelerator_has_a_process(pipeline: str) -> None:
    def train(*assignments: str) -> tuple[int, list[str]]:
        line = compiled(pipeline, *assignments)
        processes = line.steps["train"]["inputs"]["parameters"]["processes"]["runtimeValue"]["constant"]
        return processes, [one["mountPath"] for one in line.pod("train").get("emptyDirMounts", [])]

    assert train() == (1, [])
    assert train("accelerators=4") == (4, ["/dev/shm"])
    assert train("accelerators=0") == (1, [])
    assert train("accelerators=4", "device=cpu")[0] == 1


def test_no_retries_and_no_accelerator_can_be_asked_for() -> None:
    line = compiled("training", "retries=0", "accelerators=0")
    assert "retryPolicy" not in line.steps["train"]
    assert "accelerator" not in line.container("train")["resources"]


def test_the_fingerprint_is_that_of_the_run_or_given() -> None:
    for pipeline in ("training", "refresh_items"):
        line = compiled(pipeline)
        given = line.steps["fetch-repository"]["inputs"]["parameters"]
        assert given["fingerprint"]["taskOutputParameter"]["producerTask"] == "fingerprint-repository"
        known = line.steps["fingerprint-repository"]["inputs"]["parameters"]["known"]
        assert known == {"componentInputParameter": "fingerprint"}
        assert line.spec["root"]["inputDefinitions"]["parameters"]["fingerprint"]["defaultValue"] == ""


def test_settings_are_the_defaults_of_the_parameters() -> None:
    line = compiled("training", "loss=triplet", "canary_percent=5", "image_prefix=reg.io/x")
    defaults = line.spec["root"]["inputDefinitions"]["parameters"]
    assert '"loss": "triplet"' in defaults["train_config"]["defaultValue"]
    deploy = yaml.safe_load(defaults["deploy_config"]["defaultValue"])
    assert deploy["canary_percent"] == 5
    assert deploy["serving_image"] == f"reg.io/x/two-tower-serving:{__version__}"


def test_what_people_look_at_is_an_artifact_of_its_kind() -> None:
    line = compiled("training")
    kinds = {
        (name, key): artifact["artifactType"]["schemaTitle"]
        for name in line.containers()
        for key, artifact in line.spec["components"][line.steps[name]["componentRef"]["name"]]
        .get("outputDefinitions", {})
        .get("artifacts", {})
        .items()
    }
    assert kinds["evaluate", "metrics"] == "system.Metrics"
    assert kinds["evaluate", "curve"] == "system.ClassificationMetrics"
    assert kinds["validate", "report"] == kinds["report", "page"] == "system.HTML"
    assert kinds["deploy", "page"] == "system.Markdown"


def test_the_table_of_needs_holds_no_step_that_is_gone() -> None:
    steps = {
        line.steps[n]["componentRef"]["name"].removeprefix("comp-").rstrip("-0123456789")
        for line in (
            compiled("training"),
            compiled("training", "shards=4"),
            compiled("refresh_items"),
            compiled("dataset"),
        )
        for n in line.containers()
    }
    assert steps == set(NEEDS)


@pytest.mark.parametrize(
    ("assignment", "said"),
    [
        ("shards=0", "1 to 1000"),
        ("shard=3", "Did you mean 'shards'"),
        ("accelerators=-1", "0 to 64"),
        ("train_memory=lots", "such as 8Gi"),
        ("data_cpu=two", "such as 2, 0.5 or 500m"),
        ("tolerations=gpu", "KEY:EFFECT"),
        ("node_selector=gpu", "LABEL=VALUE"),
        ("secrets=s3", "SECRET/KEY"),
        ("volumes=raw", "CLAIM:/PATH"),
        ("environment=1=2", "VARIABLE=VALUE"),
        ("s3_endpoint=minio:9000", "an http:// or https:// address"),
        ("s3_addressing=host", "auto, path, virtual"),
        ("image_tag=latest", "not `latest`, because"),
        ("retry_factor=1.5", "whole number"),
        ("train_timeout=0", "at least 1"),
        ("s3_region=eu west", "the name of a region"),
    ],
)
def test_a_wrong_setting_is_explained(assignment: str, said: str) -> None:
    with pytest.raises(InputError) as caught:
        Plan.of("training", [assignment])
    assert said in str(caught.value)


def test_slices_of_a_gpu_cannot_train_together() -> None:
    with pytest.raises(InputError, match=r"Allowed: 0 or 1, for accelerator=nvidia\.com/mig-1g\.10gb"):
        Plan.of("training", ["accelerator=nvidia.com/mig-1g.10gb", "accelerators=2"])


def test_an_unknown_pipeline_is_explained() -> None:
    with pytest.raises(InputError, match="Did you mean 'refresh_items'"):
        Plan.of("refresh-items", [])


def test_the_file_is_where_it_was_asked_for(tmp_path: Path) -> None:
    Plan.of("refresh_items", []).write(tmp_path / "p.yaml")
    assert Compiled(tmp_path / "p.yaml").spec["pipelineInfo"]["name"] == "two-tower-refresh-items"
