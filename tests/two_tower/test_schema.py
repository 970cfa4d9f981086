import pytest

from two_tower.errors import InputError
from two_tower.schema import (
    ENCODINGS,
    Contract,
    Dtype,
    Encoding,
    Feature,
    feature,
    needs_event_time,
)


def test_every_dtype_has_a_default_encoding() -> None:
    assert set(ENCODINGS) == set(Dtype)
    defaults = {dtype: feature("f", dtype, {}).encoding for dtype in Dtype}
    assert defaults == {
        Dtype.STRING: "categorical",
        Dtype.INT64: "numeric",
        Dtype.FLOAT32: "numeric",
        Dtype.FLOAT64: "numeric",
        Dtype.BOOL: "categorical",
        Dtype.TIMESTAMP: "age",
        Dtype.STRINGS: "bag",
        Dtype.INTS: "bag",
        Dtype.FLOATS: "vector",
    }


def test_tags_change_the_encoding_and_other_tags_are_nobodys_business() -> None:
    made = feature("zip", "String", {"encoding": "hashed", "buckets": "100", "dim": "8", "owner": "search"})
    assert made == Feature(name="zip", dtype=Dtype.STRING, encoding=Encoding.HASHED, buckets=100, dim=8)


@pytest.mark.parametrize(
    ("dtype", "tags", "said"),
    [
        ("Map", {}, "dtype Map"),
        ("String", {"encoding": "numeric"}, "Allowed: categorical, hashed"),
        ("Int64", {"encoding": "catgorical"}, "Did you mean 'categorical'"),
        ("Array(String)", {"max_length": "0"}, "max_length='0'"),
        ("Array(String)", {"max_length": "ten"}, "max_length='ten'"),
    ],
)
def test_a_wrong_field_is_named(dtype: str, tags: dict[str, str], said: str) -> None:
    with pytest.raises(InputError, match="'colour'") as caught:
        feature("colour", dtype, tags)
    assert said in str(caught.value)


def contract(user: tuple[Feature, ...], item: tuple[Feature, ...]) -> Contract:
    return Contract(
        user_key="u", user_key_dtype=Dtype.STRING, item_key="i", item_key_dtype=Dtype.INT64, user=user, item=item
    )


def test_a_contract_survives_json() -> None:
    made = contract((feature("a", "Float32", {}),), (feature("b", "Array(String)", {"encoding": "history"}),))
    assert Contract.from_json(made.to_json()) == made
    assert made.tower("item")[0].name == "b"


@pytest.mark.parametrize("names", [[], ["a", "a"], ["event_time"]])
def test_a_tower_needs_distinct_features(names: list[str]) -> None:
    with pytest.raises(InputError, match="item_tower"):
        contract((feature("a", "Float32", {}),), tuple(feature(n, "Float32", {}) for n in names))


def test_only_ages_need_the_event_time() -> None:
    assert needs_event_time((feature("t", "UnixTimestamp", {}),))
    assert not needs_event_time((feature("t", "UnixTimestamp", {"encoding": "cyclic"}),))
