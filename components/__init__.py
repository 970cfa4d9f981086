"""One Kubeflow component a file, each a shell over one library call.

The bodies import what they need inside, for each is shipped to its container as source text. No postponed annotations
here: the kfp decorators read the real ones.
"""

from two_tower import __version__

# One image a stage of the Dockerfile. Tags are versions, never `latest`: the image is part of the cache key.
DATA_IMAGE = f"two-tower-data:{__version__}"
TRAIN_IMAGE = f"two-tower-train:{__version__}"
