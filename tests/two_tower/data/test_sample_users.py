import json
from pathlib import Path

import pyarrow.compute as pc

from tests.two_tower import shop
from tests.two_tower.data.pulling import CONFIG
from two_tower.data import features
from two_tower.data.catalogue import VIEWS
from two_tower.data.sample_users import pull_sample
from two_tower.data.users import pull_users


def test_the_newest_users_and_spaced_ones_have_the_features_of_the_offline_store(tmp_path: Path) -> None:
    repo, folder = shop.write(tmp_path / "repo"), tmp_path / "pulled"
    pulled = features.pull(repo, CONFIG, None, folder)
    as_of = pulled.bounds.as_of
    table = pull_sample(repo, folder, as_of, size=4)
    users, events = table["customer"].to_pylist(), pulled.interactions["customer"].to_pylist()
    assert len(users) == len(set(users)) == 4
    assert users[0] == events[-1]
    assert {events[0], list(dict.fromkeys(reversed(events)))[1]} <= set(users)
    everyone = pull_users(repo, as_of)
    for user, row in zip(users, table.to_pylist(), strict=True):
        (expected,) = everyone.filter(pc.equal(everyone["customer"], user)).to_pylist()
        assert row == expected
    views = json.loads(table.schema.metadata[VIEWS])
    assert (views["age"], views["orders"], views["bought"]) == ("customers", "activity", "seen")
    assert set(pull_sample(repo, folder, as_of)["customer"].to_pylist()) == set(events)
