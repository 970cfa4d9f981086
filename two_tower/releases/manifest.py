"""The manifest of a release: its origin, its metrics, and a hash of each of its files."""

import hashlib
import json
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from enum import StrEnum
from typing import Annotated, Any, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, PlainSerializer, PlainValidator, ValidationError

from two_tower._version import __version__
from two_tower.errors import InputError
from two_tower.schema import Contract

# The format written now. The manifests of two-tower 0.1 have format 1 and no field `format`; formats before 3 have none
# of the fields `sizes`, `sha256` and `ann_comparison`.
FORMAT = 3
LARGEST = 2**24  # bytes of a manifest

_SHA256 = re.compile(r"[0-9a-f]{64}")


class ReleaseError(InputError):
    """A release that is torn, mixed or unknown, or that could not be written. The message names release and file."""


class File(StrEnum):
    """The files of a release: the towers, the index and the items are required, the others are optional."""

    USER_TOWER = "user_tower.onnx"
    ITEM_TOWER = "item_tower.onnx"
    INDEX = "index.onnx"
    INDEX_DATA = "index.onnx.data"  # weights of an index that exceeds the size limit of an ONNX file
    ITEMS = "items.parquet"  # the item of each index row: key, features, popularity
    PROFILE = "profile.json"  # statistics of both towers' features, for drift
    USERS = "users.json"  # ids of the users who were active last, for the demo page
    REFERENCE = "reference.json"  # statistics of the training data, for the next data gate
    ANN_COMPARISON = "choice.json"  # the index compared with an approximate one; since format 3 in the manifest
    FEATURE_STORE = "feature_store.yaml"  # configuration of the online store
    MANIFEST = "manifest.json"
    SIGNATURE = "manifest.json.sig"  # of the manifest (see `releases.signature`)


ONNX_FILES = (File.USER_TOWER, File.ITEM_TOWER, File.INDEX)
REQUIRED = (*ONNX_FILES, File.ITEMS)
_SINCE = ("format", "sizes", "ann_comparison", "sha256")  # fields that manifests of earlier formats lack
_NOT_COVERED = ("id", "created", "ann_comparison", "sha256")  # fields that the hash of a manifest does not cover
LISTED = frozenset(File) - {File.MANIFEST, File.SIGNATURE}  # files that a manifest may list


def _contract(value: Any) -> Contract:
    if isinstance(value, Contract):
        return value
    try:
        return Contract.from_dict(value)
    except KeyError as error:
        raise ValueError(f"the field {error} is missing") from error
    except TypeError as error:
        raise ValueError(str(error)) from error


def _bounds(bounds: dict[str, str]) -> dict[str, Any]:
    if "as_of" not in bounds:
        raise ValueError("the field 'as_of' is missing")
    for name in {"as_of", "train_end"} & bounds.keys():
        if datetime.fromisoformat(str(bounds[name])).tzinfo is None:
            raise ValueError(f"{name}={bounds[name]!r} has no time zone")
    return bounds


