"""The Katib experiment as Katib's webhook would check it, and as its metrics collector would read a trial."""

import re
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from pipelines.kubeflow.katib import LOSS, METRIC, METRICS_FORMAT, Experiment
from tests.schemas import check
from tests.two_tower.worlds import checkerboard
from two_tower import __version__
from two_tower.errors import InputError
from two_tower.training.__main__ import main
from two_tower.training.network import model
from two_tower.tuning.space import DEFAULT, Space

# The fields that https://www.kubeflow.org/docs/components/katib/user-guides documents, those that we use.
TEXT, COUNT = {"type": "string", "minLength": 1}, {"type": "integer", "minimum": 1}


def fields(required: tuple[str, ...], **properties: Any) -> dict[str, Any]:
    return {"type": "object", "properties": properties, "required": list(required), "additionalProperties": False}


def some(of: dict[str, Any]) -> dict[str, Any]:
    return {"type": "array", "items": of, "minItems": 1}


ALGORITHM = fields(
    ("algorithmName",), algorithmName=TEXT, algorithmSettings=some(fields(("name", "value"), name=TEXT, value=TEXT))
)
BOUNDED = fields(("min", "max"), min=TEXT, max=TEXT, step=TEXT, distribution={"enum": ["uniform", "logUniform"]})
PARAMETER = {
    "oneOf": [
        fields(
            ("name", "parameterType", "feasibleSpace"),
            name=TEXT,
            parameterType={"enum": ["double", "int"]},
            feasibleSpace=BOUNDED,
        ),
        fields(
            ("name", "parameterType", "feasibleSpace"),
            name=TEXT,
            parameterType={"enum": ["categorical", "discrete"]},
            feasibleSpace=fields(("list",), list=some(TEXT)),
        ),
    ]
}
TEMPLATE = fields(
    ("primaryContainerName", "successCondition", "failureCondition", "trialParameters", "trialSpec"),
    primaryContainerName=TEXT,
    successCondition=TEXT,
    failureCondition=TEXT,
    trialParameters=some(fields(("name", "reference"), name=TEXT, reference=TEXT, description=TEXT)),
    trialSpec={"type": "object"},
)
SPEC = fields(
    ("objective", "algorithm", "parameters", "trialTemplate"),
    objective=fields(
        ("type", "objectiveMetricName"),
        type={"enum": ["maximize", "minimize"]},
        objectiveMetricName=TEXT,
        additionalMetricNames=some(TEXT),
        metricStrategies=some(
            fields(("name", "value"), name=TEXT, value={"enum": ["min", "max", "latest"]}),
        ),
    ),
    algorithm=ALGORITHM,
    earlyStopping=ALGORITHM,
    parallelTrialCount=COUNT,
    maxTrialCount=COUNT,
    maxFailedTrialCount=COUNT,
    resumePolicy={"enum": ["Never", "LongRunning", "FromVolume"]},
    metricsCollectorSpec=fields(
        ("collector", "source"),
        collector=fields(("kind",), kind={"enum": ["StdOut", "File"]}),
        source=fields(("filter",), filter=fields(("metricsFormat",), metricsFormat=some(TEXT))),
    ),
    parameters=some(PARAMETER),
    trialTemplate=TEMPLATE,
)
SETTINGS = [
    "volumes=pulled:/pulled",
    "secrets=store/KEY=AWS_SECRET_ACCESS_KEY",
    "tolerations=gpu:NoSchedule",
    "epochs=8",
]


@pytest.fixture(scope="module")
def experiment() -> dict[str, Any]:
    return Experiment.of("/pulled/p1", 20, None, SETTINGS).manifest()


def test_katib_takes_the_experiment(experiment: dict[str, Any]) -> None:
    assert (experiment["apiVersion"], experiment["kind"]) == ("kubeflow.org/v1beta1", "Experiment")
    assert len(experiment["metadata"]["name"]) <= 40
    spec = experiment["spec"]
    jsonschema.validate(spec, SPEC)
    assert spec["parallelTrialCount"] <= spec["maxTrialCount"] >= spec["maxFailedTrialCount"]
    with pytest.raises(jsonschema.ValidationError, match="maxTrials"):
        jsonschema.validate(spec | {"maxTrials": 3}, SPEC)


