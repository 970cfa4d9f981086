"""The training line, read from top to bottom.

    prepare ─> pull ─> validate ─> leaks ─> train ─> export ─> index ─> evaluate ─> promote ─> report ─┐
                          │          │                 │                               │               │
                      data gate   leak gate        parity gate                  promotion gate         │
                                                                                                       │
                                                    deploy gate <─ deploy <─ publish <─ materialise <──┘

A step that judges keeps its artifacts and succeeds; the gate after it fails the run when the verdict is no, so that a
person finds the reasons and the page that shows them. Steps whose inputs are unchanged are reused from the cache,
except those that look at, or change, the world outside the pipeline: validate, which asks for the release that serves,
and promote and all that follow it.

What each step needs of a cluster is said in one place for all pipelines: `placement`.
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
from two_tower.config import Settings
from two_tower.data.catalogue import shard_names

DEFAULTS = Settings()


def line(
    repo, title, releases, as_of, fingerprint, pull_config, train_config, evaluation_config, deploy_config, shards=1
) -> str:
    """The whole line behind a feature repository. Both pipelines below are this, on another source."""
    pulled = pull(repo=repo, as_of=as_of, fingerprint=fingerprint, config=pull_config).outputs["pulled"]

    judged_data = validate(pulled=pulled, repo=repo, releases=releases, config=pull_config)
    data_gate = gate(verdict=judged_data.outputs["verdict"]).set_display_name("data-gate")

    judged_features = leaks(repo=repo, as_of=as_of, fingerprint=fingerprint).after(data_gate)
    leak_gate = gate(verdict=judged_features.outputs["verdict"]).set_display_name("leak-gate")

    model = train(pulled=pulled, config=train_config).after(leak_gate).outputs["model"]

    exported = export(model=model, pulled=pulled)
    parity_gate = gate(verdict=exported.outputs["verdict"]).set_display_name("parity-gate")
    towers = exported.outputs["towers"]

    indexed = embed_catalogue(towers, pulled, parity_gate, shards)
    evaluated = evaluate(pulled=pulled, towers=towers, repo=repo, config=evaluation_config).after(parity_gate)
    evaluation = evaluated.outputs["evaluation"]

    judged = promote(evaluation=evaluation, pulled=pulled, releases=releases, config=evaluation_config)
    told = report(
        title=title,
        evaluation=evaluation,
        model=model,
        towers=towers,
        pulled=pulled,
        releases=releases,
        data_verdict=judged_data.outputs["verdict"],
        leak_verdict=judged_features.outputs["verdict"],
        parity_verdict=exported.outputs["verdict"],
        promotion_verdict=judged.outputs["verdict"],
    )
    promotion_gate = gate(verdict=judged.outputs["verdict"]).set_display_name("promotion-gate").after(told)

    online = materialise(repo=repo, pulled=pulled).after(promotion_gate)
    published = publish(
        repo=repo,
        pulled=pulled,
        towers=towers,
        index=indexed,
        summary=told.outputs["summary"],
        dataset=title,
        releases=releases,
    ).after(online)
    deployed = deploy(
        release=published.outputs["Output"],
        releases=releases,
        requests=published.outputs["requests"],
        config=deploy_config,
    )
    deploy_gate = gate(verdict=deployed.outputs["verdict"]).set_display_name("deploy-gate")

    for step in (judged_data, data_gate, judged, told, promotion_gate, online, published, deployed, deploy_gate):
        step.set_caching_options(enable_caching=False)
    return published.outputs["Output"]


def embed_catalogue(towers, pulled, parity_gate, shards):
    """The index of the newest catalogue; with several shards each is embedded in a pod of its own."""
    if shards == 1:
        return index(towers=towers, pulled=pulled).after(parity_gate).outputs["index"]
    newest = snapshot(pulled=pulled).after(parity_gate).outputs["catalogue"]
    with dsl.ParallelFor(items=shard_names(shards), name="shards") as part:
        embedded = embed(towers=towers, catalogue=newest, part=part)
    every_part = dsl.Collected(embedded.outputs["embedded"])
    return assemble(towers=towers, pulled=pulled, parts=every_part).outputs["index"]


def training_in(shards: int) -> GraphComponent:
    """The training pipeline, for a catalogue that is embedded in so many shards."""

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
        """Train on a feature repository: a folder, or its address in object storage.

        as_of: instant in ISO 8601 up to which interactions are read; empty for the newest.
        fingerprint: any text that changes when the data do; with `as_of` it decides whether the pull is reused.
        releases: folder or s3:// or gs:// address of the releases. Returns the id of the release.
        """
        repo = dsl.importer(artifact_uri=feature_repo, artifact_class=dsl.Artifact, reimport=True)
        return line(
            repo.output,
            feature_repo,
            releases,
            as_of,
            fingerprint,
            pull_config,
            train_config,
            evaluation_config,
            deploy_config,
            shards,
        )

    return training


training = training_in(shards=1)


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
    """Train on one of the public data sets, or on the simulated `sample`; `data_dir` holds its raw files."""
    prepared = prepare(dataset=dataset, data_dir=data_dir, fingerprint=fingerprint)
    return line(
        prepared.outputs["repo"],
        dataset,
        releases,
        as_of,
        fingerprint,
        pull_config,
        train_config,
        evaluation_config,
        deploy_config,
    )
