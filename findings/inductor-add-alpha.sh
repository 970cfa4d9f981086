#!/usr/bin/env bash
# torch 2.13.0, CPU: torch.compile gives another result than eager for torch.add(input, a @ b, alpha=c).
#
# Behaviour: Inductor's default backend fuses the sum and the matrix product into addmm and loses alpha, so the product
# is added whole. There is no warning. `input + c * (a @ b)` and torch.sub with alpha are compiled correctly.
# Seen with torch 2.13.0 on Linux x86-64 (CPU), Python 3.11, on 2026-11-28; the last lines of the output:
#     torch.add with alpha=0.5: eager 1.5, compiled 3.0
#     written as a sum:         eager 1.5, compiled 1.5
# Needs a C++ compiler. Exits with 1 where the behaviour differs from this description.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet torch==2.13.0 numpy==2.4.6
TORCHINDUCTOR_CACHE_DIR=$folder/cache "$folder/venv/bin/python" - <<'PYTHON'
import sys

import torch

start, left, right = torch.zeros(4, 4), torch.ones(4, 3), torch.ones(3, 4)


def with_alpha(start, left, right):
    return torch.add(start, left @ right, alpha=0.5)


def as_sum(start, left, right):
    return start + 0.5 * (left @ right)


results = {}
for name, function in (("torch.add with alpha=0.5:", with_alpha), ("written as a sum:", as_sum)):
    pair = (function(start, left, right), torch.compile(function)(start, left, right))
    results[name] = tuple(matrix[0, 0].item() for matrix in pair)
print(f"torch {torch.__version__}")
for name, (eager, compiled) in results.items():
    print(f"{name:<25} eager {eager}, compiled {compiled}")
sys.exit(list(results.values()) != [(1.5, 3.0), (1.5, 1.5)])
PYTHON
