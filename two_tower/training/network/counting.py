"""The encoders from a pull that is read in pieces."""

from dataclasses import dataclass, field, replace

import pyarrow as pa
import pyarrow.compute as pc

from two_tower.data.parts import Parts
from two_tower.data.pulled import Split
from two_tower.schema import Dtype, Feature, TowerName
from two_tower.training.network.encoders import (
    TOWERS,
    VOCABULARY,
    Encoders,
    Fitted,
    fit,
    flat,
    frequent,
    id_feature,
    share,
)

SAMPLE = 100_000  # training rows from which means, deviations and bin edges are learned
LISTS = (Dtype.STRINGS, Dtype.INTS)


@dataclass
class Counts:
    """How often each value of a feature is seen; memory holds the different values alone."""

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
    """What `encoders.fit` learns, and the longest list of each list feature in the training rows, within `max_length`.

    Vocabularies are counted over all rows. Numbers, and which feature is the item's id, are learned from SAMPLE rows
    that lie evenly in time, or from all where they are fewer; then what is learned is what `fit` learns, to the bit.
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
    return f.encoding in VOCABULARY and f.dtype != Dtype.BOOL
