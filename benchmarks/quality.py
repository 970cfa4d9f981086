"""Quality on published splits: `python -m benchmarks.quality gowalla|lightgcnpp_ml-1m|ncf [--data-dir DIR] [--json F]`.

Every item is ranked, train items masked (ncf: the right item among its 99 wrong ones), as for the published figures.
Two protocols: `honest` takes settings that were chosen on a validation set carved out of train, fits them on all of
train and asks the test once; `leaderboard` takes settings chosen on the test itself, as the leaderboards' logs
do. The settings are in quality.toml; `--search` finds them anew, which takes much longer. `--quick` runs a block world
whose answer is known.

Every model here is one dot product between a user's vector and an item's vector; the table says how wide.
"""

import argparse
import sys
import time
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import quality_search
from benchmarks.harness import arguments, finish, machine, progress
from benchmarks.quality_metrics import evaluate
from benchmarks.quality_models import EASE_ITEMS, Ease, ItemKnn, Model, Spectral, popularity
from benchmarks.quality_splits import FOLDERS, Split, Splits, block_world, read

SETTINGS = Path(__file__).with_suffix(".toml")
PROTOCOLS = ("honest", "leaderboard")
CUTOFF = {"gowalla": 20, "lightgcnpp_ml-1m": 20, "ncf": 10, "block-world": 2}
# Gowalla has 30,000 users: the best few of a sample are asked again for all of them, lest the sample's luck decide.
FINALISTS = {"gowalla": 3}
KINDS: dict[str, type[Model]] = {"item_knn": ItemKnn, "ease": Ease, "spectral": Spectral}
# Other people's figures on the same split and measure, chosen on the test where their logs say so.
PUBLISHED = {
    "gowalla": {
        "MF-BPR": (0.1627, 0.1378),
        "YoutubeDNN": (0.1754, 0.1473),
        "EASE": (0.1765, 0.1467),
        "LightGCN": (0.1820, 0.1547),
        "UltraGCN": (0.1862, 0.1580),
        "SimpleX": (0.1872, 0.1557),
        "BSPM": (0.1920, 0.1597),
    },
    "lightgcnpp_ml-1m": {"LightGCN++": (None, 0.3275)},
    "ncf": {"popularity": (0.4535, 0.2543), "NeuMF": (0.730, 0.447), "tuned MF": (0.7294, 0.4523)},
}


def main() -> None:
    given = _arguments()
    described = machine()
    splits = block_world() if given.quick else read(given.name, given.data_dir)
    if given.search:
        sys.stdout.write(found(splits, given.users, given.only))
        return
    settings = tomllib.loads(SETTINGS.read_text())[splits.name]
    rows = list(measured(splits, settings, given.seeds, given.only))
    finish(rows + published(splits.name), claims(rows, CUTOFF[splits.name]), described, given.json)


def _arguments() -> argparse.Namespace:
    parser = arguments(__doc__ or "")
    parser.add_argument("name", choices=list(FOLDERS))
    parser.add_argument("--data-dir", type=Path, help="the split's folder; else $TWO_TOWER_DATA/<its name>")
    parser.add_argument(
        "--seeds", type=int, default=2, help="of models that start from random numbers, under the honest protocol"
    )
    parser.add_argument("--search", action="store_true", help="choose the settings anew and print them")
    parser.add_argument("--users", type=int, default=2000, help="sampled by --search")
    parser.add_argument("--only", nargs="+", metavar="MODEL", help="measure or search these models alone")
    return parser.parse_args()


def measured(
    splits: Splits, settings: Mapping[str, Any], seeds: int, only: list[str] | None = None
) -> Iterator[dict[str, Any]]:
    """A row a model and protocol; settings that both protocols chose are run once. The leaderboard's have one seed."""
    k, final = CUTOFF[splits.name], splits.final
    began = time.perf_counter()
    yield _row("popularity", "both", "1", [evaluate(popularity(final.train), final, k)], began, {})
    if "ease" not in settings["honest"]:
        yield left_out("ease", final, k)
    done: dict[tuple[str, Model], dict[str, Any]] = {}
    for protocol in PROTOCOLS:
        for name, chosen in settings[protocol].items():
            model = _model(chosen)
            if only and name not in only:
                continue
            if (name, model) not in done:
                done[name, model] = _run(name, model, final, k, seeds if protocol == "honest" else 1)
            yield done[name, model] | {"protocol": protocol}


