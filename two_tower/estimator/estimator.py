"""TwoTowerRecommender: two towers with the interface of scikit-learn's estimators."""

import shutil
import tempfile
import weakref
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any, Self

import pandas as pd
import pyarrow as pa

from two_tower.config import EvaluationConfig, PullConfig, TrainConfig
from two_tower.errors import InputError
from two_tower.estimator import evaluation, fitting, saving
from two_tower.estimator.fitted import Fitted, item_frame
from two_tower.estimator.frames import is_frame, require, to_arrow
from two_tower.estimator.params import COLUMNS, Params, sections
from two_tower.estimator.progress import progress_bar, quiet
from two_tower.recommender.requests import SimilarRequest

Frame = Any  # a pandas, polars or Arrow table


class NotFittedError(InputError, AttributeError):
    """The estimator has no model yet."""


class TwoTowerRecommender(Params):
    """Candidate retrieval with two towers, fitted on tables or on a Feast feature repository.

    `fit` decides the type and encoding of each column as `two-tower init` does, adds activity features (recent items,
    counts), joins features at the time of each interaction, trains both towers, and keeps what `two-tower serve`
    serves: ONNX towers, an exact index, and the features of each user. All answers come from these files.

    The interactions are split by time: the first `train_fraction` of them trains the towers, the next
    `validation_fraction` chooses the best epoch, and the rest is the test window of `metrics_`.

    Args:
        user_column: Column of the interactions with the user. Default: found by name and values.
        item_column: Column with the item. Default: likewise.
        timestamp_column: Column with the time of the interaction. Default: likewise.
        timestamp_format: How the times are written: `iso`, `s`, `ms`, `us`, `ns` (since 1970), or a format of strptime.
            Default: found from the values.
        weight_column: Column with the weight of each interaction in the loss. Default: all weigh 1.
        verbose: Show a progress bar during `fit`, on a terminal or in a notebook.
        **settings: Settings by the names that `two-tower run --set` takes, such as `dim=64`, `epochs=20`,
            `loss="bpr"`, `train_fraction=0.9`, `seed=1`. `two-tower settings` lists them.

    Attributes:
        metrics_: Metrics of the test window by model: the towers and the baselines, as in run.json.
        history_: Loss and validation recall@20 of each epoch.
        contract_: The features of each tower and their encodings.
        columns_: Data frame with what each column became, and why; None for a Feast repository.
        train_end_, validation_end_, as_of_: End of the training window and of the validation window, and the time of
            the newest interaction.
        release_: Id of the release that `save` writes.
        n_users_, n_items_: Number of users and items that can be named in requests.

    Raises:
        InputError: A parameter is unknown (the message has the nearest known one), or a value has the wrong type or is
            out of range.

    Examples:
        >>> model = TwoTowerRecommender(epochs=10).fit(interactions, users, items)  # doctest: +SKIP
        >>> model.recommend([196, 186], k=5)  # doctest: +SKIP
    """

    def __init__(
        self,
        *,
        user_column: str | None = None,
        item_column: str | None = None,
        timestamp_column: str | None = None,
        timestamp_format: str | None = None,
        weight_column: str | None = None,
        verbose: bool = True,
        **settings: Any,
    ) -> None:
        given = (user_column, item_column, timestamp_column, timestamp_format, weight_column)
        self.set_params(**dict(zip(COLUMNS, given, strict=True)), verbose=verbose, **settings)

    def fit(self, interactions: Frame | str | Path, users: Frame | None = None, items: Frame | None = None) -> Self:
        """Fit both towers.

        Args:
            interactions: Table with one row per interaction: user, item, timestamp, and further columns. Or the path of
                a Feast feature repository, which has the users and items, too.
            users: Table with one row per user. Default: the users that appear in the interactions.
            items: Table with one row per item. Default: the items that appear in the interactions.

        Returns:
            The estimator.

        Raises:
            InputError: A table cannot be used: the message names the table and the column. An earlier fit is kept.
        """
        params = self.get_params()
        configs = sections(params)
        columns = {name: params[name] for name in COLUMNS}
        folder = Path(tempfile.mkdtemp(prefix="two-tower-"))
        try:
            with progress_bar(params["verbose"], configs[TrainConfig].epochs) as bar:
                bar.step("reading the tables")
                if isinstance(interactions, str | Path):
                    repo = _repository(Path(interactions), users, items, columns)
                    title = repo.name
                else:
                    tables = _tables(interactions, users, items)
                    repo, title = fitting.make_repository(folder, tables, columns), "tables"
                fitting.fit(folder, repo, title, configs, {**columns, "verbose": params["verbose"]}, bar)
                fitted = Fitted.open(folder)
        except BaseException:
            shutil.rmtree(folder, ignore_errors=True)
            raise
        self._adopt(fitted)
        self._cleanup = weakref.finalize(self, shutil.rmtree, folder, ignore_errors=True)
        return self

    def recommend(
        self,
        users: Any,
        k: int = 10,
        filter: Mapping[str, Any] | None = None,  # noqa: A002 - the word of the service's requests
        exclude_seen: bool = True,
        now: datetime | None = None,
    ) -> pd.DataFrame:
        """Recommend items to users.

        Args:
            users: Ids of users (a list, array or series, or one id). Or a table that describes users with the columns
                of the table `users` of `fit`; it may also have features of the user tower by name, such as
                `recent_items`. A known user keeps the features that the table does not have.
            k: Number of items per user, from 1 to the number of items.
            filter: Conditions on item columns: `{"genre": ["Drama"], "price": {"max": 20}}`. Default: all items.
            exclude_seen: Leave out the items that the user has interacted with.
            now: The time of the request, which ages are counted to. Default: the present, as in the service.

        Returns:
            Data frame with the columns user, item (under the names of `fit`'s interactions), `score`, `rank` (from 1)
            and `fallback`: None where the towers ranked the items, "popular" where the user is unknown and gets the
            most popular items, scored by their popularity. A user gets fewer than `k` items only if no more are left.

        Raises:
            NotFittedError: There is no model yet.
            InputError: An id has the wrong type, `k` is out of range, a column is missing or unknown.
        """
        fitted = self._fitted()
        if is_frame(users):
            ids, rows = fitted.frame_rows(to_arrow("user table", users))
        else:
            ids = fitted.user_ids("users", users)
            rows = fitted.rows(ids)
        answers = fitted.recommend(rows, k, filter, exclude_seen, now)
        frame = item_frame(fitted.user_column, ids, fitted.item_column, [answer.items for answer in answers])
        frame["fallback"] = [answer.fallback for answer in answers for _ in answer.items]
        return frame

    def similar_items(self, items: Any, k: int = 10) -> pd.DataFrame:
        """Return the items whose embeddings are nearest to those of given items.

        Args:
            items: Ids of items (a list, array or series, or one id).
            k: Number of items per item, from 1 to the number of items.

        Returns:
            Data frame with the columns item (under the name of `fit`'s interactions), `similar_item`, `score` and
            `rank` (from 1). An item is not similar to itself.

        Raises:
            NotFittedError: There is no model yet.
            InputError: An item is unknown, or `k` is out of range.
        """
        fitted = self._fitted()
        fitted.check_k(k)
        ids = fitted.item_ids("items", items)
        lists = [fitted.recommender.ranker.nearest(SimilarRequest(item, k)).items for item in ids]
        return item_frame(fitted.item_column, ids, "similar_item", lists)

    def score(self, pairs: Frame, now: datetime | None = None) -> pd.DataFrame:
        """Score pairs of a user and an item.

        Args:
            pairs: Table with the columns user and item under the names of `fit`'s interactions.
            now: The time of the request. Default: the present.

        Returns:
            Data frame with user, item and `score`, in the order of `pairs`. The score is that of `recommend`; it is NaN
            where the user or the item is unknown.

        Raises:
            NotFittedError: There is no model yet.
            InputError: A column is missing, or an id has the wrong type.
        """
        fitted = self._fitted()
        table = to_arrow("pairs", pairs)
        user, item = fitted.user_column, fitted.item_column
        require("pairs", table, [user, item])
        users = fitted.user_ids(f"pairs[{user!r}]", table[user])
        items = fitted.item_ids_of_type(f"pairs[{item!r}]", table[item])
        return pd.DataFrame({user: users, item: items, "score": fitted.score(users, items, now)})

    def user_embeddings(self, users: Any = None, now: datetime | None = None) -> pd.DataFrame:
        """Return the embeddings of users.

        Args:
            users: Ids of users. Default: all that `fit` knew.
            now: The time of the request. Default: the present.

        Returns:
            Data frame of float32, one row per user and one column per dimension; its index holds the ids.

        Raises:
            NotFittedError: There is no model yet.
            InputError: A user is unknown, or an id has the wrong type.
        """
        fitted = self._fitted()
        ids = fitted.known_users("users", users)
        return pd.DataFrame(fitted.embed_users(ids, now), index=pd.Index(ids, name=fitted.user_column))

    def item_embeddings(self, items: Any = None) -> pd.DataFrame:
        """Return the embeddings of items, as the index holds them.

        Args:
            items: Ids of items. Default: all of the catalogue.

        Returns:
            Data frame of float32, one row per item and one column per dimension; its index holds the ids.

        Raises:
            NotFittedError: There is no model yet.
            InputError: An item is unknown, or an id has the wrong type.
        """
        fitted = self._fitted()
        ids = list(fitted.recommender.items) if items is None else fitted.item_ids("items", items)
        return pd.DataFrame(fitted.embed_items(ids), index=pd.Index(ids, name=fitted.item_column))

    def evaluate(self, interactions: Frame | str | Path) -> dict[str, dict[str, float]]:
        """Measure recall, NDCG and MRR on interactions that come after the training and validation windows of `fit`.

        Each is ranked as it would have been served: against the whole catalogue, with the user's features as of its
        time, and without the items that the user had seen by then. Interactions of `fit` before the first ranked one,
        and those given, make up the user's past. The same table as in `fit` gives `metrics_`.

        Args:
            interactions: Table with the columns of `fit`'s interactions; rows before the end of the validation window
                are not ranked. For an estimator fitted on a Feast repository: the path of the repository.

        Returns:
            Metrics by model, as in run.json: `{"two_tower": {"recall@20": …, "ndcg@20": …, …}, "popularity": …,
            "item_knn": …}`.

        Raises:
            NotFittedError: There is no model yet.
            InputError: A column is missing, or no interaction is late enough.
        """
        fitted = self._fitted()
        configs = sections(self.get_params())
        source: pa.Table | Path
        if isinstance(interactions, str | Path) or fitted.plan is None:
            source = _path_for(fitted, interactions)
        else:
            source = to_arrow("interactions", interactions)
        with quiet():
            return evaluation.evaluate(fitted, source, configs[PullConfig], configs[EvaluationConfig])

    def save(self, folder: str | Path) -> Path:
        """Write a release that `two-tower serve --releases FOLDER` serves and that `load` reads.

        The features of the users go to a SQLite online store of Feast in the same folder, so that the service knows
        them; of an estimator fitted on a Feast repository, to the online store of that repository. The folder also
        holds the tables of `fit`, which `evaluate` needs, and may be moved as a whole.

        Args:
            folder: Folder that does not exist yet, or is empty.

        Returns:
            The folder.

        Raises:
            NotFittedError: There is no model yet.
            InputError: The folder is not empty, or the online store cannot be reached.
        """
        target = Path(folder).resolve()
        with quiet():
            saving.save(self._fitted(), target)
        return target

    @classmethod
    def load(cls, folder: str | Path) -> Self:
        """Open what `save` wrote.

        Args:
            folder: Folder of a saved estimator.

        Returns:
            A fitted estimator with the parameters of the saved one.

        Raises:
            InputError: The folder is not a saved estimator, or a file is missing or changed.
        """
        fitted = Fitted.open(Path(folder).resolve())
        model = cls(**fitted.state["params"])
        model._adopt(fitted)
        return model

    def _adopt(self, fitted: Fitted) -> None:
        """Answer from a fitted folder from now on."""
        bounds = fitted.release.manifest.bounds
        self._state: Fitted | None = fitted
        self.metrics_ = fitted.release.manifest.metrics
        self.history_ = fitted.state["history"]
        self.contract_ = fitted.contract
        self.columns_ = fitted.columns()
        self.train_end_, self.validation_end_, self.as_of_ = (
            datetime.fromisoformat(bounds[name]) for name in ("train_end", "validation_end", "as_of")
        )
        self.release_ = fitted.recommender.release
        self.n_users_, self.n_items_ = fitted.users.num_rows, fitted.recommender.size

    def _fitted(self) -> Fitted:
        state: Fitted | None = getattr(self, "_state", None)
        if state is None:
            raise NotFittedError(
                "This TwoTowerRecommender is not fitted. Call fit(interactions) first, or open a saved one with "
                "TwoTowerRecommender.load(folder)."
            )
        return state

    def __getstate__(self) -> dict[str, Any]:
        if getattr(self, "_state", None) is not None:
            raise TypeError(
                "A fitted TwoTowerRecommender cannot be pickled or copied, for it holds open ONNX Runtime sessions. "
                "Use save(folder) and TwoTowerRecommender.load(folder)."
            )
        return dict(self.__dict__)


def _tables(interactions: Frame, users: Frame | None, items: Frame | None) -> dict[str, pa.Table]:
    frames = {"interactions": interactions, "users": users, "items": items}
    return {name: to_arrow(name, frame) for name, frame in frames.items() if frame is not None}


def _repository(path: Path, users: Frame | None, items: Frame | None, columns: Mapping[str, str | None]) -> Path:
    if users is not None or items is not None:
        raise InputError("users and items are for tables; a Feast repository has its own. Pass the repository alone.")
    if named := [name for name, column in columns.items() if column is not None]:
        raise InputError(f"{named[0]} is for tables; a Feast repository names its keys and times. Leave it out.")
    return path.resolve()


def _path_for(fitted: Fitted, interactions: Frame | str | Path) -> Path:
    """The repository to evaluate on. Raises InputError unless fit() was given a repository, too."""
    if isinstance(interactions, str | Path) and fitted.plan is None:
        return Path(interactions).resolve()
    expected = "a table of interactions" if fitted.plan else "the path of a Feast repository"
    raise InputError(f"evaluate() takes what fit() took: {expected}; got {type(interactions).__name__}.")
