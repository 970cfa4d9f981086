"""Quality on published splits: `python -m benchmarks.quality gowalla|lightgcnpp_ml-1m|ncf [--data-dir DIR] [--json F]`.

All items are ranked with the train items masked, as for the published figures (ncf: the positive item and its 99
negatives). There are two protocols. `honest`: the settings are chosen on a validation set split off from train; the
model is then fitted on all of train and evaluated on test once. `leaderboard`: the settings are chosen on the test set
itself, as in the logs of the leaderboards. quality.toml holds the settings; `--search` searches for them again, which
takes much longer. `--quick` runs on a block world with a known answer.

Every model here scores with one dot product of a user vector and an item vector; the table has their width.
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
# Gowalla has 30,000 users. The search uses a sample, and evaluates the best few settings again on all users.
FINALISTS = {"gowalla": 3}
KINDS: dict[str, type[Model]] = {"item_knn": ItemKnn, "ease": Ease, "spectral": Spectral}
# Published figures on the same split and metric. Some were chosen on the test set, according to their logs.
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
    args = _arguments()
    machine_info = machine()
    splits = block_world() if args.quick else read(args.name, args.data_dir)
    if args.search:
        sys.stdout.write(search_settings(splits, args.users, args.only))
        return
    settings = tomllib.loads(SETTINGS.read_text())[splits.name]
    rows = list(measured(splits, settings, args.seeds, args.only))
    finish(rows + published(splits.name), claims(rows, CUTOFF[splits.name]), machine_info, args.json)


def _arguments() -> argparse.Namespace:
    parser = arguments(__doc__ or "")
    parser.add_argument("name", choices=list(FOLDERS), help="Name of the split.")
    parser.add_argument("--data-dir", type=Path, help="Folder of the split. Default: $TWO_TOWER_DATA/<its name>.")
    parser.add_argument(
        "--seeds", type=int, default=2, help="Number of seeds of randomised models under the honest protocol."
    )
    parser.add_argument("--search", action="store_true", help="Search for the settings and print them.")
    parser.add_argument("--users", type=int, default=2000, help="Number of users that --search samples.")
    parser.add_argument("--only", nargs="+", metavar="MODEL", help="Measure or search these models only.")
    return parser.parse_args()


def measured(
    splits: Splits, settings: Mapping[str, Any], seeds: int, only: list[str] | None = None
) -> Iterator[dict[str, Any]]:
    """Yield one row per model and protocol.

    Settings that both protocols chose run once. The leaderboard protocol uses one seed.
    """
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
    """Average over the seeds; `spread` is the largest difference of a metric between two seeds."""
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
    """Name the claims: <protocol>_<metric> for the best model, <model>_<protocol>_<metric> for the others."""
    values = {}
    for row in rows:
        for protocol in {"both": PROTOCOLS, "left out": ()}.get(row["protocol"], (row["protocol"],)):
            for metric in (f"recall@{k}", f"ndcg@{k}"):
                prefix = "" if row["model"] == "best" else f"{row['model']}_"
                values[f"{prefix}{protocol}_{metric}"] = row[metric]
    return dict(sorted(values.items(), key=lambda claim: claim[0].split("_")[0] not in PROTOCOLS))


def search_settings(splits: Splits, users: int, only: list[str] | None) -> str:
    """Search for the settings of both protocols, on validation and on test; returns TOML."""
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
