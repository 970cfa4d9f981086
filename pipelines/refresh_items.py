"""The refresh of the items, to be read from top to bottom: new items and features reach users without training.

    fetch ────────┬─> embed, one shard a pod ─> refresh ─> publish ─> deploy
    catalogue ────┘                                │                     │
                                              refresh gate          deploy gate

The towers, and so the embedding space, stay those of the current release. Only the catalogue is read again. With the
same release and the same data, the shards are reused from the cache.
"""

from kfp import dsl
from kfp.dsl.graph_component import GraphComponent

from components.catalogue import catalogue
from components.current_release import current_release
from components.deploy import deploy
from components.embed import embed
from components.fetch import fetch
from components.gate import gate
from components.publish_refreshed import publish_refreshed
from components.refresh import refresh
from pipelines.repository import repository
from two_tower.config import Settings
from two_tower.data.catalogue import shard_names

DEFAULTS = Settings()


def refresh_items_in(shards: int) -> GraphComponent:
    """Make the pipeline for a catalogue that is embedded in this number of shards."""

    @dsl.pipeline(
        name="two-tower-refresh-items", description="Embed the present catalogue with the current item tower."
    )
    def refresh_items(
        feature_repo: str,
        releases: str,
        as_of: str = "",
        fingerprint: str = "",
        deploy_config: str = DEFAULTS.deploy.to_json(),
    ) -> str:
        """Embed the present catalogue of a feature repository and publish it as a release.

        Args:
            feature_repo: Folder that the steps can read, or s3://, minio:// or gs:// address.
            releases: Folder, or s3://, minio:// or gs:// address, of the releases.
            as_of: Time in ISO 8601 of the features that are read; empty for the newest.
            fingerprint: Any text that changes with the data; empty to compute it from the repository and its sources.
            deploy_config: Settings of the deployment, as JSON.

        Returns:
            The id of the release.
        """
        repo = repository(feature_repo, fingerprint)
        current = current_release(releases=releases)
        served = fetch(releases=releases, release=current.output)
        items = catalogue(repo=repo, as_of=as_of).outputs["catalogue"]

        with dsl.ParallelFor(items=shard_names(shards), name="shards") as part:
            embedded = embed(towers=served.outputs["served"], catalogue=items, part=part)

        every_part = dsl.Collected(embedded.outputs["embedded"])
        refreshed = refresh(served=served.outputs["served"], catalogue=items, parts=every_part)
        refresh_gate = gate(verdict=refreshed.outputs["verdict"]).set_display_name("refresh-gate")

        published = publish_refreshed(
            served=served.outputs["served"],
            index=refreshed.outputs["index"],
            catalogue=items,
            verdict=refreshed.outputs["verdict"],
            releases=releases,
        ).after(refresh_gate)
        deployed = deploy(
            release=published.outputs["Output"],
            releases=releases,
            questions=published.outputs["questions"],
            config=deploy_config,
        )
        deploy_gate = gate(verdict=deployed.outputs["verdict"]).set_display_name("deploy-gate")

        for step in (current, refresh_gate, published, deployed, deploy_gate):
            step.set_caching_options(enable_caching=False)
        return published.outputs["Output"]

    return refresh_items


refresh_items = refresh_items_in(shards=1)
