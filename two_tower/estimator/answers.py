"""Recommendations, scores and embeddings of a fitted estimator, as data frames."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

import pandas as pd

from two_tower.errors import InputError
from two_tower.estimator.fitted import Fitted, item_frame
from two_tower.estimator.frames import Frame, is_frame, require, to_arrow
from two_tower.recommender.requests import SimilarRequest


class NotFittedError(InputError, AttributeError):
    """The estimator has no model yet."""


class Answers:
    """Requests to a fitted folder."""

    _state: Fitted | None = None

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
            now: The time of the request; age features are measured up to it. Default: the present, as in the service.

        Returns:
            Data frame with the columns user, item (under the names of `fit`'s interactions), `score`, `rank` (from 1)
            and `fallback`: None if the towers ranked the items, "popular" if the user is unknown and gets the most
            popular items, scored by their popularity. A user gets fewer than `k` items only if no more are left.

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
            if the user or the item is unknown.

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
            users: Ids of users. Default: all users of `fit`.
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
        """Return the embeddings of items, as in the index.

        Args:
            items: Ids of items. Default: all items of the catalogue.

        Returns:
            Data frame of float32, one row per item and one column per dimension; its index holds the ids.

        Raises:
            NotFittedError: There is no model yet.
            InputError: An item is unknown, or an id has the wrong type.
        """
        fitted = self._fitted()
        ids = list(fitted.recommender.items) if items is None else fitted.item_ids("items", items)
        return pd.DataFrame(fitted.embed_items(ids), index=pd.Index(ids, name=fitted.item_column))

    def _fitted(self) -> Fitted:
        if self._state is None:
            raise NotFittedError(
                "This TwoTowerRecommender is not fitted. Call fit(interactions) first, or open a saved one with "
                "TwoTowerRecommender.load(folder)."
            )
        return self._state
