"""Graph text that the scans share: selection of the best coarse scores, and the parts that depend on the similarity.

The texts are templates in ONNX's textual format. Names of values begin with a prefix for their use.
"""

from collections.abc import Callable
from typing import NamedTuple


class Scoring(NamedTuple):
    """Texts that depend on the similarity.

    Attributes:
        exact: Function of a prefix and the name of row numbers `(batch, c)`; returns the text that computes the exact
            scores of these rows, `(batch, c)`, as `<prefix>_similarity`.
        kth_linear: Text that converts `kth`, the k-th exact score, to the linear scale of the codes.
        floats: Text of a scan of `all_queries` in float32, with the outputs `floats_rows` and `floats_scores`.
    """

    exact: Callable[[str, str], str]
    kth_linear: str
    floats: str


BLOCK = 32  # neighbouring scores; the first selection compares the maxima of blocks

# The best `fetched` of the coarse scores (batch, rows) in two steps: the blocks with the largest maxima, then the best
# rows within them. The n best rows always lie within the n best blocks.
_TOP_ROWS = """{p}_blocks = Reshape({source}, block_shape)
              {p}_maxima = ReduceMax <keepdims = 0> ({p}_blocks, last)
              {p}_block_fetched = Min({p}_fetched, block_count)
              {p}_block_top, {p}_block_places = TopK <sorted = 0> ({p}_maxima, {p}_block_fetched)
              {members}
              {p}_top, {p}_member_places = TopK <sorted = 0> ({p}_member_scores, {p}_fetched)
              {rows} = GatherElements <axis = 1> ({p}_member_rows, {p}_member_places)"""
# The rows (batch, b * block) of blocks (batch, b).
_MEMBERS = """{p}_column = Unsqueeze({blocks}, last)
              {p}_starts = Mul({p}_column, block)
              {p}_all = Add({p}_starts, lanes)
              {p}_rows = Reshape({p}_all, flat_shape)"""
# The values (batch, b * block) of a table (batch, blocks, block) at these rows, copied block by block.
_MEMBER_VALUES = """{p}_{name}_blocks = GatherND <batch_dims = 1> ({table}, {p}_column)
              {p}_{name} = Reshape({p}_{name}_blocks, flat_shape)"""
_EXCLUDED = """{p}_ahead = Unsqueeze({p}_rows, last)
              {p}_excluded = Unsqueeze(hidden_rows, one)
              {p}_same = Equal({p}_ahead, {p}_excluded)
              {p}_same_int = Cast <to = 2> ({p}_same)
              {p}_any = ReduceMax <keepdims = 0> ({p}_same_int, last)
              {p}_hidden = Cast <to = 9> ({p}_any)"""


def top_rows(prefix: str, source: str, rows: str) -> str:
    """Build the text that selects the rows with the best coarse scores.

    Args:
        prefix: Prefix of the value names; `<prefix>_fetched` is the number of rows.
        source: Name of the coarse scores.
        rows: Name of the output with the selected rows; their scores are `<prefix>_top`.

    Returns:
        The nodes.
    """
    block_members = members(f"{prefix}_member", f"{prefix}_block_places", scores=f"{prefix}_blocks")
    return _TOP_ROWS.format(p=prefix, source=source, members=block_members, rows=rows)


def members(prefix: str, blocks: str, **tables: str) -> str:
    """Build the text that lists the rows of blocks, and the values of tables at these rows.

    Args:
        prefix: Prefix of the value names; the rows are `<prefix>_rows`.
        blocks: Name of the block numbers.
        tables: Names of the tables; the values of table `name` are `<prefix>_<name>`.

    Returns:
        The nodes.
    """
    rows = _MEMBERS.format(p=prefix, blocks=blocks)
    return "\n".join([rows, *(_MEMBER_VALUES.format(p=prefix, name=n, table=t) for n, t in tables.items())])


def excluded(prefix: str) -> str:
    """Build the text that marks the excluded rows.

    Args:
        prefix: Prefix of the value names; `<prefix>_rows` are the rows.

    Returns:
        Nodes whose output is `<prefix>_hidden`, a flag per row.
    """
    return _EXCLUDED.format(p=prefix)
