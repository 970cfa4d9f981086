from two_tower.report.changes import changes
from two_tower.schema import Contract, Dtype, feature


def manifest(recall: float, as_of: str, user: dict[str, str], **settings: object) -> dict:
    contract = Contract(
        user_key="u",
        user_key_dtype=Dtype.INT64,
        item_key="i",
        item_key_dtype=Dtype.INT64,
        user=tuple(feature(name, dtype, {}) for name, dtype in user.items()),
        item=(feature("price", "Float32", {}),),
        seen=None,
    )
    return {
        "contract": contract.to_dict(),
        "metrics": {"two_tower": {"recall@20": recall}},
        "bounds": {"as_of": as_of},
        "settings": settings,
    }


def test_figures_features_and_settings_that_differ_are_listed():
    old = manifest(0.25, "2026-01-01T10:00:00+00:00", {"age": "Int64", "city": "String"}, dim=64, epochs=5)
    new = manifest(0.5, "2026-01-02T10:00:00+00:00", {"age": "Float32", "plan": "String"}, dim=128, epochs=5)
    rows = {name: (before, now) for name, before, now in changes(new, old)}
    assert rows["data up to"] == ("2026-01-01 10:00", "2026-01-02 10:00")
    assert rows["recall@20"] == ("0.2500", "0.5000")
    assert rows["user feature city"][1] == "–"
    assert rows["user feature plan"][0] == "–"
    assert "Int64" in rows["user feature age"][0] and "Float32" in rows["user feature age"][1]
    assert rows["dim"] == ("64", "128")
    assert "split" not in rows and "epochs" not in rows and "item feature price" not in rows


def test_another_split_is_listed():
    old = manifest(0.25, "2026-01-01T10:00:00+00:00", {"age": "Int64"})
    new = manifest(0.5, "2026-01-02T10:00:00+00:00", {"age": "Int64"})
    new["bounds"]["split"] = "per_user"
    assert ("split", "time", "per_user") in changes(new, old)
