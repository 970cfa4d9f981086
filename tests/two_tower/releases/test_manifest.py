import json
from contextlib import suppress
from datetime import UTC, datetime

import pytest

from tests.two_tower import parts
from tests.two_tower.releases import format_1
from two_tower.releases.manifest import FORMAT, REQUIRED, File, Manifest, ReleaseError, digest, id_of

FILES = dict.fromkeys(REQUIRED, "0" * 64)


@pytest.fixture
def sealed() -> Manifest:
    return parts.manifest().seal(FILES)


def changed(manifest: Manifest, **fields: object) -> bytes:
    """The manifest with other fields, under the id and the hash that belong to them."""
    body = {name: value for name, value in {**json.loads(manifest.to_json()), **fields}.items() if value is not ...}
    with suppress(KeyError, TypeError, ValueError, AttributeError):  # fields that give no id
        body |= {"id": id_of(body), "sha256": digest(body)} if "id" in body else {}
    return json.dumps(body).encode()


def test_sealing_sets_format_id_time_and_files(sealed: Manifest) -> None:
    assert (sealed.format, sealed.files) == (FORMAT, FILES)
    assert sealed.id == id_of(json.loads(sealed.to_json())) and sealed.id.startswith("20240301T120000-")
    assert abs((datetime.now(UTC) - datetime.fromisoformat(sealed.created)).total_seconds()) < 60
    assert sealed.seal(FILES).id == sealed.id, "the time of publication is not part of the id"
    assert sealed.seal({**FILES, File.ITEMS: "1" * 64}).id != sealed.id
    assert sealed.seal({**FILES, File.ANN_COMPARISON: "1" * 64}).id == sealed.id, "as in releases of earlier formats"
    assert sealed.seal(FILES, ann_comparison={"seconds": 2}).id == sealed.id, "its measured times differ each run"
    assert sealed.seal(FILES, dict.fromkeys(FILES, 1)).id != sealed.id
    assert len(sealed.sha256) == 64 and sealed.id.endswith(f"-{sealed.sha256[:8]}")


def test_what_is_written_is_read_again(sealed: Manifest) -> None:
    read = Manifest.from_json(sealed.to_json().encode(), sealed.id)
    assert read == sealed and read.contract == parts.CONTRACT
    assert Manifest.from_json(sealed.to_json().encode()) == sealed, "by the id in it"


def test_properties_read_bounds_and_metrics(sealed: Manifest) -> None:
    assert sealed.as_of == datetime(2024, 3, 1, 12, tzinfo=UTC)
    assert sealed.train_end is None and sealed.recall == 0.5
    bounds = {**parts.BOUNDS, "train_end": "2024-02-01T01:00:00+01:00"}
    assert parts.manifest(bounds=bounds).train_end == datetime(2024, 2, 1, tzinfo=UTC)
    assert parts.manifest(metrics={"popularity": {"recall@20": 0.1}}).recall is None


@pytest.mark.parametrize("name", sorted(Manifest.model_fields.keys() - {"format", "sizes", "ann_comparison", "sha256"}))
def test_a_missing_field_is_named(sealed: Manifest, name: str) -> None:
    with pytest.raises(ReleaseError, match=rf"release .*manifest\.json lacks the field '{name}'"):
        Manifest.from_json(changed(sealed, **{name: ...}), sealed.id)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"dataset": 7}, r"the field 'dataset' has the value 7: .*string"),
        ({"metrics": []}, r"the field 'metrics' has the value \[\]: .*dictionary"),
        ({"metrics": {"two_tower": {"recall@20": "0.5"}}}, r"the field 'metrics\.two_tower\.recall@20' has .*number"),
        ({"metrics": {"two_tower": None}}, r"the field 'metrics\.two_tower' has the value None"),
        ({"versions": {"torch": 2}}, r"the field 'versions\.torch' has the value 2"),
        ({"gates": {"data": "passed"}}, r"the field 'gates\.data' has the value 'passed'"),
        ({"settings": "none"}, r"the field 'settings' has the value 'none'"),
        ({"files": {**FILES, File.ITEMS: None}}, r"the field 'files\.items\.parquet' has the value None"),
        ({"files": {File.INDEX: "0"}}, r"lists no user_tower\.onnx in its field 'files'"),
        ({"bounds": {}}, r"the field 'bounds' has the value \{\}: the field 'as_of' is missing"),
        ({"bounds": {"as_of": "yesterday"}}, r"the field 'bounds' .*yesterday"),
        ({"bounds": {"as_of": "2024-03-01T12:00:00"}}, r"the field 'bounds' .*has no time zone"),
        ({"bounds": {**parts.BOUNDS, "train_end": 5}}, r"the field 'bounds' .*'5'"),
        ({"contract": {}}, r"the field 'contract' has the value \{\}: the field 'user_key' is missing"),
        ({"contract": []}, r"the field 'contract' has the value \[\]"),
        ({"contract": {**parts.CONTRACT.to_dict(), "user": []}}, r"the field 'contract' .*has no features"),
        (
            {"contract": {**parts.CONTRACT.to_dict(), "user": [{"name": "age"}]}},
            r"the fields name\. Needed: buckets, dim, dtype",
        ),
        ({"files": {**FILES, "../x": "0" * 64}}, r"lists '\.\./x', which is not a file of a release"),
        ({"files": {**FILES, "sub/index.onnx": "0" * 64}}, r"lists 'sub/index\.onnx', which is not a file"),
        ({"files": {**FILES, "/etc/passwd": "0" * 64}}, r"lists '/etc/passwd', which is not a file"),
        ({"files": {**FILES, "manifest.json": "0" * 64}}, r"lists 'manifest\.json', which is not a file"),
        ({"files": {**FILES, File.ITEMS: "0" * 8}}, r"has '00000000' as the SHA-256 of items\.parquet"),
        ({"sizes": {File.ITEMS: "1"}}, r"the field 'sizes\.items\.parquet' has the value '1'"),
        ({"format": "2"}, r"the field 'format' has the value '2'"),
        ({"format": 0}, r"the field 'format' has the value 0"),
        ({"format": True}, r"the field 'format' has the value True"),
    ],
)
def test_a_field_of_another_type_is_named(sealed: Manifest, fields: dict, message: str) -> None:
    with pytest.raises(ReleaseError, match=message):
        Manifest.from_json(changed(sealed, **fields), sealed.id)


