import numpy as np
import pytest

from two_tower.retrieval import codes
from two_tower.retrieval.codes import item_tables
from two_tower.retrieval.selection_graph import BLOCK

COUNT, DIM = 501, 20


@pytest.fixture
def items() -> np.ndarray:
    return np.random.default_rng(0).normal(1.0, 1.0, size=(COUNT, DIM)).astype(np.float32)


@pytest.mark.parametrize("count", [1, BLOCK - 1, BLOCK, BLOCK + 1])
def test_padding_fills_whole_blocks_and_has_at_least_one_row(count):
    tables, shape = item_tables(np.ones((count, 3)), "dot")
    rows = len(tables["items"])
    assert shape is None and rows % BLOCK == 0 and count < rows <= count + BLOCK
    assert not tables["items"][count:].any() and tables["items"].dtype == np.float32


def test_cosine_items_have_unit_length_and_euclidean_items_an_offset(items):
    np.testing.assert_allclose(np.linalg.norm(item_tables(items, "cosine")[0]["items"][:COUNT], axis=1), 1, rtol=1e-6)
    offset = item_tables(items, "euclidean")[0]["offset"][:COUNT]
    np.testing.assert_allclose(offset, -(items.astype(float) ** 2).sum(axis=1) / 2, rtol=1e-6)


@pytest.mark.parametrize("cached_bytes", [0, 2**30], ids=["4-bit", "8-bit"])
def test_codes_decode_to_the_items_within_the_stored_errors(items, monkeypatch, cached_bytes):
    monkeypatch.setattr(codes, "CODED_FROM", 1)
    monkeypatch.setattr(codes, "CACHED_BYTES", cached_bytes)
    tables, shape = item_tables(items, "dot")
    assert shape is not None and (shape.bits, shape.width, shape.group) == (8 if cached_bytes else 4, 32, 32)
    packed = tables["narrow_codes"].astype(int)
    levels = packed if shape.bits == 8 else np.stack([packed & 15, packed >> 4], axis=3).reshape(len(packed), 1, 32)
    decoded = ((levels - 2 ** (shape.bits - 1)) * tables["narrow_scales"][:, :, None]).reshape(-1, 32)[:COUNT, :DIM]
    mean = items.mean(axis=0)
    np.testing.assert_allclose(tables["mean"][:, 0], mean, rtol=1e-5)
    error = np.linalg.norm(items - mean - decoded, axis=1)
    np.testing.assert_allclose(tables["item_error"].reshape(-1)[:COUNT], error, atol=1e-5)
    np.testing.assert_allclose(tables["block_error"][0], tables["item_error"][0].max(axis=1))
    assert error.max() < (0.03 if shape.bits == 8 else 0.4) * np.linalg.norm(items, axis=1).max()
    np.testing.assert_allclose(tables["narrow_norm"], np.linalg.norm(decoded, axis=1).max(), rtol=1e-5)
    decoded_bytes = (tables["byte_codes"][:, :COUNT].astype(float) * tables["column_scale"][:, None]).T
    assert (np.abs(items - mean - decoded_bytes) <= 0.51 * tables["column_scale"]).all()


@pytest.mark.parametrize("similarity", ["cosine", "dot", "euclidean"])
def test_chunks_do_not_change_the_tables(items, monkeypatch, similarity):
    monkeypatch.setattr(codes, "CODED_FROM", 1)
    whole, _ = item_tables(items, similarity)
    monkeypatch.setattr(codes, "CHUNK", 7)
    chunked, _ = item_tables(items, similarity)
    assert whole.keys() == chunked.keys()
    for name, table in whole.items():
        np.testing.assert_allclose(chunked[name], table, rtol=1e-6, atol=1e-6, err_msg=name)
