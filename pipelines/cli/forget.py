"""`two-tower forget`."""

import json
from pathlib import Path
from typing import Annotated

import typer

from pipelines.cli.command import command
from pipelines.cli.output import Output

REMAINS = (
    "the tables of the feature repository: remove the user there, else the next run writes the features again",
    "the feature log (`serve --feature-log`): its rows have no user id, and it is removed after `--log-keep` days",
    "trained towers: they learned from the user's interactions; train again without them",
)


@command("two-tower forget --user u00042 --feature-repo my_repo --releases runs/my_repo/releases", extras="data")
def forget(
    output: Output,
    user: Annotated[str, typer.Option(help="User id.")],
    feature_repo: Annotated[Path, typer.Option(help="Feature repository whose online store holds the user.")],
    releases: Annotated[str | None, typer.Option(help="Folder, s3:// or gs:// URL of the releases to search.")] = None,
) -> None:
    """Remove a user's features from the online store, and print what remains of the user elsewhere."""
    with output.progress("removing the user's features"):
        from two_tower.data.forget import forget_user
        from two_tower.errors import InputError

        if not (feature_repo / "feature_store.yaml").is_file():
            raise InputError(f"no feature_store.yaml in {feature_repo}. Pass the folder of a feature repository.")
        views = forget_user(feature_repo, user)
        listed = _listing(releases, user) if releases else []
    output.json({"views": views, "releases": listed, "remains": list(REMAINS)})
    for view, held in views.items():
        output.text.print(f"{view}: {'set to missing' if held else 'held nothing'}", markup=False)
    for release in listed:
        output.text.print(
            f"release {release} lists the user on its demo page (users.json): publish a new one and remove it",
            markup=False,
        )
    for place in REMAINS:
        output.text.print(f"not changed: {place}", markup=False, soft_wrap=True)


def _listing(releases: str, user: str) -> list[str]:
    """Ids of the releases whose list of recent users has the user."""
    from two_tower.releases import release
    from two_tower.releases.manifest import File
    from two_tower.storage import open_storage

    storage = open_storage(releases)
    with_users = [
        one.id for one in release.list_releases(releases) if one.manifest and File.USERS in one.manifest.files
    ]
    return [one for one in with_users if user in map(str, json.loads(storage.read(f"{one}/{File.USERS}")))]