def test_its_parameters_are_the_space(experiment: dict[str, Any]) -> None:
    found = {one["name"]: one for one in experiment["spec"]["parameters"]}
    assert set(found) == set(Space.read(DEFAULT).dimensions)
    assert found["learning_rate"]["feasibleSpace"] == {"min": "0.0005", "max": "0.01", "distribution": "logUniform"}
    assert found["dim"] == {"name": "dim", "parameterType": "discrete", "feasibleSpace": {"list": ["32", "64", "128"]}}
    assert found["loss"]["parameterType"] == "categorical"


def filled(experiment: dict[str, Any], values: dict[str, str]) -> dict[str, Any]:
    """The Job of a trial, as Katib makes it: each parameter's value in the place of its name, everywhere."""
    template = experiment["spec"]["trialTemplate"]
    text = yaml.safe_dump(template["trialSpec"])
    for one in template["trialParameters"]:
        assert "${trialParameters." + one["name"] + "}" in text
        text = text.replace("${trialParameters." + one["name"] + "}", values[one["reference"]])
    assert "${" not in text
    return yaml.safe_load(text)


def first_values(experiment: dict[str, Any]) -> dict[str, str]:
    spaces = {one["name"]: one["feasibleSpace"] for one in experiment["spec"]["parameters"]}
    return {name: space.get("list", [space.get("min")])[0] for name, space in spaces.items()}


def test_kubernetes_takes_a_trial(experiment: dict[str, Any]) -> None:
    job = filled(experiment, first_values(experiment))
    check(job | {"metadata": {"name": "trial"}})
    pod = job["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    assert container["name"] == experiment["spec"]["trialTemplate"]["primaryContainerName"]
    assert container["image"] == f"two-tower-train:{__version__}"
    assert {m["name"] for m in container["volumeMounts"]} == {v["name"] for v in pod["volumes"]} == {"tmp", "pulled"}
    assert container["env"][0]["valueFrom"]["secretKeyRef"] == {"name": "store", "key": "KEY"}
    assert not [one for one in container["args"] if re.search(r"[\s;&|<>$`'\"]", one)], "Katib hands them to a shell"


def test_a_trial_runs_and_its_metric_is_read(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Katib takes the largest value of what its filter finds in standard output: that of the epoch that is kept."""
    checkerboard(users=20, items=60, per_user=24).write(tmp_path / "pulled")
    settings = ["device=cpu", "hidden=8", "batch_size=64", "epochs=5"]
    (tmp_path / "s.toml").write_text(
        'dim = [8, 16]\nlearning_rate = {low = 0.001, high = 0.01}\nloss = ["bpr", "triplet"]'
    )
    made = Experiment.of(str(tmp_path / "pulled"), 3, tmp_path / "s.toml", settings).manifest()
    job = filled(made, first_values(made))
    (container,) = job["spec"]["template"]["spec"]["containers"]
    assert container["command"] == ["python", "-m", "two_tower.training"]
    arguments = [str(tmp_path / "model") if one == "/tmp/model" else one for one in container["args"]]
    assert main(arguments) == 0
    assert model.load(tmp_path / "model").config.loss == "bpr"
    read: dict[str, list[float]] = {}
    (pattern,) = made["spec"]["metricsCollectorSpec"]["source"]["filter"]["metricsFormat"]
    for name, value in re.findall(pattern, capsys.readouterr().out):
        read.setdefault(name, []).append(float(value))
    history = yaml.safe_load((tmp_path / "model" / "model.json").read_text())["history"]
    assert read[METRIC] == [round(epoch["recall@20"], 4) for epoch in history]
    assert read[LOSS] == [round(epoch["loss"], 4) for epoch in history]


def test_the_filter_names_the_metric_and_its_value() -> None:
    assert re.compile(METRICS_FORMAT).groups == 2
    assert {METRIC, LOSS} == {name for name, _ in re.findall(METRICS_FORMAT, f"{METRIC} 0.5  {LOSS} -1.25")}


@pytest.mark.parametrize(
    ("pulled", "settings", "said"),
    [
        (None, [], "--katib needs --pulled"),
        ("s3://b/p", ["epoch=3"], "Did you mean 'epochs'"),
        ("s3://b/p", ["volumes=pulled"], "CLAIM:/PATH|SECRET:/PATH|volumes"),
    ],
)
def test_bad_input_is_told(pulled: str | None, settings: list[str], said: str) -> None:
    with pytest.raises(InputError, match=said):
        Experiment.of(pulled, 3, None, settings)
