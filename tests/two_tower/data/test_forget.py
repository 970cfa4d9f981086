from pathlib import Path

import pytest

from tests import servers
from tests.two_tower import shop
from two_tower.data import features
from two_tower.data.forget import forget_user
from two_tower.data.repository import contract, open_store
from two_tower.errors import InputError

AS_OF = shop.at(shop.EVENTS - 1)


@pytest.fixture(params=["sqlite", "redis"])
def repo(request, tmp_path: Path):
    """The shop, materialised into SQLite and into Redis."""
    if request.param == "sqlite":
        repo = shop.write(tmp_path / "repo")
        features.materialize(repo, AS_OF)
        yield repo
        return
    with servers.running_redis(tmp_path / "redis") as server:
        redis = f'online_store: {{type: redis, connection_string: "{servers.HOST}:{server.port}"}}'
        config = shop.CONFIG.replace("online_store: {type: sqlite, path: data/online.db}", redis)
        repo = shop.write(tmp_path / "repo", config=config)
        features.materialize(repo, AS_OF)
        yield repo


def test_a_forgotten_user_is_unknown_and_the_others_are_not(repo) -> None:
    store = open_store(repo)
    schema = contract(store)
    before = features.online_rows(store, schema, [4, 5, 6])
    assert all(before)
    held = forget_user(repo, "5")
    assert held and all(held.values()), held
    assert features.online_rows(open_store(repo), schema, [4, 5, 6]) == [before[0], None, before[2]]
    assert not any(forget_user(repo, "5").values()), "nothing is left"
    assert not any(forget_user(repo, "12345").values())
    features.materialize(repo, AS_OF)
    assert features.online_rows(open_store(repo), schema, [5]) == [before[1]], "the tables still have the user"


def test_an_id_of_another_type_is_refused(tmp_path) -> None:
    repo = shop.write(tmp_path / "repo")
    features.materialize(repo, AS_OF)
    with pytest.raises(InputError, match="'five' is not a whole number"):
        forget_user(repo, "five")
