from pathlib import Path

from tests.two_tower import parts
from two_tower.recommender.catalogue import Catalogue
from two_tower.recommender.titles import title, title_column, titles
from two_tower.schema import Contract, Dtype, feature


def contract(*fields: tuple[str, str]) -> Contract:
    key = Dtype.STRING
    names = {"user_key": "user_id", "user_key_dtype": key, "item_key": "item_id", "item_key_dtype": key}
    return Contract(**names, user=(feature("age", "Int64", {}),), item=tuple(feature(*one, {}) for one in fields))


def test_a_title_is_a_text_or_the_words_of_one() -> None:
    assert title_column(contract(("name", "String"), ("title_words", "Array(String)"))) == "title_words"
    assert title_column(contract(("price", "Float32"), ("name", "String"))) == "name"
    assert title_column(contract(("price", "Float32"), ("title", "Int64"))) is None
    assert title_column(contract(("Description_words", "Array(String)"))) == "Description_words"
    assert (
        title_column(contract(("brand_name", "String"), ("Product_Name_words", "Array(String)")))
        == "Product_Name_words"
    )
    assert title_column(contract(("brand_name", "String"))) is None
    assert title({"title_words": ["wedding", None, "singer", "the"]}, "title_words") == "The Wedding Singer"
    assert title({"name": "Lamp"}, "name") == "Lamp" and title({"name": None}, "name") is None


def test_items_without_a_title_have_none(tmp_path: Path) -> None:
    catalogue = Catalogue(parts.write(tmp_path), parts.CONTRACT)
    assert titles(catalogue, parts.CONTRACT, ["i1", "unknown"]) == [None, None]
    named = contract(("colour", "String"))
    assert title_column(named) is None
