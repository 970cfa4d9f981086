import pyarrow as pa
import pytest

from two_tower.starter.cautions import is_summary_name, personal_data


def texts(*values: str | None) -> pa.ChunkedArray:
    return pa.chunked_array([pa.array(values)])


@pytest.mark.parametrize(
    "name", ["first_name", "lastName", "Full Name", "name", "email", "e-mail", "Phone Number", "IP"]
)
def test_personal_data_by_name(name: str) -> None:
    assert "by its name" in (personal_data(texts("x", "y"), name, "user") or "")
    assert personal_data(texts("x", "y"), name, "item") is None


@pytest.mark.parametrize("name", ["city", "newsletter", "gender", "product_name", "brand", "zip_code", "device_type"])
def test_other_names_are_not_personal(name: str) -> None:
    assert personal_data(texts("x", "y"), name, "user") is None


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        (("ann@example.org", "b.c@d.co", None), "e-mail addresses"),
        (("+49 30 123456", "(030) 123-4567"), "phone numbers"),
        (("10.0.0.1", "192.168.1.20"), "IP addresses"),
    ],
)
def test_personal_data_by_values(values: tuple[str | None, ...], kind: str) -> None:
    for who in ("user", "item", "event"):
        assert kind in (personal_data(texts(*values), "contact_2", who) or "")
    assert personal_data(texts("2024-01-31", "1.2.3", "12-34"), "x", "user") is None


@pytest.mark.parametrize(
    "name", ["total_purchases", "avgRating", "n_reviews", "last_login", "Lifetime Value", "churned"]
)
def test_names_of_summaries(name: str) -> None:
    assert is_summary_name(name)


@pytest.mark.parametrize("name", ["age", "price", "num_pages", "release_date", "n_bedrooms", "clickbait", "ratio"])
def test_names_of_properties(name: str) -> None:
    assert not is_summary_name(name)
