"""The training pipeline, to be read from top to bottom.

    fetch ─> pull ─> validate ─> leaks ─> train ─> export ─> index ─> evaluate ─> promote ─> report ─┐
                        │          │                 │                               │               │
                    data gate   leak gate        parity gate                  promotion gate         │
                                                                                                     │
                                                  deploy gate <─ deploy <─ publish <─ materialise <──┘

A step that checks something writes a verdict and succeeds. The gate after it fails the run if the verdict is negative,
so the reasons and the page that shows them are kept. Steps whose inputs have not changed are reused from the cache. The
exceptions read or change state outside the pipeline: the fingerprint of the repository, validate, which reads the
current release, promote, and all steps after it.

The resources of each step on a cluster are in one table for all pipelines: `pipelines.kubeflow.resources`.
"""

from kfp import dsl
from kfp.dsl.graph_component import GraphComponent

from components.assemble import assemble
from components.deploy import deploy
from components.embed import embed
from components.evaluate import evaluate
from components.export import export
from components.gate import gate
from components.index import index
from components.leaks import leaks
from components.materialise import materialise
from components.prepare import prepare
from components.promote import promote
from components.publish import publish
from components.pull import pull
from components.report import report
from components.snapshot import snapshot
from components.train import train
from components.validate import validate
from pipelines.repository import repository
from two_tower.config import Settings
from two_tower.data.catalogue import shard_names

DEFAULTS = Settings()


def steps(
    repo, title, releases, as_of, pull_config, train_config, evaluation_config, deploy_config, processes, shards=1
) -> str:
    """Define all steps after the feature repository. The two pipelines below differ only in their source."""
    pulled = pull(repo=repo, as_of=as_of, config=pull_config).outputs["pulled"]

    data_check = validate(pulled=pulled, repo=repo, releases=releases, config=pull_config)
    data_gate = gate(verdict=data_check.outputs["verdict"]).set_display_name("data-gate")

    leak_check = leaks(repo=repo, as_of=as_of).after(data_gate)
    leak_gate = gate(verdict=leak_check.outputs["verdict"]).set_display_name("leak-gate")

    trained = train(pulled=pulled, config=train_config, releases=releases, processes=processes).after(leak_gate)
    model = trained.outputs["model"]

    exported = export(model=model, pulled=pulled)
    parity_gate = gate(verdict=exported.outputs["verdict"]).set_display_name("parity-gate")
    towers = exported.outputs["towers"]

    indexed = embed_catalogue(towers, pulled, parity_gate, shards)
    evaluated = evaluate(pulled=pulled, towers=towers, repo=repo, config=evaluation_config).after(parity_gate)
    evaluation = evaluated.outputs["evaluation"]

    promotion = promote(evaluation=evaluation, pulled=pulled, releases=releases, config=evaluation_config)
    reported = report(
        title=title,
        evaluation=evaluation,
        model=model,
        towers=towers,
        pulled=pulled,
        releases=releases,
        data_verdict=data_check.outputs["verdict"],
        leak_verdict=leak_check.outputs["verdict"],
        parity_verdict=exported.outputs["verdict"],
        promotion_verdict=promotion.outputs["verdict"],
    )
    promotion_gate = gate(verdict=promotion.outputs["verdict"]).set_display_name("promotion-gate").after(reported)

    online = materialise(repo=repo, pulled=pulled).after(promotion_gate)
    published = publish(
        repo=repo,
        pulled=pulled,
        towers=towers,
        index=indexed,
        summary=reported.outputs["summary"],
        users=online.outputs["users"],
        dataset=title,
        releases=releases,
    )
    deployed = deploy(
        release=published.outputs["Output"],
        releases=releases,
        questions=published.outputs["questions"],
        config=deploy_config,
    )
    deploy_gate = gate(verdict=deployed.outputs["verdict"]).set_display_name("deploy-gate")

    for step in (data_check, data_gate, promotion, reported, promotion_gate, online, published, deployed, deploy_gate):
        step.set_caching_options(enable_caching=False)
    return published.outputs["Output"]


def embed_catalogue(towers, pulled, parity_gate, shards):
    """Embed and index the newest catalogue; if there are several shards, each is embedded in its own pod."""
    if shards == 1:
        return index(towers=towers, pulled=pulled).after(parity_gate).outputs["index"]
    newest = snapshot(pulled=pulled).after(parity_gate).outputs["catalogue"]
    with dsl.ParallelFor(items=shard_names(shards), name="shards") as part:
        embedded = embed(towers=towers, catalogue=newest, part=part)
    every_part = dsl.Collected(embedded.outputs["embedded"])
    return assemble(towers=towers, pulled=pulled, parts=every_part).outputs["index"]


def training_in(shards: int, processes: int = 1) -> GraphComponent:
    """Make the training pipeline.

    Args:
        shards: Number of shards in which the catalogue is embedded.
        processes: Number of processes that train, one for each accelerator of the pod.
    """

    @dsl.pipeline(name="two-tower-training", description="From a Feast feature repository to a promoted release.")
    def training(
        feature_repo: str,
        releases: str,
        as_of: str = "",
        fingerprint: str = "",
        pull_config: str = DEFAULTS.pull.to_json(),
        train_config: str = DEFAULTS.train.to_json(),
        evaluation_config: str = DEFAULTS.evaluation.to_json(),
        deploy_config: str = DEFAULTS.deploy.to_json(),
    ) -> str:
        """Train on a feature repository and publish a release.

        Args:
            feature_repo: Folder that the steps can read, or s3://, minio:// or gs:// address.
            releases: Folder, or s3://, minio:// or gs:// address, of the releases.
            as_of: Time in ISO 8601 up to which interactions are read; empty for all.
            fingerprint: Any text that changes with the data; empty to compute it from the repository and its sources.
            pull_config: Settings of the pull, as JSON.
            train_config: Settings of the training, as JSON.
            evaluation_config: Settings of the evaluation, as JSON.
            deploy_config: Settings of the deployment, as JSON.

        Returns:
            The id of the release.
        """
        return steps(
            repository(feature_repo, fingerprint),
            feature_repo,
            releases,
            as_of,
            pull_config,
            train_config,
            evaluation_config,
            deploy_config,
            processes,
            shards,
        )

    return training


training = training_in(shards=1)


def training_on_dataset_in(processes: int) -> GraphComponent:
    """Make the pipeline for a built-in data set; `processes` as for `training_in`."""

    @dsl.pipeline(name="two-tower-dataset", description="From a public data set to a promoted release.")
    def training_on_dataset(
        dataset: str,
        releases: str,
        data_dir: str = "",
        as_of: str = "",
        fingerprint: str = "",
        pull_config: str = DEFAULTS.pull.to_json(),
        train_config: str = DEFAULTS.train.to_json(),
        evaluation_config: str = DEFAULTS.evaluation.to_json(),
        deploy_config: str = DEFAULTS.deploy.to_json(),
    ) -> str:
        """Train on a public data set, or on the simulated `sample`; `data_dir` holds the raw files."""
        prepared = prepare(dataset=dataset, data_dir=data_dir, fingerprint=fingerprint)
        return steps(
            prepared.outputs["repo"],
            dataset,
            releases,
            as_of,
            pull_config,
            train_config,
            evaluation_config,
            deploy_config,
            processes,
        )

    return training_on_dataset


training_on_dataset = training_on_dataset_in(processes=1)
