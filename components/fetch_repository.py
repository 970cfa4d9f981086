from kfp import dsl

from components import DATA_IMAGE


@dsl.component(base_image=DATA_IMAGE, install_kfp_package=False)
def fetch_repository(address: str, fingerprint: str, repo: dsl.Output[dsl.Artifact]) -> None:
    """Copy a feature repository from its address. With another `fingerprint`, no step that reads it is reused."""
    from pathlib import Path

    from two_tower.data.fetch import fetch, local_path

    repo.metadata["fingerprint"] = fingerprint
    if "://" in repo.uri:
        fetch(address, Path(repo.path))
    else:  # the local runner: every step reads the folder itself
        repo.path = str(local_path(address))
