"""The faults of `benchmarks.mutations`: the text to replace, its replacement, and the tests that should fail."""

from typing import NamedTuple


class Mutation(NamedTuple):
    """One fault.

    Attributes:
        name: Name for `--only`.
        file: Path from the root of the checkout.
        old: Text that occurs exactly once in the file.
        new: Text that replaces it.
        tests: Arguments of pytest.
    """

    name: str
    file: str
    old: str
    new: str
    tests: tuple[str, ...]


def _mutation(name: str, file: str, old: str, new: str, *tests: str) -> Mutation:
    return Mutation(name, f"two_tower/{file}", old, new, tuple(f"tests/two_tower/{test}" for test in tests))


_GATES = (
    _mutation(
        "promotion-lift-is-reached",
        "evaluation/promotion.py",
        "if own > needed else",
        "if own >= needed else",
        "evaluation/test_promotion.py",
    ),
    _mutation(
        "promotion-any-noise-passes",
        "evaluation/promotion.py",
        '(reason if high < 0 else "")',
        '(reason if high < -1 else "")',
        "evaluation/test_promotion.py",
    ),
    _mutation(
        "promotion-noise-holds",
        "evaluation/promotion.py",
        '(reason if high < 0 else "")',
        '(reason if low < 0 else "")',
        "evaluation/test_promotion.py",
    ),
    _mutation(
        "promotion-without-tolerance",
        "evaluation/promotion.py",
        "share = 1 - config.tolerance",
        "share = 1.0",
        "evaluation/test_promotion.py",
    ),
    _mutation(
        "promotion-interval-is-not-paired",
        "evaluation/promotion.py",
        "if champion.per_user is not None:",
        "if False:",
        "evaluation/test_promotion.py",
    ),
    _mutation(
        "parity-overlap-of-the-network-with-itself",
        "exporting/parity.py",
        "np.argpartition(-exported",
        "np.argpartition(-trained",
        "exporting/test_parity.py",
    ),
    _mutation(
        "parity-without-unknown-values",
        "exporting/parity.py",
        "return [*batches, _disturbed(batches[1])]",
        "return batches",
        "exporting/test_parity.py",
    ),
    _mutation(
        "refresh-of-any-catalogue",
        "releases/refresh.py",
        "passed = after >= MIN_SHARE * before",
        "passed = after >= 0",
        "releases/test_refresh.py",
    ),
    _mutation("held-gate-goes-on", "gates.py", "if not verdict.passed:", "if verdict.passed:", "test_gates.py"),
    _mutation(
        "rank-of-ties-is-the-best-place",
        "evaluation/metrics.py",
        "above + equal / 2",
        "above",
        "evaluation/test_metrics.py",
    ),
    _mutation(
        "evaluation-ranks-seen-items",
        "evaluation/ranking.py",
        "column[seen[offered]]] = -np.inf",
        "column[seen[offered]]] = np.inf",
        "evaluation/test_ranking.py",
    ),
)

_LOSS_TESTS = "losses"
_LOSSES = (
    _mutation(
        "softmax-with-accidental-hits",
        "losses/sampled_softmax.py",
        '.masked_fill_(mask, float("-inf"))',
        "",
        _LOSS_TESTS,
    ),
    _mutation(
        "softmax-with-the-opposite-logq",
        "losses/sampled_softmax.py",
        "torch.addcdiv(log_weight,",
        "torch.addcdiv(-log_weight,",
        _LOSS_TESTS,
    ),
    _mutation("info-nce-of-one-side", "losses/info_nce.py", "(over_items + over_users) / 2", "over_items", _LOSS_TESTS),
    _mutation(
        "bpr-of-the-other-sign",
        "losses/bpr.py",
        "inputs.scores - inputs.positive",
        "inputs.scores + inputs.positive",
        _LOSS_TESTS,
    ),
    _mutation(
        "contrastive-beyond-the-margin", "losses/contrastive.py", ".clamp(min=0).square()", ".square()", _LOSS_TESTS
    ),
    _mutation("triplet-without-margin", "losses/triplet.py", "- distances + self.margin)", "- distances)", _LOSS_TESTS),
    _mutation(
        "triplet-semi-hard-takes-the-nearest",
        "losses/triplet.py",
        "excluded | (distances <= farther_than)",
        "excluded",
        _LOSS_TESTS,
    ),
    _mutation(
        "mean-counts-masked-negatives",
        "losses/negatives.py",
        "mask.logical_not()",
        "torch.ones_like(mask)",
        _LOSS_TESTS,
    ),
    _mutation("mean-without-weights", "losses/similarity.py", "(values * weight).sum()", "values.sum()", _LOSS_TESTS),
)