def test_a_manifest_of_a_later_version_asks_for_an_upgrade(sealed: Manifest) -> None:
    content = json.dumps({"format": FORMAT + 1, "id": sealed.id}).encode()  # its other fields may have other names
    with pytest.raises(ReleaseError, match=rf"has format {FORMAT + 1}; .* reads formats up to {FORMAT}\. Upgrade"):
        Manifest.from_json(content, sealed.id)


@pytest.mark.parametrize("content", [b"", b'{"id": "2024', b"\xff\xfe\x00", b"[1]", b"null", b"[" * 10**6])
def test_a_torn_manifest_is_refused(content: bytes) -> None:
    with pytest.raises(ReleaseError, match=r"release r-1: manifest\.json is torn or changed"):
        Manifest.from_json(content, "r-1")


def test_a_changed_manifest_is_refused(sealed: Manifest) -> None:
    content = sealed.to_json().replace('"by hand"', '"by foot"').encode()
    with pytest.raises(ReleaseError, match=rf"release {sealed.id}: manifest\.json is torn or changed"):
        Manifest.from_json(content)
    with pytest.raises(ReleaseError, match="torn or changed"):
        Manifest.from_json(sealed.to_json().encode(), sealed.id[:-8] + "00000000")


def test_the_whole_hash_is_checked(sealed: Manifest) -> None:
    other = sealed.sha256[:8] + "0" * 56
    content = sealed.to_json().replace(sealed.sha256, other).encode()
    assert json.loads(content)["id"] == sealed.id == id_of(json.loads(content))
    with pytest.raises(ReleaseError, match=rf"release {sealed.id}: manifest\.json is torn or changed"):
        Manifest.from_json(content, sealed.id)


def test_an_unknown_field_is_kept_and_covered_by_the_id(sealed: Manifest) -> None:
    read = Manifest.from_json(changed(sealed, licence={"name": "CC0"}))
    assert read.model_extra == {"licence": {"name": "CC0"}} and read.id != sealed.id
    again = read.seal(FILES)
    assert json.loads(again.to_json())["licence"] == {"name": "CC0"} and again.id == read.id
    with pytest.raises(ReleaseError, match="torn or changed"):
        Manifest.from_json(changed(sealed, licence={"name": "CC0"}).replace(b"CC0", b"CC1"))


def test_a_manifest_of_two_tower_0_1_is_read_and_written_in_the_current_format() -> None:
    content = (format_1.FOLDER / format_1.ID / File.MANIFEST).read_bytes()
    assert "format" not in json.loads(content)
    old = Manifest.from_json(content, format_1.ID)
    assert (old.format, old.id, old.recall, old.settings["dim"]) == (1, format_1.ID, 0.5, 2)
    new = old.seal(old.files)
    assert new.format == FORMAT and new.id != old.id
    set_by_seal = {"format", "id", "created", "sha256"}
    assert new.model_dump(exclude=set_by_seal) == old.model_dump(exclude=set_by_seal)


def test_a_manifest_cannot_be_changed_in_place(sealed: Manifest) -> None:
    with pytest.raises(ValueError, match="frozen"):
        sealed.dataset = "another"  # type: ignore[misc]
