"""Apply the definitions of a Feast feature repository, and read the feature contract from them."""

import contextlib
import io
from pathlib import Path
from typing import cast, get_args

from feast import Entity, FeatureService, FeatureStore, FeatureView, Field, OnDemandFeatureView, ValueType
from feast.errors import FeastObjectNotFoundException
from feast.feature_view_projection import FeatureViewProjection
from feast.repo_contents import RepoContents
from feast.repo_operations import apply_total, parse_repo

from two_tower.data import stores
from two_tower.data.definitions import CONFIG_FILE, check_contents, load_config, mistakes_named, own_modules
from two_tower.data.online_config import is_file_in
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
        InputError: If the folder does not contain a feature_store.yaml, this file or the definitions are not valid, a
            source file is missing, Feast cannot infer the features of a view, the registry cannot be reached, or a
            registry outside the folder has views or services that the definitions do not contain.
    """
    repo = repo.resolve()
    config = load_config(repo)
    output = io.StringIO()
    unreachable = stores.as_input_error(
        f"cannot apply feature repository {repo.name}", f"Check registry in its {CONFIG_FILE}."
    )
    with contextlib.chdir(repo), own_modules(repo), contextlib.redirect_stdout(output):
        try:
            with unreachable, mistakes_named(repo):
                contents = parse_repo(repo)
                check_contents(contents)
                if not is_file_in(str(config.registry.path), repo):
                    _refuse_deletions(FeatureStore(config=config), contents)
                apply_total(config, repo, skip_source_validation=False)
        except SystemExit as error:  # Feast exits if the repository has several projects, or one with another name
            raise InputError(f"feature repository {repo.name}: {output.getvalue().strip()}") from error
    return open_store(repo)


def _refuse_deletions(store: FeatureStore, contents: RepoContents) -> None:
    """Raise InputError if applying the definitions would delete objects from a registry that others may use."""
    views = (contents.feature_views, contents.on_demand_feature_views, contents.stream_feature_views)
    own = {defined.name for objects in (*views, contents.label_views, contents.feature_services) for defined in objects}
    known = {v.name for v in store.list_all_feature_views()} | set(_services(store))
    if others := sorted(known - own):
        raise InputError(
            f"applying this repository would delete {', '.join(others)} from the registry of project "
            f"{store.project!r}, because its definitions do not contain them. If another repository defines them, give "
            f"this repository another project in {CONFIG_FILE}. If they are obsolete, run `feast apply`."
        )


def open_store(repo: Path, asof: bool = False) -> FeatureStore:
    """Open the feature store of a repository after `apply`.

    Args:
        repo: The folder of the Feast feature repository.
        asof: Use the point-in-time join of `two_tower.data.asof_store` if the offline store reads files. A warehouse
            always runs its own join.

    Returns:
        The feature store.

    Raises:
        InputError: If the feature_store.yaml is not valid.
    """
    config = load_config(repo)
    if asof and config.offline_store.type in _FILE_STORES:
        config = config.model_copy()
        config.offline_config = {"type": "two_tower.data.asof_store.AsOfOfflineStore"}
        config._offline_store = None  # cache of the parsed configuration
    return FeatureStore(repo_path=str(repo), config=config)


def contract(store: FeatureStore) -> Contract:
    """Read the feature contract from the feature services of a store.

    Args:
        store: The feature store.

    Returns:
        The contract: join keys and features of both towers.

    Raises:
        InputError: If a feature service, an entity or the view `interactions` is missing, a service uses a view that
            does not exist, has another entity, is computed on demand or (other than an item view) is not online, or
            towers do not accept the dtype of a feature.
    """
    names = {name: _key(store, name) for name in _ENTITIES}
    interactions = view(store, INTERACTIONS_VIEW, f"the contract needs a feature view {INTERACTIONS_VIEW!r}")
    columns = {column.name: column for column in interactions.entity_columns}
    if set(columns) != set(names.values()) or names["user"] == names["item"]:
        raise InputError(
            f"feature view {INTERACTIONS_VIEW!r} has the join keys {sorted(columns)}; its entities must be user and "
            f"item, with two different join keys ({', '.join(names.values())})."
        )
    keys = {name: columns[names[name]] for name in _ENTITIES}
    seen = _features(store, SEEN_SERVICE, keys["user"]) if SEEN_SERVICE in _services(store) else ()
    if seen and (len(seen) != 1 or seen[0].dtype not in (Dtype.STRINGS, Dtype.INTS)):
        raise InputError(
            f"feature service {SEEN_SERVICE!r} must have one feature, of type Array(String) or Array(Int64); it has "
            f"{', '.join(f'{f.name} ({f.dtype})' for f in seen)}."
        )
    user = _features(store, USER_SERVICE, keys["user"])
    if seen and seen[0].name in {f.name for f in user} and _views_of(store, seen[0].name) > 1:
        raise InputError(
            f"the feature services {USER_SERVICE!r} and {SEEN_SERVICE!r} have features with the name {seen[0].name!r} "
            "from different views. Rename one of the fields."
        )
    return Contract(
        user_key=names["user"],
        user_key_dtype=_key_dtype(keys["user"]),
        item_key=names["item"],
        item_key_dtype=_key_dtype(keys["item"]),
        user=user,
        item=_features(store, ITEM_SERVICE, keys["item"]),
        seen=seen[0] if seen else None,
    )


def view(store: FeatureStore, name: str, needed_by: str) -> FeatureView:
    """Return a feature view of any kind that has a batch source, by its name.

    Args:
        store: The feature store.
        name: The name of the view.
        needed_by: A clause that says why the view is needed, for the error message.

    Returns:
        The FeatureView, BatchFeatureView or StreamFeatureView.

    Raises:
        InputError: If the view is not in the registry, or is an on-demand feature view or a label view.
    """
    try:
        source = store.registry.get_any_feature_view(name, store.project)
    except FeastObjectNotFoundException as error:
        raise _missing("feature view", name, [v.name for v in store.list_all_feature_views()], needed_by) from error
    if not isinstance(source, FeatureView):
        kind = "on-demand feature view" if isinstance(source, OnDemandFeatureView) else type(source).__name__
        raise InputError(
            f"feature view {name!r} is of the kind {kind}, and {needed_by}. Training and serving read only stored "
            "values. Write its values to a feature view."
        )
    return source


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


def check_online(source: FeatureView, use: str) -> None:
    """Check that the service can read a feature view.

    Args:
        source: The feature view.
        use: A clause that names the view and the service that uses it, for the error message.

    Raises:
        InputError: If the view is not in the online store.
    """
    if not (source.online and source.enabled):
        raise InputError(
            f"{use}, which is not in the online store: the service would find no values of its features. Set "
            "online=True and enabled=True in the view (BatchFeatureView has online=False by default)."
        )


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


def _views_of(store: FeatureStore, name: str) -> int:
    """Count the views from which the services for users take a feature of this name."""
    projections = [p for s in (USER_SERVICE, SEEN_SERVICE) for p in service(store, s).feature_view_projections]
    return len({p.name for p in projections if name in {f.name for f in p.features}})


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


def _features(store: FeatureStore, service_name: str, key: Field) -> tuple[Feature, ...]:
    features = []
    for projection in service(store, service_name).feature_view_projections:
        source = view(store, projection.name, f"feature service {service_name!r} uses it")
        _check_view(source, projection, service_name, key)
        known = {f.name: f for f in source.features}
        for f in projection.features:
            if f.name not in known:
                raise unknown(f"field of feature view {projection.name!r} in service {service_name!r}", f.name, known)
            features.append(feature(f.name, str(f.dtype), f.tags))
    return tuple(features)


def _check_view(source: FeatureView, projection: FeatureViewProjection, service_name: str, key: Field) -> None:
    use = f"feature service {service_name!r} uses feature view {source.name!r}"
    if projection.version_tag is not None:
        raise InputError(f"{use} in version {projection.version_tag}. Use the current version, without @v.")
    columns = {projection.join_key_map.get(c.name, c.name): c for c in source.entity_columns}
    if set(columns) != {key.name}:
        raise InputError(
            f"{use}, which has the join keys {sorted(columns)}; the only join key of a view in this service must be "
            f"{key.name!r}. Rename it with join_key_map, or remove the view from the service."
        )
    if _key_dtype(columns[key.name]) != _key_dtype(key):
        raise InputError(
            f"{use}, whose join key {columns[key.name].name!r} has the type {columns[key.name].dtype}; in "
            f"{INTERACTIONS_VIEW!r} it is {key.dtype}. Use one type."
        )
    stamps = {source.batch_source.timestamp_field, source.batch_source.created_timestamp_column}
    if both := sorted(stamps & {f.name for f in projection.features}):
        raise InputError(
            f"{use}, whose field {both[0]!r} is also a timestamp column of the source: Feast cannot materialise it. "
            "Copy the column under another name, and use the copy as the field."
        )
    if service_name != ITEM_SERVICE:
        check_online(source, use)
