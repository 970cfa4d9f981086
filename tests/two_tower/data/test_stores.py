import botocore.exceptions
import feast
import pytest
import redis
import sqlalchemy

from two_tower.data.stores import as_input_error
from two_tower.errors import InputError


def test_a_refused_connection_names_the_failure_and_the_next_step() -> None:
    with (
        pytest.raises(InputError, match=r"cannot read shop: the store cannot be reached \(.*\). Start it."),
        as_input_error("cannot read shop", "Start it."),
    ):
        redis.Redis(port=1).ping()


def test_an_unexpected_table_means_another_version_of_feast() -> None:
    with (
        pytest.raises(InputError, match=r"cannot read shop: another version of Feast than"),
        as_input_error("cannot read shop", "Start it."),
    ):
        raise sqlalchemy.exc.ProgrammingError("select x", {}, Exception("no column x"))


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (botocore.exceptions.NoCredentialsError(), "NoCredentialsError: .* Check the address and the credentials"),
        (
            redis.AuthenticationError("WRONGPASS"),
            "AuthenticationError: WRONGPASS. Check the address and the credentials",
        ),
        (ModuleNotFoundError("No module named 'deltalake'"), "'deltalake'. Install the package"),
        (feast.errors.FeastExtrasDependencyImportError("redis", "x"), "FeastExtrasDependencyImportError: .* Start it"),
    ],
)
def test_a_refused_access_and_a_missing_package_are_named(error, message) -> None:
    with pytest.raises(InputError, match=message), as_input_error("cannot read shop", "Start it."):
        raise error


@pytest.mark.parametrize("error", [ConnectionError("refused"), redis.ResponseError("bad command")])
def test_other_errors_pass_unchanged(error) -> None:
    with pytest.raises(type(error)) as caught, as_input_error("cannot read shop", "Start it."):
        raise error
    assert caught.value is error
