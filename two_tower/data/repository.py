"""A Feast feature repository: its definitions applied, and the feature contract that they state."""

import contextlib
import importlib
import io
import sys
from collections.abc import Iterator
from pathlib import Path

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
    USER_SERVICE,
    Contract,
    Dtype,
    Feature,
    TowerName,
    feature,
)

CONFIG_FILE = "feature_store.yaml"
_ENTITIES: tuple[TowerName, ...] = ("user", "item")
_FILE_STORES = ("dask", "duckdb", "file")  # Feast's offline stores over FileSource
_KEY_DTYPES = {"String": Dtype.STRING, "Int32": Dtype.INT64, "Int64": Dtype.INT64}


def apply(repo: Path) -> FeatureStore:
    """Parse the definitions in a feature repository and write them to its registry, as `feast apply` does.

    Raises InputError where the folder holds no feature_store.yaml, where a source's file is missing, and where Feast
    cannot tell a view's features.
    """
    repo = repo.resolve()
    if not (repo / CONFIG_FILE).is_file():
        raise InputError(f"{repo} holds no {CONFIG_FILE}. Give the folder of a Feast feature repository.")
    said = io.StringIO()
    applying = stores.told(f"feature repository {repo.name} is applied", f"See registry in its {CONFIG_FILE}.")
    with applying, contextlib.chdir(repo), own_modules(repo), contextlib.redirect_stdout(said):
        try:
            apply_total(load_repo_config(repo, repo / CONFIG_FILE), repo, skip_source_validation=False)
        except FileNotFoundError as error:
            raise InputError(f"feature repository {repo.name}: {error}. Put the source's file there.") from error
        except RegistryInferenceFailure as error:
            raise InputError(f"feature repository {repo.name}: {error} A feature view needs a field.") from error
        except SystemExit as error:  # how Feast reports a project's name that does not fit
            raise InputError(f"feature repository {repo.name}: {said.getvalue().strip()}") from error
    return open_store(repo)


def open_store(repo: Path, asof: bool = False) -> FeatureStore:
    """The feature store of a repository whose definitions are applied.

    asof: join by `two_tower.data.asof_store` where the offline store reads files; a warehouse always joins by itself.
    """
    config = load_repo_config(repo, repo / CONFIG_FILE)
    if asof and config.offline_store.type in _FILE_STORES:
        config = config.model_copy()
        config.offline_config = {"type": "two_tower.data.asof_store.AsOfOfflineStore"}
        config._offline_store = None  # the parsed form of what was replaced
    return FeatureStore(repo_path=str(repo), config=config)


@contextlib.contextmanager
def own_modules(repo: Path) -> Iterator[None]:
    """Import the repository's modules afresh, and forget them afterwards.

    Every repository calls its modules `definitions` or the like; without this a process would read the first one's for
    all of them.
    """
    names = {py_path_to_module(path).split(".")[0] for path in get_repo_files(repo)}
    others = {n: sys.modules.pop(n) for n in list(sys.modules) if n.split(".")[0] in names and n != "__main__"}
    bytecode = sys.dont_write_bytecode
    sys.dont_write_bytecode = True  # a file edited within the second would be read from its stale bytecode
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
    """The feature contract that a store's services state.

    Raises InputError where a service, an entity or the view `interactions` is missing, where a service names a view
    that is not there or that needs another entity's key, and for a dtype no tower can take.
    """
    keys = {name: _key(store, name) for name in _ENTITIES}
    interactions = view(store, INTERACTIONS_VIEW, f"the contract needs a feature view {INTERACTIONS_VIEW!r}")
    over = {column.name for column in interactions.entity_columns}
    if over != set(keys.values()):
        raise InputError(
            f"feature view {INTERACTIONS_VIEW!r} is over {sorted(over)}; it must be over the entities user and item "
            f"({', '.join(keys.values())})."
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
    """A feature view by its name; InputError, saying who needs it, where it is not in the registry."""
    try:
        return store.get_feature_view(name)
    except FeastObjectNotFoundException as error:
        raise _missing("feature view", name, [v.name for v in store.list_feature_views()], needed_by) from error


def service(store: FeatureStore, name: str) -> FeatureService:
    try:
        return store.get_feature_service(name, allow_cache=True)
    except FeastObjectNotFoundException as error:
        raise _missing("feature service", name, _services(store), "a tower's features come from it") from error


def _services(store: FeatureStore) -> list[str]:
    return [s.name for s in store.list_feature_services()]


def _missing(what: str, name: str, there: list[str], needed_by: str) -> InputError:
    known = str(unknown(what, name, there)).removeprefix("unknown ") if there else f"{what} {name!r}."
    return InputError(f"missing {known} {needed_by[0].upper()}{needed_by[1:]}: define it in the feature repository.")


def _key(store: FeatureStore, name: TowerName) -> str:
    try:
        entity: Entity = store.get_entity(name)
    except FeastObjectNotFoundException as error:
        there = [e.name for e in store.list_entities() if e.value_type != ValueType.UNKNOWN]
        raise _missing("entity", name, there, "interactions join on it") from error
    return str(entity.join_key)


def _key_dtype(column: Field) -> Dtype:
    if str(column.dtype) not in _KEY_DTYPES:
        raise InputError(
            f"join key {column.name!r} has the type {column.dtype}. Allowed: {', '.join(_KEY_DTYPES)}. "
            "Change the entity's value_type."
        )
    return _KEY_DTYPES[str(column.dtype)]


def _features(store: FeatureStore, service_name: str, key: str) -> tuple[Feature, ...]:
    found = []
    on_demand = {v.name for v in store.list_on_demand_feature_views()}
    for projection in service(store, service_name).feature_view_projections:
        if projection.name in on_demand:
            raise InputError(
                f"feature service {service_name!r} names the on-demand view {projection.name!r}, which runs Python at "
                "each request. Write its values to a feature view instead."
            )
        source = view(store, projection.name, f"feature service {service_name!r} names it")
        over = {projection.join_key_map.get(c.name, c.name) for c in source.entity_columns}
        if over != {key}:
            raise InputError(
                f"feature service {service_name!r} takes features of view {projection.name!r}, which is over "
                f"{sorted(over)}; a view of this service must be over {key!r} alone."
            )
        known = {f.name: f for f in source.features}
        for f in projection.features:
            if f.name not in known:
                raise unknown(f"field of feature view {projection.name!r} in service {service_name!r}", f.name, known)
            found.append(feature(f.name, str(f.dtype), f.tags))
    return tuple(found)
