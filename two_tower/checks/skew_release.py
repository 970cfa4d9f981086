"""A release as the skew check reads it."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from two_tower.runtime import open_session
from two_tower.schema import Contract


@dataclass(frozen=True)
class Release:
    """What a release says of itself. folder: its files, on this machine."""

    folder: Path
    id: str
    contract: Contract
    as_of: datetime
    similarity: str

    @classmethod
    def of(cls, folder: Path, manifest: Mapping[str, Any]) -> "Release":
        metadata = open_session(folder / "item_tower.onnx").get_modelmeta().custom_metadata_map
        return cls(
            folder=folder,
            id=manifest["id"],
            contract=Contract.from_dict(manifest["contract"]),
            as_of=datetime.fromisoformat(manifest["bounds"]["as_of"]),
            similarity=metadata["similarity"],
        )
