"""Apply the definitions of a Feast feature repository, and read the feature contract from them."""

import contextlib
import importlib
import io
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import cast, get_args

from feast import Entity, FeatureService, FeatureStore, FeatureView, Field, ValueType
from feast.errors import FeastObjectNotFoundException, RegistryInferenceFailure
from feast.repo_config import load_repo_config
from feast.repo_operations import apply_total, get_repo_files, py_path_to_module

from two_tower.data import stores
from two_tower.errors import InputError, unknown
from two_tower.schema import (
    INTERACTIONS_VIEW,
    ITEM_SERVICE,
    SEEN_SERVICE,
    SPLIT_TAG,
    USER_SERVICE,
    Contract,
    Dtype,
    Feature,
    SplitMethod,
    TowerName,
    feature,
)

CONFIG_FILE = "feature_store.yaml"
_ENTITIES: tuple[TowerName, ...] = ("user", "item")
_FILE_STORES = ("dask", "duckdb", "file")  # Feast's offline stores over FileSource
_KEY_DTYPES = {"String": Dtype.STRING, "Int32": Dtype.INT64, "Int64": Dtype.INT64}


def apply(repo: Path) -> FeatureStore:
    """Parse the definitions in a feature repository and write them to its registry, as `feast apply` does.

    Args:
        repo: The folder of the Feast feature repository.

    Returns:
        The feature store of the repository.

    Raises:
        InputError: If the folder does not contain a feature_store.yaml, a source file is missing, Feast cannot infer
            the features of a view, or the registry cannot be reached.
    """
    repo = repo.resolve()
    if not (repo / CONFIG_FILE).is_file():
        raise InputError(f"{repo} does not contain a {CONFIG_FILE}. Pass the folder of a Feast feature repository.")
    output = io.StringIO()
    applying = stores.as_input_error(
        f"cannot apply feature repository {repo.name}", f"Check registry in its {CONFIG_FILE}."
    )
    with applying, contextlib.chdir(repo), own_modules(repo), contextlib.redirect_stdout(output):
        try:
            apply_total(load_repo_config(repo, repo / CONFIG_FILE), repo, skip_source_validation=False)
        except FileNotFoundError as error:
            raise InputError(f"feature repository {repo.name}: {error}. Add the file of this source.") from error
        except RegistryInferenceFailure as error:
            raise InputError(f"feature repository {repo.name}: {error} A feature view needs a field.") from error
        except SystemExit as error:  # Feast exits if the name of the project is invalid
            raise InputError(f"feature repository {repo.name}: {output.getvalue().strip()}") from error
    return open_store(repo)


def open_store(repo: Path, asof: bool = False) -> FeatureStore:
    """Open the feature store of a repository after `apply`.

    Args:
        repo: The folder of the Feast feature repository.
        asof: Use the point-in-time join of `two_tower.data.asof_store` if the offline store reads files. A warehouse
            always runs its own join.

    Returns:
        The feature store.
    """
    config = load_repo_config(repo, repo / CONFIG_FILE)
    if asof and config.offline_store.type in _FILE_STORES:
        config = config.model_copy()
        config.offline_config = {"type": "two_tower.data.asof_store.AsOfOfflineStore"}
        config._offline_store = None  # cache of the parsed configuration
    return FeatureStore(repo_path=str(repo), config=config)


@contextlib.contextmanager
def own_modules(repo: Path) -> Iterator[None]:
    """Let the block import the modules of a repository again, and remove them from `sys.modules` afterwards.

    Repositories use the same module names, such as `definitions`. Without this context a process would use the modules
    of the first repository for all repositories.

    Args:
        repo: The folder of the Feast feature repository; it is on `sys.path` inside the block.
    """
    names = {py_path_to_module(path).split(".")[0] for path in get_repo_files(repo)}
    others = {n: sys.modules.pop(n) for n in list(sys.modules) if n.split(".")[0] in names and n != "__main__"}
    bytecode = sys.dont_write_bytecode
    sys.dont_write_bytecode = True  # the bytecode of a file that was edited within the same second would be stale
    sys.path.insert(0, str(repo))
    importlib.invalidate_caches()
    try:
        yield
    finally:
        sys.path.remove(str(repo))
        sys.dont_write_bytecode = bytecode
        for name in [n for n in sys.modules if n.split(".")[0] in names and n != "__main__"]:
            del sys.modules[name]
        sys.modules.update(others)


