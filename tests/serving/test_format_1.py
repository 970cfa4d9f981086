"""The service answers from a release of two-tower 0.1."""

from tests.serving.running import opened
from tests.two_tower import parts
from tests.two_tower.releases import format_1
from two_tower.releases.release import activate, publish


def test_it_serves_gives_way_to_a_new_release_and_is_rolled_back_to(tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("TWO_TOWER_ADMIN_TOKEN", "secret")
    releases = tmp_path / "releases"
    old = format_1.copy(releases)
    question = {"features": {"group": "a"}, "k": 3}
    with opened(releases) as client:
        answer = client.post("/v1/recommend", json=question).json()
        assert (answer["release"], answer["fallback"]) == (old, None)
        assert [item["item_id"] for item in answer["items"]] == ["i0", "i1", "i2"]
        new = publish(releases, [parts.write(tmp_path / "parts", prefix="n")], parts.manifest())
        token = {"Authorization": "Bearer secret"}
        assert client.post("/admin/activate", json={"release": new}, headers=token).json()["release"] == new
        assert client.post("/v1/recommend", json=question).json()["items"][0]["item_id"] == "n0"
        assert client.post("/admin/rollback", headers=token).json()["release"] == old
        assert client.post("/v1/recommend", json=question).json()["release"] == old
    activate(releases, old)
