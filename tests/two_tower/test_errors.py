from two_tower.errors import InputError, unknown


def test_an_unknown_name_comes_with_the_closest_and_all_allowed_names() -> None:
    error = unknown("data set", "movielens-100", ["sample", "movielens-100k"])
    assert isinstance(error, InputError)
    assert str(error) == (
        "unknown data set 'movielens-100'. Did you mean 'movielens-100k'? Allowed: movielens-100k, sample."
    )


def test_without_a_close_name_there_is_no_suggestion() -> None:
    assert str(unknown("colour", "zzz", ["red"])) == "unknown colour 'zzz'. Allowed: red."
