"""Fit the feature encoders on a pull that is read in pieces."""

from dataclasses import dataclass, field, replace

import pyarrow as pa
import pyarrow.compute as pc

from two_tower.data.parts import Parts
from two_tower.data.pulled import Split
from two_tower.schema import Dtype, Feature, TowerName
from two_tower.training.network.encoders import (
    TOWERS,
    Encoders,
    fit,
    flat,
    frequent,
    id_feature,
    share,
)
from two_tower.training.network.fitted import Fitted, encoder

SAMPLE = 100_000  # training rows on which means, deviations and bin edges are fitted
LISTS = (Dtype.STRINGS, Dtype.INTS)


@dataclass
class Counts:
    """Counts each value of a feature; memory holds only the distinct values."""

    total: pa.Table | None = None
    waiting: list[pa.Table] = field(default_factory=list)
    rows: int = 0

    def add(self, column: pa.ChunkedArray) -> None:
        counted = flat(column).value_counts()
        self.waiting.append(pa.table({"values": counted.field("values"), "counts": counted.field("counts")}))
        self.rows += len(counted)
        if self.rows > (0 if self.total is None else self.total.num_rows):
            self.merge()

    def merge(self) -> pa.Table:
        known = [] if self.total is None else [self.total]
        summed = pa.concat_tables([*known, *self.waiting]).group_by("values").aggregate([("counts", "sum")])
        self.total, self.waiting, self.rows = summed.rename_columns(["values", "counts"]), [], 0
        return self.total


def fit_parts(parts: Parts) -> tuple[Encoders, dict[tuple[TowerName, str], int]]:
    """Fit the encoders, and find the longest list of each list feature.

    Vocabularies are counted over all rows. Everything else is fitted on SAMPLE rows, evenly spaced in time. If there
    are fewer rows, the result equals that of `encoders.fit` to the bit.

    Returns:
        The encoders, and by tower and feature the length of the longest list of the training rows, within `max_length`.
    """
    sample, contract = parts.take(parts.spaced(Split.TRAIN, SAMPLE)), parts.described.contract
    learned = fit(sample)
    id_of_item = id_feature(contract, sample.item, sample.interactions[contract.item_key])
    shared = {f.table for f in learned.item if f.feature is id_of_item}
    counts = {
        (tower, f.feature.name): Counts()
        for tower in TOWERS
        for f in learned.tower(tower)
        if _counted(f.feature) and not (tower == "user" and f.table in shared)
    }
    longest = {(tower, f.name): 1 for tower in TOWERS for f in contract.tower(tower) if f.dtype in LISTS}
    lengths = {(tower, f.name): f.max_length for tower in TOWERS for f in contract.tower(tower)}
    for number in parts.numbers(*parts.spans[Split.TRAIN]):
        piece = parts.piece(number)
        rows = piece.rows(Split.TRAIN)
        for (tower, name), counted in counts.items():
            counted.add(getattr(piece, tower)[name].take(rows))
        for tower, name in longest:
            most = pc.max(pc.list_value_length(getattr(piece, tower)[name].take(rows))).as_py() or 1
            longest[tower, name] = min(lengths[tower, name], max(most, longest[tower, name]))
    catalogue = parts.described.catalogue_at(parts.described.bounds.train_end)
    for (tower, name), counted in counts.items():
        if tower == "item" and not (id_of_item and name == id_of_item.name):
            counted.add(catalogue[name])

    def whole(tower: TowerName, f: Fitted) -> Fitted:
        counted = counts.get((tower, f.feature.name))
        if counted is None:
            return f
        total = counted.merge().combine_chunks()
        return replace(f, vocabulary=frequent(f.feature, total["values"], total["counts"]))

    item = tuple(whole("item", f) for f in learned.item)
    ids = next((f for f in item if f.feature is id_of_item), None)
    return Encoders(tuple(share(whole("user", f), ids) for f in learned.user), item), longest


def _counted(f: Feature) -> bool:
    return encoder(f).lookup == "vocabulary" and f.dtype != Dtype.BOOL