class Manifest(BaseModel):
    """The content of manifest.json. Fields that this version does not know are kept.

    Attributes:
        format: Version of the manifest's format.
        id: Id of the release, set by `seal`.
        created: Time of publication, ISO 8601, set by `seal`.
        dataset: Name of the data set.
        contract: Features and keys of both towers.
        embedding_space: Id of the space that the towers and the index share.
        bounds: Times of the split, ISO 8601 (see `data.pulled.Bounds`); `as_of` is required.
        metrics: Metrics of the evaluation, by model and name.
        gates: Verdict of each gate, by name.
        settings: Training settings.
        versions: Version of each package that made the release, by name.
        files: SHA-256 of each file, hexadecimal, by name, set by `seal`.
        sizes: Size of each file in bytes, by name, set by `seal`; empty before format 3.
        ann_comparison: The index compared with an approximate one (see `retrieval.ann_comparison`), set by `seal`; None
            if it was not measured.
        sha256: SHA-256 of the manifest (see `digest`), set by `seal`; empty before format 3.
    """

    model_config = ConfigDict(frozen=True, strict=True, extra="allow")

    format: int = Field(default=FORMAT, ge=1)
    id: str = ""
    created: str = ""
    dataset: str
    contract: Annotated[Contract, PlainValidator(_contract), PlainSerializer(Contract.to_dict)]
    embedding_space: str
    bounds: Annotated[dict[str, Any], AfterValidator(_bounds)]
    metrics: dict[str, dict[str, float]]
    gates: dict[str, dict[str, Any]]
    settings: dict[str, Any]
    versions: dict[str, str]
    files: dict[str, str] = Field(default_factory=dict)
    sizes: dict[str, int] = Field(default_factory=dict)
    ann_comparison: dict[str, Any] | None = None
    sha256: str = ""

    @classmethod
    def from_json(cls, content: bytes, release_id: str = "") -> Self:
        """Read a manifest and check that it is complete and unchanged.

        Args:
            content: The bytes of manifest.json.
            release_id: Id of the release; by default the id in the manifest.

        Raises:
            ReleaseError: The content is torn or changed, was written by a later version of two-tower, or has a field
                that is missing or mistyped.
        """
        torn = f"{File.MANIFEST} is torn or changed. Remove the release's folder and publish it again."
        try:
            fields = json.loads(content)
        except (ValueError, RecursionError) as error:  # of the encoding, too; RecursionError: brackets without an end
            raise ReleaseError(f"release {release_id}: {torn}") from error
        if not isinstance(fields, dict):
            raise ReleaseError(f"release {release_id}: {torn}")
        release = f"release {release_id or fields.get('id')}"
        manifest = cls._parse(fields, f"{release}: {File.MANIFEST}")
        if id_of(fields) != (release_id or manifest.id) or manifest.sha256 not in ("", digest(fields)):
            raise ReleaseError(f"{release}: {torn}")
        return manifest

    @classmethod
    def _parse(cls, fields: Mapping[str, Any], source: str) -> Self:
        version = fields.get("format", 1)
        if isinstance(version, int) and version > FORMAT:
            raise ReleaseError(
                f"{source} has format {version}; two-tower {__version__} reads formats up to {FORMAT}. "
                "Upgrade two-tower, or activate an older release."
            )
        missing = [name for name in cls.model_fields if name not in fields and name not in _SINCE]
        if missing:
            raise ReleaseError(f"{source} lacks the field {missing[0]!r}. Publish the release again.")
        try:
            manifest = cls.model_validate({"format": 1, **fields})
        except ValidationError as error:
            raise ReleaseError(f"{source}: {_problem(error)}. Publish the release again.") from error
        absent = [name for name in REQUIRED if name not in manifest.files]
        if absent:
            raise ReleaseError(f"{source} lists no {absent[0]} in its field 'files'. Publish the release again.")
        for name, value in manifest.files.items():
            if name not in LISTED:
                raise ReleaseError(
                    f"{source} lists {name!r:.80}, which is not a file of a release. "
                    f"Allowed: {', '.join(sorted(LISTED))}. Publish the release again."
                )
            if not _SHA256.fullmatch(value):
                raise ReleaseError(f"{source} has {value!r:.80} as the SHA-256 of {name}. Publish the release again.")
        return manifest

    def seal(
        self,
        files: Mapping[str, str],
        sizes: Mapping[str, int] | None = None,
        ann_comparison: Mapping[str, Any] | None = None,
    ) -> Self:
        """Return the manifest of a new release with these files: in the current format, with its id and time.

        Args:
            files: SHA-256 of each file, hexadecimal, by name.
            sizes: Size of each file in bytes, by name; None if they are not known.
            ann_comparison: The index compared with an approximate one.
        """
        body = self.model_copy(update={"format": FORMAT, "files": dict(files), "sizes": dict(sizes or {})})
        fields = json.loads(body.to_json())
        sealed = {
            "id": id_of(fields),
            "created": datetime.now(UTC).isoformat(timespec="milliseconds"),
            "ann_comparison": dict(ann_comparison) if ann_comparison else None,
            "sha256": digest(fields),
        }
        return body.model_copy(update=sealed)

    def to_json(self) -> str:
        return json.dumps(self.model_dump(), indent=2)

    @property
    def as_of(self) -> datetime:
        """Time of the newest data."""
        return datetime.fromisoformat(self.bounds["as_of"])

    @property
    def train_end(self) -> datetime | None:
        """End of the training data; None if the manifest does not record it."""
        return datetime.fromisoformat(self.bounds["train_end"]) if "train_end" in self.bounds else None

    @property
    def recall(self) -> float | None:
        """recall@20 of the towers on the test window; None if it was not measured."""
        return self.metrics.get("two_tower", {}).get("recall@20")


def id_of(fields: Mapping[str, Any]) -> str:
    """Return the id of a release: `as_of` in UTC and the first 8 hexadecimal digits of the manifest's `digest`."""
    as_of = datetime.fromisoformat(fields["bounds"]["as_of"]).astimezone(UTC)
    return f"{as_of:%Y%m%dT%H%M%S}-{digest(fields)[:8]}"


def digest(fields: Mapping[str, Any]) -> str:
    """Return the SHA-256 of a manifest, 64 hexadecimal digits.

    It covers all fields, known or not, except those that differ between runs that otherwise give the same release: the
    time, and the comparison with an approximate index, whose times are measured. So a changed manifest of any version
    is detected.
    """
    body = {name: value for name, value in fields.items() if name not in _NOT_COVERED}
    body["files"] = {name: value for name, value in fields["files"].items() if name != File.ANN_COMPARISON}
    return hashlib.sha256(json.dumps(body, sort_keys=True).encode()).hexdigest()


def _problem(error: ValidationError) -> str:
    """Describes the first problem that pydantic found."""
    first = error.errors()[0]
    name = ".".join(map(str, first["loc"]))
    reason = first["msg"].removeprefix("Value error, ")[:200].rstrip(".")
    return f"the field {name!r} has the value {first['input']!r:.60}: {reason[:200].rstrip('.')}"
