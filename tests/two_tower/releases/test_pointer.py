import pytest

from two_tower.releases import pointer
from two_tower.releases.manifest import ReleaseError
from two_tower.storage import open_storage

ONE, TWO = "20240301T120000-00000001", "20240301T120000-00000002"


def test_a_pointer_is_moved_from_the_content_that_was_read(tmp_path) -> None:
    storage = open_storage(tmp_path)
    assert pointer.read(storage) is None and pointer.text_of(None) == ""
    pointer.move(storage, ONE, None)
    assert pointer.text_of(pointer.read(storage)) == ONE
    with pytest.raises(pointer.ActivationConflictError, match=rf"{TWO} was not activated: .* to {ONE} in the meantime"):
        pointer.move(storage, TWO, None)
    pointer.move(storage, TWO, pointer.read(storage))
    assert pointer.text_of(pointer.read(storage)) == TWO


def test_a_pointer_that_cannot_be_written_is_unchanged(tmp_path) -> None:
    with pytest.raises(ReleaseError, match=rf"{ONE} could not be activated: .*The pointer is unchanged"):
        pointer.move(open_storage(tmp_path / "absent"), ONE, None)


@pytest.mark.parametrize(("text", "is_id"), [(ONE, True), ("", False), ("../x", False), (f"{ONE}/x", False)])
def test_ids_are_matched_as_a_whole(text, is_id) -> None:
    assert pointer.is_release_id(text) == is_id