def contract(store: FeatureStore) -> Contract:
    """Read the feature contract from the feature services of a store.

    Args:
        store: The feature store.

    Returns:
        The contract: join keys and features of both towers.

    Raises:
        InputError: If a feature service, an entity or the view `interactions` is missing, a service uses a view that
            does not exist or has another entity, or towers do not accept the dtype of a feature.
    """
    keys = {name: _key(store, name) for name in _ENTITIES}
    interactions = view(store, INTERACTIONS_VIEW, f"the contract needs a feature view {INTERACTIONS_VIEW!r}")
    join_keys = {column.name for column in interactions.entity_columns}
    if join_keys != set(keys.values()):
        raise InputError(
            f"feature view {INTERACTIONS_VIEW!r} has the join keys {sorted(join_keys)}; its entities must be user and "
            f"item ({', '.join(keys.values())})."
        )
    dtypes = {c.name: _key_dtype(c) for c in interactions.entity_columns}
    seen = _features(store, SEEN_SERVICE, keys["user"]) if SEEN_SERVICE in _services(store) else ()
    if seen and (len(seen) != 1 or seen[0].dtype not in (Dtype.STRINGS, Dtype.INTS)):
        raise InputError(
            f"feature service {SEEN_SERVICE!r} must have one feature, of type Array(String) or Array(Int64); it has "
            f"{', '.join(f'{f.name} ({f.dtype})' for f in seen)}."
        )
    return Contract(
        user_key=keys["user"],
        user_key_dtype=dtypes[keys["user"]],
        item_key=keys["item"],
        item_key_dtype=dtypes[keys["item"]],
        user=_features(store, USER_SERVICE, keys["user"]),
        item=_features(store, ITEM_SERVICE, keys["item"]),
        seen=seen[0] if seen else None,
    )


def view(store: FeatureStore, name: str, needed_by: str) -> FeatureView:
    """Return a feature view by its name.

    Args:
        store: The feature store.
        name: The name of the view.
        needed_by: A clause that says why the view is needed, for the error message.

    Returns:
        The feature view.

    Raises:
        InputError: If the view is not in the registry.
    """
    try:
        return store.get_feature_view(name)
    except FeastObjectNotFoundException as error:
        raise _missing("feature view", name, [v.name for v in store.list_feature_views()], needed_by) from error


def split_method(store: FeatureStore) -> SplitMethod:
    """Return how the interactions are split: the tag `split` of the view `interactions`, by default `time`.

    Args:
        store: The feature store.

    Returns:
        `time`, or `per_user` for interactions without times.

    Raises:
        InputError: If the view is missing, or the tag has another value.
    """
    name = view(store, INTERACTIONS_VIEW, "training needs its rows").tags.get(SPLIT_TAG, "time")
    if name not in get_args(SplitMethod):
        raise unknown(f"tag {SPLIT_TAG!r} of feature view {INTERACTIONS_VIEW!r}:", name, get_args(SplitMethod))
    return cast("SplitMethod", name)


def service(store: FeatureStore, name: str) -> FeatureService:
    """Return a feature service by its name.

    Args:
        store: The feature store.
        name: The name of the service.

    Returns:
        The feature service.

    Raises:
        InputError: If the service is not in the registry.
    """
    try:
        return store.get_feature_service(name, allow_cache=True)
    except FeastObjectNotFoundException as error:
        raise _missing("feature service", name, _services(store), "it defines the features of a tower") from error


def _services(store: FeatureStore) -> list[str]:
    return [s.name for s in store.list_feature_services()]


def _missing(kind: str, name: str, names: list[str], needed_by: str) -> InputError:
    message = str(unknown(kind, name, names)).removeprefix("unknown ") if names else f"{kind} {name!r}."
    return InputError(f"missing {message} {needed_by[0].upper()}{needed_by[1:]}: define it in the feature repository.")


def _key(store: FeatureStore, name: TowerName) -> str:
    try:
        entity: Entity = store.get_entity(name)
    except FeastObjectNotFoundException as error:
        names = [e.name for e in store.list_entities() if e.value_type != ValueType.UNKNOWN]
        raise _missing("entity", name, names, "interactions join on it") from error
    return str(entity.join_key)


def _key_dtype(column: Field) -> Dtype:
    if str(column.dtype) not in _KEY_DTYPES:
        raise InputError(
            f"join key {column.name!r} has the type {column.dtype}. Allowed: {', '.join(_KEY_DTYPES)}. "
            "Change the entity's value_type."
        )
    return _KEY_DTYPES[str(column.dtype)]


def _features(store: FeatureStore, service_name: str, key: str) -> tuple[Feature, ...]:
    features = []
    on_demand = {v.name for v in store.list_on_demand_feature_views()}
    for projection in service(store, service_name).feature_view_projections:
        if projection.name in on_demand:
            raise InputError(
                f"feature service {service_name!r} uses the on-demand feature view {projection.name!r}, which runs "
                "Python at each request. Write its values to a feature view instead."
            )
        source = view(store, projection.name, f"feature service {service_name!r} uses it")
        join_keys = {projection.join_key_map.get(c.name, c.name) for c in source.entity_columns}
        if join_keys != {key}:
            raise InputError(
                f"feature service {service_name!r} uses feature view {projection.name!r}, which has the join keys "
                f"{sorted(join_keys)}; the only join key of a view in this service must be {key!r}."
            )
        known = {f.name: f for f in source.features}
        for f in projection.features:
            if f.name not in known:
                raise unknown(f"field of feature view {projection.name!r} in service {service_name!r}", f.name, known)
            features.append(feature(f.name, str(f.dtype), f.tags))
    return tuple(features)
