"""What the texts of scans share: the choice of the best of many coarse scores, and what differs by similarity.

Like all texts of graphs here they are templates of ONNX's textual form, whose names begin with a prefix of their use.
"""

from collections.abc import Callable
from typing import NamedTuple


class Scoring(NamedTuple):
    """The texts that differ by similarity. exact: of a prefix and the name of row numbers [batch, c], the text that
    puts the rows' exact scores, [batch, c], into `<prefix>_similarity`. kth_linear: takes `kth`, the k-th exact score,
    to the linear scale of the codes. floats: a scan in float32 of `all_queries`, as `floats_rows` and `floats_scores`.
    """

    exact: Callable[[str, str], str]
    kth_linear: str
    floats: str


BLOCK = 32  # neighbouring scores of which the largest stands for all in the first selection

# The `fetched` best of coarse scores [batch, rows] in two steps: the blocks with the largest maxima, then the best
# within them. None of the n best lies outside the n best blocks.
_CHOICE = """{p}_blocks = Reshape({source}, block_shape)
              {p}_maxima = ReduceMax <keepdims = 0> ({p}_blocks, last)
              {p}_block_fetched = Min({p}_fetched, block_count)
              {p}_block_top, {p}_block_places = TopK <sorted = 0> ({p}_maxima, {p}_block_fetched)
              {members}
              {p}_top, {p}_member_places = TopK <sorted = 0> ({p}_member_scores, {p}_fetched)
              {found} = GatherElements <axis = 1> ({p}_member_rows, {p}_member_places)"""
# The rows of blocks [batch, b], [batch, b * block].
_MEMBERS = """{p}_column = Unsqueeze({blocks}, last)
              {p}_starts = Mul({p}_column, block)
              {p}_all = Add({p}_starts, lanes)
              {p}_rows = Reshape({p}_all, flat_shape)"""
# What a table by block, [batch, blocks, block], holds of these, [batch, b * block]: copied a block at a time.
_OF_MEMBERS = """{p}_{what}_blocks = GatherND <batch_dims = 1> ({table}, {p}_column)
              {p}_{what} = Reshape({p}_{what}_blocks, flat_shape)"""
_EXCLUDED = """{p}_ahead = Unsqueeze({p}_rows, last)
              {p}_excluded = Unsqueeze(hidden_rows, one)
              {p}_same = Equal({p}_ahead, {p}_excluded)
              {p}_same_int = Cast <to = 2> ({p}_same)
              {p}_any = ReduceMax <keepdims = 0> ({p}_same_int, last)
              {p}_hidden = Cast <to = 9> ({p}_any)"""


def choice(prefix: str, source: str, found: str) -> str:
    """The `fetched` best rows of the scores `source`, as `found`, and their scores as `<prefix>_top`."""
    of_blocks = members(f"{prefix}_member", f"{prefix}_block_places", scores=f"{prefix}_blocks")
    return _CHOICE.format(p=prefix, source=source, members=of_blocks, found=found)


def members(prefix: str, blocks: str, **tables: str) -> str:
    """The rows of blocks, and of each table by block what it holds of them, as `<prefix>_<name>`."""
    rows = _MEMBERS.format(p=prefix, blocks=blocks)
    return "\n".join([rows, *(_OF_MEMBERS.format(p=prefix, what=n, table=t) for n, t in tables.items())])


def excluded(prefix: str) -> str:
    """Which of the rows `<prefix>_rows` are excluded, as `<prefix>_hidden`, of the same shape."""
    return _EXCLUDED.format(p=prefix)
