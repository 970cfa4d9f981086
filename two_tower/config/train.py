"""Settings of the train step."""

from dataclasses import dataclass
from typing import Annotated, Literal

from two_tower.config.fields import Bounds, Choice, Count, Form, NonNegative, Positive, Share
from two_tower.config.section import Section
from two_tower.plugins import PLUGIN, is_reference

LOSSES = ("sampled_softmax", "info_nce", "pointwise", "bpr", "cosine_contrastive", "contrastive", "triplet")
NEGATIVES = ("in_batch", "uniform", "popularity", "mixed", "queue", "hard", "own")
HISTORIES = ("mean", "attention")


@dataclass(frozen=True, kw_only=True)
class TrainConfig(Section):
    """Training: the towers, the loss and the training loop."""

    dim: Count = 64
    """Width of the embeddings that both towers return. The size of the index and the time of a search grow in
    proportion to it. Raise it for large catalogues."""

    feature_dim: Count = 32
    """Width of the embedding table of a categorical feature, unless the feature's `dim` tag sets it; a table with fewer
    values is as wide as it has values. Vector features are projected to this width."""

    hidden: Count = 128
    """Width of the hidden layer of each tower. Raise it if there are many features and enough interactions."""

    dropout: Share = 0.1
    """Share of the hidden layer's outputs that is set to zero in training. Raise it if recall on the validation window
    falls while the training loss still falls."""

    id_dropout: Share = 0.05
    """Share of the values of categorical features that training reads as unknown, so that the towers learn an embedding
    for new users and items. Raise it if many requests come from new users."""

    history: Annotated[str, Choice(*HISTORIES, plugin=True)] = "mean"
    """How a list of item ids becomes one vector. `mean` weights the items by recency; `attention` weights them by
    recency and content. Try `attention` if the histories mix several interests."""

    loss: Annotated[str, Choice(*LOSSES, plugin=True)] = "sampled_softmax"
    """The joint loss of both towers; the page "Losses and negatives" describes each one. Keep the default unless
    another one has a better recall on the validation window; `two-tower tune` compares them."""

    similarity: Literal["cosine", "dot", "euclidean"] = "cosine"
    """Score of a user and an item: cosine, dot product or negative Euclidean distance. The loss `cosine_contrastive`
    needs `cosine`. Use `dot` if the popularity of an item should raise its score."""

    temperature: Positive = 0.1
    """Divisor of the scores in the losses without a margin. A lower value concentrates the loss on the negatives with
    the highest scores. 0.05 to 0.1 suits `cosine`; the scores of `dot` and `euclidean` need a higher one."""

    margin: Positive = 0.5
    """Margin of the losses `contrastive`, `triplet` and `cosine_contrastive`, in units of the distance, for
    `cosine_contrastive` of the cosine. Other losses ignore it. Tune it with the loss: it depends on the similarity."""

    negative_weight: NonNegative = 1.0
    """Weight of the negatives in the loss `cosine_contrastive`. Raise it if unrelated pairs stay too similar. Other
    losses ignore it."""

    mining: Literal["random", "semi_hard", "hard"] = "random"
    """Which negatives the loss `triplet` uses: the mean over all, the nearest one that is farther than the positive, or
    the nearest one. Other losses ignore it. Try `semi_hard` if the loss of `random` is close to 0 after few epochs."""

    negatives: Annotated[str, Choice(*NEGATIVES, plugin=True)] = "in_batch"
    """Where negatives come from: `in_batch` takes the other items of the batch; `uniform` and `popularity` draw from
    all items; `mixed` combines the batch with drawn items, `queue` with items of earlier batches, `hard` with items
    near the user. `own` draws separate negatives for each positive, for the losses `pointwise` and `bpr` only. Try
    `mixed` if most items have few interactions."""

    sampled_negatives: Count = 1024
    """Number of negatives per batch in addition to its own items: drawn, kept in the queue, or mined. With
    `negatives=own` each positive has sampled_negatives / batch_size of them. `in_batch` ignores it. More negatives
    approximate the full softmax better and cost time per step."""

    popularity_exponent: NonNegative = 0.75
    """Exponent of an item's count in the probability of drawing it, for `popularity`, `mixed` and `own`. 0 draws all
    items equally often, 1 in proportion to their count."""

    hard_refresh: Count = 200
    """Steps between two rebuilds of the index from which `negatives=hard` mines. Lower values give harder negatives and
    cost time."""

    batch_size: Annotated[int, Bounds(at_least=2)] = 512
    """Positives per step, over all processes together. The other positives of the batch are its negatives, hence at
    least 2. Larger batches train faster per positive and hold more negatives; raise learning_rate with it."""

    shuffle_window: Count = 8192
    """Greatest distance in time between the positives of a batch, counted in positives. The negatives in the batch then
    are items as they were at about that time, as at serving. A value above the number of training rows shuffles all of
    them."""

    epochs: Count = 30
    """Maximum number of passes over the training rows; early stopping may end before. The schedules `cosine` and
    `linear` reach 0 at the end of the last epoch."""

    patience: Count = 3
    """Number of epochs without a better recall@20 on the validation window after which training stops. Raise it if that
    recall varies much between epochs."""

    learning_rate: Positive = 0.002
    """Step size of AdamW and of the Adam optimiser of sparse tables, before the schedule. Tune it first."""

    schedule: Literal["constant", "cosine", "linear"] = "constant"
    """Course of the learning rate after the warm-up: constant, or falling to 0 with the last epoch."""

    warmup: Annotated[int, Bounds(at_least=0)] = 0
    """Number of steps over which the learning rate rises to its full value. Set some hundred steps if the loss diverges
    at the start."""

    weight_decay: NonNegative = 1e-5
    """Decoupled weight decay of AdamW. Sparse tables have none. Raise it against overfitting."""

    averaging: Share = 0.995
    """Share of the moving average of the weights that each step keeps; early stopping measures the average, and the
    model keeps it. 0 turns averaging off. Sparse tables are not averaged."""

    sparse_rows: Count = 100_000
    """Number of rows from which on an embedding table has sparse gradients: a step then updates only the rows in the
    batch. Lower it if large tables slow the steps down; raise it to compile such a model."""

    stream: Literal["auto", "on", "off"] = "auto"
    """Whether the training rows stay on disk and are trained in shards. `auto` decides by the free memory and logs the
    decision. Rows stream only from a folder, as the train step reads them, not from tables in memory. Set `on` or `off`
    if other processes share the memory and the decision does not suit."""

    stream_megabytes: Count = 2000
    """Megabytes of the streamed training rows that memory holds at a time. Lower it on a machine with little memory; a
    higher value mixes the rows of a batch better."""

    compile: bool = False
    """Whether torch.compile compiles the towers and the loss before the first steps, which takes about half a minute.
    It needs a C++ compiler on a CPU, triton and a C compiler on a GPU. Worthwhile for long runs with large batches."""

    precision: Literal["float32", "bfloat16"] = "float32"
    """Precision of the matrix products of the towers in training. Weights, losses and the optimiser stay float32. Use
    `bfloat16` on a GPU that supports it."""

    checkpoints: str = ""
    """Folder or object storage address (s3://, gs://) of the checkpoints; an interrupted run resumes from the last one.
    Empty: `checkpoints/` in the output folder of `two-tower run`, and in the folder of the releases on a cluster."""

    checkpoint_seconds: NonNegative = 60.0
    """Least time in seconds between two checkpoints within an epoch. The end of each epoch always has one. Raise it if
    writing a checkpoint takes long."""

    callbacks: Annotated[str, Form(PLUGIN, "package.module:Name", separated=True)] = ""
    """Callbacks of the training loop, as `package.module:Name`, separated by commas; each is a class or function that
    takes no arguments. The page "Extending" describes them."""

    mlflow: str = ""
    """Address of an MLflow tracking server that receives the settings and the metrics. Empty: none. TensorBoard's files
    are always written."""

    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Device of the training. `auto` takes a GPU if there is one; `cuda` without a GPU is an error. Set `cpu` on a
    cluster without GPUs, together with accelerators=0."""

    seed: Annotated[int, Bounds(at_least=0, at_most=2**32 - 1)] = 0
    """Seed of the weights, the order of the rows and the drawn negatives. On a CPU, equal seeds give equal models.
    Change it to see how much the metrics vary by chance."""

    def check(self) -> None:
        if self.loss == "cosine_contrastive":
            allowed = "cosine, which the loss cosine_contrastive needs"
            self.require(self.similarity == "cosine", "similarity", allowed)
        if self.negatives == "own":
            allowed = "pointwise, bpr or a plug-in, for negatives=own"
            self.require(self.loss in ("pointwise", "bpr") or is_reference(self.loss), "loss", allowed)
