"""Read the configuration and the definitions of a Feast feature repository, and name the mistakes in them."""

import contextlib
import importlib
import sys
import traceback
from collections.abc import Iterator
from pathlib import Path

from feast.repo_config import RepoConfig
from feast.repo_contents import RepoContents
from feast.repo_operations import get_repo_files, parse_repo, py_path_to_module

from two_tower.data.online_config import CONFIG_FILE as CONFIG_FILE
from two_tower.data.online_config import check_variables, read
from two_tower.data.stores import is_of_client, reason
from two_tower.data.yaml_variables import load_expanded
from two_tower.errors import InputError
from two_tower.schema import ITEM_SERVICE, SEEN_SERVICE, USER_SERVICE


def load_config(repo: Path) -> RepoConfig:
    """Read and check the feature_store.yaml of a repository.

    Args:
        repo: The folder of the Feast feature repository.

    Returns:
        The configuration, with the configurations of the registry, the online and the offline store.

    Raises:
        InputError: If the file does not exist, is not valid, uses an environment variable that is not set, or the
            package of a store is not installed.
    """
    path = repo / CONFIG_FILE
    if not path.is_file():
        raise InputError(f"{repo} does not contain a {CONFIG_FILE}. Pass the folder of a Feast feature repository.")
    try:
        check_variables(read(path), path)
        config = RepoConfig(**load_expanded(path.read_text()))
        config.repo_path = repo
        _ = config.registry, config.online_store, config.offline_store  # Feast reads these sections at their first use
    except InputError:
        raise
    except Exception as error:  # Feast raises errors of many types, and imports the package of each store
        raise InputError(f"{path}: {reason(error)} Correct this file, or install the package of the store.") from error
    return config


def parse(repo: Path) -> RepoContents:
    """Import the modules of a repository and collect their Feast objects.

    Args:
        repo: The absolute path of the folder of the Feast feature repository.

    Returns:
        The objects.

    Raises:
        InputError: If a module cannot be imported; the message names the file and line.
    """
    with contextlib.chdir(repo), own_modules(repo), mistakes_named(repo):
        return parse_repo(repo)


def check_contents(contents: RepoContents) -> None:
    """Check definitions that Feast accepts at first, and that fail or mislead later.

    Args:
        contents: The objects of the repository.

    Raises:
        InputError: If a tag is not a text, or a view of our services has a transformation.
    """
    _check_tags(contents)
    _refuse_transformations(contents)


def _check_tags(contents: RepoContents) -> None:
    """Raise InputError for a tag that is not a text. Feast's own check reads only the first tag of each field."""
    views = (*contents.feature_views, *contents.stream_feature_views)
    fields = [(f"field {f.name!r} of feature view {v.name!r}", f) for v in views for f in v.features]
    objects = [(f"{o.name!r}", o) for o in (*contents.entities, *views, *contents.feature_services)]
    for name, tagged in (*fields, *objects):
        for tag, value in (tagged.tags or {}).items():
            if not isinstance(value, str):
                raise InputError(f"tag {tag!r} of {name} is {value!r}; a tag is a text. Write {str(value)!r}.")


def _refuse_transformations(contents: RepoContents) -> None:
    """Raise InputError if Feast would materialise other values of a view than training reads from its source."""
    services = [s for s in contents.feature_services if s.name in (USER_SERVICE, ITEM_SERVICE, SEEN_SERVICE)]
    used = {projection.name for s in services for projection in s.feature_view_projections}
    for source in (*contents.feature_views, *contents.stream_feature_views):
        transformed = getattr(source, "feature_transformation", None) or getattr(source, "aggregations", None)
        if source.name in used and transformed:
            raise InputError(
                f"feature view {source.name!r} has a transformation or aggregations, which Feast runs when it "
                "materialises the view and not when it reads training data. Write the transformed values to a table, "
                "and read it with a FeatureView with online=True."
            )


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


@contextlib.contextmanager
def mistakes_named(repo: Path) -> Iterator[None]:
    """Convert any error of the definitions, or of Feast while it applies them, to an `InputError`.

    Errors of the clients of stores pass unchanged: see `stores.as_input_error`.

    Args:
        repo: The folder of the Feast feature repository.

    Raises:
        InputError: The message names the file and the line of the definitions, if the error has one.
    """
    try:
        yield
    except InputError:
        raise
    except Exception as error:  # the definitions are Python code of the user
        place = _place(error, repo)
        if is_of_client(error) and not place:
            raise
        at = f", {place}" if place else ""
        raise InputError(
            f"feature repository {repo.name}{at}: {reason(error)} Correct the definitions, or {CONFIG_FILE}."
        ) from error


def _place(error: BaseException, repo: Path) -> str:
    """Return the file and line of the definitions where an error was raised; "" if it was not raised there."""
    if isinstance(error, SyntaxError) and error.filename and Path(error.filename).is_relative_to(repo):
        return f"{Path(error.filename).relative_to(repo)} line {error.lineno}"
    frames = [f for f in traceback.extract_tb(error.__traceback__) if Path(f.filename).is_relative_to(repo)]
    return f"{Path(frames[-1].filename).relative_to(repo)} line {frames[-1].lineno}" if frames else ""