_SPLITS = (
    _mutation(
        "split-puts-the-bound-before",
        "data/split.py",
        '(cuts, micros, side="right")',
        '(cuts, micros, side="left")',
        "data/test_split.py",
    ),
    _mutation(
        "split-accepts-small-windows", "data/split.py", "if size < LEAST_ROWS:", "if size < 1:", "data/test_split.py"
    ),
    _mutation(
        "event-sees-its-own-instant",
        "data/asof.py",
        'np.searchsorted(self._times, micros, side="right")',
        'np.searchsorted(self._times, micros, side="left")',
        "data/test_asof.py",
    ),
    _mutation(
        "repeat-at-the-same-instant",
        "data/seen.py",
        "self.micros[rows[number]] < self.micros",
        "self.micros[rows[number]] <= self.micros",
        "data/test_seen.py",
    ),
    _mutation(
        "event-meets-an-older-snapshot",
        "evaluation/ranking.py",
        'interactions.micros[events], side="right")',
        'interactions.micros[events], side="left")',
        "evaluation/test_ranking.py",
    ),
    _mutation(
        "popularity-knows-the-future",
        "models/popularity.py",
        "end = int(np.searchsorted(log.micros, before))",
        "end = len(log.micros)",
        "models/test_popularity.py",
    ),
)

_INDEX = (
    _mutation(
        "single-query-half-the-rounding",
        "retrieval/single_query.py",
        "slack = Sum(mean_score, from_query, from_floats)",
        "half_query = Mul(from_query, half)\n          slack = Sum(mean_score, half_query, from_floats)",
        "retrieval/test_single_query.py",
    ),
    _mutation(
        "batched-half-the-rounding",
        "retrieval/batched_queries.py",
        "above_coarse = Sum(mean_score, from_query, from_items, from_floats)",
        "half_query = Mul(from_query, half)\n"
        "          above_coarse = Sum(mean_score, half_query, from_items, from_floats)",
        "retrieval/test_batched_queries.py",
    ),
    _mutation(
        "codes-without-the-error-of-items",
        "retrieval/codes.py",
        "error[part] = np.linalg.norm(padded - decoded, axis=1)",
        "error[part] = 0",
        "retrieval/test_index.py",
    ),
    _mutation(
        "euclidean-without-half",
        "retrieval/codes.py",
        "-0.5 * np.sum(chunk * chunk, axis=1)",
        "-1.0 * np.sum(chunk * chunk, axis=1)",
        "retrieval/test_index.py",
    ),
    _mutation(
        "padding-of-exclude-hides-an-item",
        "retrieval/codes.py",
        "rows = count + BLOCK - count % BLOCK",
        "rows = count + -count % BLOCK",
        "retrieval/test_index.py",
    ),
    _mutation(
        "float16-without-the-rounding-of-products",
        "retrieval/half.py",
        "roundings = linear.shape[1] / PARTIAL + 2",
        "roundings = 0",
        "retrieval/test_half.py",
    ),
)

_RELEASE_TESTS = "releases/test_release.py"
_RELEASES = (
    _mutation(
        "release-with-changed-files",
        "releases/stored_release.py",
        "if actual != expected:",
        "if False:",
        _RELEASE_TESTS,
    ),
    _mutation(
        "release-of-mixed-spaces",
        "releases/stored_release.py",
        "if space != manifest.embedding_space:",
        "if False:",
        _RELEASE_TESTS,
    ),
    _mutation(
        "rollback-to-the-oldest",
        "releases/release.py",
        "return older[0]",
        "return older[-1]",
        _RELEASE_TESTS,
    ),
    _mutation(
        "release-with-another-manifest",
        "releases/manifest.py",
        "if id_of(fields) != (release_id or manifest.id) or",
        "if",
        _RELEASE_TESTS,
    ),
    _mutation(
        "release-with-stray-files",
        "releases/stored_release.py",
        'if kind != "file" or name not in',
        'if kind != "file" and name not in',
        "releases/test_stored_release.py",
    ),
    _mutation(
        "signature-of-anyone",
        "releases/signature.py",
        "return False\n    return True",
        "return True\n    return True",
        "releases/test_signature.py",
    ),
    _mutation(
        "pointer-moved-over-a-newer-one",
        "storage/local.py",
        "if now not in (before, content):",
        "if False:",
        "storage/test_local.py",
    ),
    _mutation(
        "pointer-holds-anything",
        "releases/release.py",
        "if not pointer.is_release_id(text):",
        "if not text:",
        _RELEASE_TESTS,
    ),
)

MUTATIONS = (*_GATES, *_LOSSES, *_SPLITS, *_INDEX, *_RELEASES)
