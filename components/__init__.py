"""Kubeflow components: one per file, each a thin wrapper of one library call.

Kubeflow copies the body of a component to its container as source code, so the imports are inside the body. These files
do not use `from __future__ import annotations`: the kfp decorators need the real annotations.
"""

from two_tower import __version__

# One image per stage of the Dockerfile. The tags are versions, never `latest`: the image is part of the cache key.
DATA_IMAGE = f"two-tower-data:{__version__}"
TRAIN_IMAGE = f"two-tower-train:{__version__}"
SERVING_IMAGE = f"two-tower-serving:{__version__}"
