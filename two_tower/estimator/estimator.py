"""TwoTowerRecommender: two towers with the interface of scikit-learn's estimators."""

import shutil
import sys
import tempfile
import weakref
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any, Self

from two_tower.config import EvaluationConfig, PullConfig, TrainConfig
from two_tower.estimator import evaluation, fitting, saving
from two_tower.estimator.answers import Answers, NotFittedError
from two_tower.estimator.fitted import Fitted
from two_tower.estimator.frames import Frame
from two_tower.estimator.params import COLUMNS, Params, sections
from two_tower.estimator.progress import Audible, progress_bar, quiet
from two_tower.training.callbacks import load_callbacks

FITTED = (  # attributes that `fit` sets
    "metrics_", "history_", "contract_", "columns_", "train_end_", "validation_end_", "as_of_", "release_", "n_users_",
    "n_items_",
)  # fmt: skip


class TwoTowerRecommender(Answers, Params):
    """Candidate retrieval with two towers, fitted on tables or on a Feast feature repository.

    `fit` decides the type and encoding of each column as `two-tower init` does, adds activity features (recent items,
    counts), joins features at the time of each interaction, trains both towers, and keeps the files that
    `two-tower serve` needs: ONNX towers, an exact index, and the features of each user. All results come from them.

    The interactions are split by time: the first `train_fraction` of them trains the towers, the next
    `validation_fraction` chooses the best epoch, and the rest is the test window of `metrics_`. Interactions without
    times are split by a random holdout of each user's interactions, which measures less, and have no activity features.

    Args:
        user_column: Column of the interactions with the user. Default: found by name and values.
        item_column: Column with the item. Default: found by name and values.
        timestamp_column: Column with the time of the interaction; `"none"` for interactions without times. Default:
            found by name and values, else none.
        timestamp_format: How the times are written: `iso`, `s`, `ms`, `us`, `ns` (since 1970), or a format of strptime.
            Default: found from the values.
        weight_column: Column with the weight of each interaction in the loss. Default: all weigh 1.
        verbose: Show a progress bar during `fit` on a terminal or in a notebook, and elsewhere a line for each step and
            epoch on standard error.
        **settings: Settings by the names that `two-tower run --set` takes, such as `dim=64`, `epochs=20`,
            `loss="bpr"`, `train_fraction=0.9`, `seed=1`. `two-tower settings` lists them.

    Attributes:
        metrics_: Metrics of the test window by model: the towers and the baselines, as in run.json.
        history_: Loss and validation recall@20 of each epoch.
        contract_: The features of each tower and their encodings.
        columns_: Data frame with the role and encoding of each column, and the reason; None for a Feast repository.
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

    _cleanup: Callable[[], object] | None = None

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
                a Feast feature repository, which also has the users and items.
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
        streams = sys.stdout, sys.stderr
        callbacks = [Audible(callback, streams) for callback in load_callbacks(configs[TrainConfig].callbacks)]
        folder = Path(tempfile.mkdtemp(prefix="two-tower-"))
        try:
            with progress_bar(params["verbose"], configs[TrainConfig].epochs) as bar:
                bar.step("reading the tables")
                if isinstance(interactions, str | Path):
                    repo = fitting.given_repository(Path(interactions), users, items, columns)
                    title = repo.name
                else:
                    tables = fitting.given_tables(interactions, users, items)
                    repo, title = fitting.make_repository(folder, tables, columns), "tables"
                fitting.fit(folder, repo, title, configs, {**columns, "verbose": params["verbose"]}, bar, callbacks)
                fitted = Fitted.open(folder)
        except BaseException:
            shutil.rmtree(folder, ignore_errors=True)
            raise
        self._adopt(fitted)
        if self._cleanup:
            self._cleanup()  # the folder of the previous fit
        self._cleanup = weakref.finalize(self, shutil.rmtree, folder, ignore_errors=True)
        return self

    def evaluate(self, interactions: Frame | str | Path) -> dict[str, dict[str, float]]:
        """Measure recall, NDCG and MRR on interactions that come after the training and validation windows of `fit`.

        Each interaction is ranked as in serving: against the whole catalogue, with the user's features as of its time,
        and without the items that the user had seen by then. The user's history consists of the interactions of `fit`
        before the first ranked one, and of `interactions`. The same table as in `fit` gives `metrics_`.

        Args:
            interactions: Table with the columns of `fit`'s interactions; rows before the end of the validation window
                are not ranked. Without times, the pairs that `fit` did not have are ranked. For an estimator fitted on
                a Feast repository: the path of the repository.

        Returns:
            Metrics by model, as in run.json: `{"two_tower": {"recall@20": …, "ndcg@20": …, …}, "popularity": …,
            "item_knn": …, "cooccurrence": …, "ease": …}`.

        Raises:
            NotFittedError: There is no model yet.
            InputError: A column is missing, or no interaction is late enough.
        """
        fitted = self._fitted()
        configs = sections(self.get_params())
        with quiet():
            return evaluation.evaluate(fitted, interactions, configs[PullConfig], configs[EvaluationConfig])

    def save(self, folder: str | Path) -> Path:
        """Write a release that `two-tower serve --releases FOLDER` serves and that `load` reads.

        The features of the users go to a SQLite online store of Feast in the same folder, so that the service can
        read them. If the estimator was fitted on a Feast repository, they go to the online store of that repository.
        The folder also contains the tables of `fit`, which `evaluate` needs. You can move the folder as a whole.

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
        """Load an estimator from a folder that `save` wrote.

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
        """Use a fitted folder for all following calls."""
        bounds = fitted.release.manifest.bounds
        self._state = fitted
        self.metrics_ = fitted.release.manifest.metrics
        self.history_ = fitted.state["history"]
        self.contract_ = fitted.contract
        self.columns_ = fitted.columns()
        self.train_end_, self.validation_end_, self.as_of_ = (
            datetime.fromisoformat(bounds[name]) for name in ("train_end", "validation_end", "as_of")
        )
        self.release_ = fitted.recommender.release
        self.n_users_, self.n_items_ = fitted.users.num_rows, fitted.recommender.size

    def __getattr__(self, name: str) -> Any:
        if name in FITTED:
            raise NotFittedError(
                f"TwoTowerRecommender is not fitted, so it has no {name}. Call fit(interactions) first."
            )
        raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")

    def __getstate__(self) -> dict[str, Any]:
        if self._state is not None:
            raise TypeError(
                "A fitted TwoTowerRecommender cannot be pickled or copied, because it has open ONNX Runtime sessions. "
                "Use save(folder) and TwoTowerRecommender.load(folder)."
            )
        return dict(self.__dict__)