def _run(name: str, model: Model, split: Split, k: int, seeds: int) -> dict[str, Any]:
    progress(f"{name} {model}")
    began, figures, width = time.perf_counter(), [], ""
    for seed in range(seeds if isinstance(model, Spectral) else 1):
        towers = model.fit(split.train, seed, split.age) if isinstance(model, Spectral) else model.fit(split.train)
        figures.append(evaluate(towers, split, k))
        progress(f"{name}, seed {seed}: {figures[-1]}")
        width = towers.width
    return _row(name, "", width, figures, began, asdict(model))


def left_out(name: str, split: Split, k: int) -> dict[str, Any]:
    items = split.train.shape[1]
    why = f"the inverse over {items:,} items is {items**2 * 4e-9:.1f} GB and {items**3:.0e} operations"
    return {"model": name, "protocol": "left out", f"recall@{k}": "", f"ndcg@{k}": "", "settings": why}


def _row(
    name: str, protocol: str, width: str, figures: list[dict[str, float]], began: float, settings: Mapping[str, Any]
) -> dict[str, Any]:
    """Means over seeds; `spread` is the largest difference of any figure between two seeds."""
    means = {key: float(np.mean([of[key] for of in figures])) for key in figures[0]}
    spread = max(float(np.ptp([of[key] for of in figures])) for key in means)
    seconds = (time.perf_counter() - began) / len(figures)
    return {
        "model": name,
        "protocol": protocol,
        **means,
        "spread": spread if len(figures) > 1 else "",
        "seeds": len(figures),
        "seconds": round(seconds, 1),
        "width": width,
        "settings": ", ".join(f"{key} {value:g}" for key, value in settings.items()),
    }


def published(name: str) -> list[dict[str, Any]]:
    k = CUTOFF[name]
    return [
        {"model": model, "protocol": "published", f"recall@{k}": recall or "", f"ndcg@{k}": ndcg}
        for model, (recall, ndcg) in PUBLISHED.get(name, {}).items()
    ]


def claims(rows: list[dict[str, Any]], k: int) -> dict[str, float]:
    """<protocol>_<metric> of the best two-tower, and <model>_<protocol>_<metric> of the others."""
    told = {}
    for row in rows:
        for protocol in {"both": PROTOCOLS, "left out": ()}.get(row["protocol"], (row["protocol"],)):
            for metric in (f"recall@{k}", f"ndcg@{k}"):
                named = "" if row["model"] == "best" else f"{row['model']}_"
                told[f"{named}{protocol}_{metric}"] = row[metric]
    return dict(sorted(told.items(), key=lambda claim: claim[0].split("_")[0] not in PROTOCOLS))


def found(splits: Splits, users: int, only: list[str] | None) -> str:
    """The settings of both protocols as TOML: chosen on validation, and chosen on test."""
    k = CUTOFF[splits.name]
    lines = [f"# chosen by the sum of recall@{k} and ndcg@{k}", ""]
    fits = splits.final.train.shape[1] <= EASE_ITEMS
    spaces = {"best": quality_search.FULL if fits else quality_search.BOTH, **quality_search.SPACES}
    if splits.choose.age is not None:
        spaces |= {"best": quality_search.ORDERED, "unordered": quality_search.BOTH}
    for protocol, split in zip(PROTOCOLS, (splits.choose, splits.final), strict=True):
        for name, (start, space) in spaces.items():
            if (name == "ease" and not fits) or (only and name not in only):
                continue
            finalists = FINALISTS.get(splits.name, 1)
            best = quality_search.search(f"{protocol} {name}", start, space, split, k, users, finalists)
            lines += [f'["{splits.name}".{protocol}.{name}]', f'kind = "{_kind(best)}"']
            lines += [f"{key} = {value}" for key, value in asdict(best).items()] + [""]
    return "\n".join(lines) + "\n"


def _kind(model: Model) -> str:
    return next(name for name, kind in KINDS.items() if isinstance(model, kind))


def _model(settings: Mapping[str, Any]) -> Model:
    return KINDS[settings["kind"]](**{key: value for key, value in settings.items() if key != "kind"})


if __name__ == "__main__":
    main()
