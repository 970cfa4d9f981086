from kfp import dsl

from components import DATA_IMAGE


@dsl.component(base_image=DATA_IMAGE, install_kfp_package=False)
def materialise(repo: dsl.Input[dsl.Artifact], pulled: dsl.Input[dsl.Dataset], users: dsl.Output[dsl.Dataset]) -> None:
    """Write the newest feature values to the online store, and read those of some users from the offline store."""
    from pathlib import Path

    import pyarrow.parquet as pq

    from two_tower.data.features import materialize
    from two_tower.data.pulled import Pulled
    from two_tower.data.sample_users import pull_sample

    as_of = Pulled.read(Path(pulled.path), tables=()).bounds.as_of
    materialize(Path(repo.path), as_of)
    pq.write_table(pull_sample(Path(repo.path), Path(pulled.path), as_of), users.path)
