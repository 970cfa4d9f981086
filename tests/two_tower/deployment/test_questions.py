import json
from pathlib import Path

import pyarrow.parquet as pq

from tests.two_tower.worlds import every_encoding
from two_tower.data.catalogue import VIEWS
from two_tower.deployment.questions import Questions, digests


def test_questions_keep_the_types_of_keys_and_features_in_a_file(tmp_path: Path) -> None:
    world = every_encoding()
    users = world.interactions.select(["user_id"]).slice(0, 50)
    rows = world.user.slice(0, 50)
    table = rows.append_column("user_id", users["user_id"])
    pq.write_table(table.replace_schema_metadata({VIEWS: json.dumps({"visits": "activity"})}), tmp_path / "sample")
    (tmp_path / "items.parquet").write_bytes(b"items")
    made = Questions.of_run(tmp_path / "sample", world.contract, tmp_path / "none", tmp_path)
    made.write(tmp_path / "questions", world.contract)
    read = Questions.read(tmp_path / "questions")
    assert read.users == users["user_id"].to_pylist()
    assert read.rows == rows.to_pylist()
    assert read.views == {"visits": "activity"} and read.files == digests(tmp_path) and len(read.files) == 1
    assert len(read.first(3).users) == len(read.first(3).rows) == 3


def test_questions_of_a_refresh_have_users_alone(tmp_path: Path) -> None:
    Questions(users=[3, 1]).write(tmp_path / "questions", every_encoding().contract)
    read = Questions.read(tmp_path / "questions")
    assert read == Questions(users=[3, 1])
    assert read.first(1).rows is None
