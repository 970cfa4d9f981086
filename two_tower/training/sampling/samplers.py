"""The built-in samplers that draw negatives from the catalogue or keep those of earlier batches."""

import math
from dataclasses import replace

import torch
from torch import Tensor

from two_tower.losses import similarity
from two_tower.training.network.towers import TwoTower
from two_tower.training.sampling.batches import Batch
from two_tower.training.sampling.negatives import NEGATIVES, BatchSampler, Candidates, Sample

NEAREST = 50  # hard negatives of a user are drawn from this many of its most similar items
BLOCK = 65_536  # items encoded at a time
NONE = float("-inf")


@NEGATIVES.register("popularity")
class PopularitySampler(BatchSampler):
    """`sampled_negatives` items of the catalogue, drawn by (count of positives) ** popularity_exponent."""

    from_catalogue = True
    uses_batch = False

    def draw(self, batch: Batch, user: Tensor, own: slice) -> Tensor:
        return self.sample(self.config.sampled_negatives)

    def represented(self, sample: Sample) -> Tensor:
        return (sample.drawn / (sample.draws * self.share[sample.item]))[sample.drawn > 0]


@NEGATIVES.register("uniform")
class UniformSampler(PopularitySampler):
    """`sampled_negatives` items of the catalogue, all equally likely."""

    def exponent(self) -> float:
        return 0.0


@NEGATIVES.register("mixed")
class MixedSampler(BatchSampler):
    """The items of the batch and `sampled_negatives` items drawn by popularity.

    Source: Yang et al., "Mixed Negative Sampling for Learning Two-tower Neural Networks in Recommendations", WWW 2020,
    with the exponent 0.
    """

    from_catalogue = True

    def draw(self, batch: Batch, user: Tensor, own: slice) -> Tensor:
        return self.sample(self.config.sampled_negatives)

    def represented(self, sample: Sample) -> Tensor:
        return sample.count / (sample.expected + sample.draws * self.share[sample.item])


@NEGATIVES.register("queue")
class QueueSampler(BatchSampler):
    """The items of the batch, and the embeddings of the newest `sampled_negatives` items of earlier batches.

    The embeddings come from the moving average of the weights, without dropout. Those of the trained weights move so
    far in `sampled_negatives` items that the scores with them teach nothing.

    Source: Wang et al., "Cross-Batch Negative Sampling for Training Two-Tower Recommenders", SIGIR 2021.
    """

    def candidates(self, batch: Batch, user: Tensor, own: slice) -> Candidates:
        """Count the draws of this batch and of the earlier ones as one sample."""
        candidates, queue = super().candidates(batch, user, own), self.state
        if not queue:
            return candidates
        draws, earlier = batch.draws, queue["draws"].sum()
        distinct, place = torch.unique(queue["item"], return_inverse=True)
        mask = torch.cat([candidates.mask, batch.mask(distinct, own)[:, place]], dim=1)
        log_weight = torch.cat([candidates.log_weight + math.log(draws), queue["log_weight"]])
        log_weight = log_weight - (draws + earlier).log()
        return replace(candidates, log_weight=log_weight, mask=mask, stored=queue["embedding"])

    def refresh(self, network: TwoTower, step: int) -> None:
        """Keep the network whose embeddings are stored."""
        self.network = network.eval()

    @torch.no_grad()
    def remember(self, batch: Batch, candidates: Candidates, embedding: Tensor) -> None:
        """Put the items of the batch at the head of the queue; each process embeds a part of them."""
        part = self.network.item.embed(self.positives.item_columns.take(self.group.padded_share(candidates.rows)))
        draws = torch.unique(batch.item, return_counts=True)[1].float()
        new = {
            "item": candidates.item,
            "embedding": self.group.gather_padded(part, len(candidates.rows)),
            "draws": draws,
            "log_weight": draws.log() - self.positives.log_q[candidates.rows],  # of a sample of one draw
        }
        size = self.config.sampled_negatives
        self.state = {k: (torch.cat([v, self.state[k]]) if self.state else v)[:size] for k, v in new.items()}


@NEGATIVES.register("hard")
class HardSampler(BatchSampler):
    """The items of the batch and, for each user, items with a high score from an index of all items.

    The index is rebuilt every `hard_refresh` steps. Each mined item stands for itself alone.

    Source: Xiong et al., "Approximate Nearest Neighbor Negative Contrastive Learning for Dense Text Retrieval", ICLR
    2021.
    """

    from_catalogue = True

    def draw(self, batch: Batch, user: Tensor, own: slice) -> Tensor:
        """Mine for the users of this process, and gather what all processes found."""
        scores = similarity(user, self.state["index"], self.config.similarity)
        scores[:, self.share == 0] = NONE  # an item without positives has no row to encode
        here = (batch.pair_row >= own.start) & (batch.pair_row < own.stop)
        scores[batch.pair_row[here] - own.start, batch.pair_item[here]] = NONE
        best = scores.topk(min(NEAREST, scores.shape[1]), dim=1, sorted=False)
        item, order = best.indices.sort(dim=1)  # so that a last bit, which swaps neighbours, does not change the draw
        each = math.ceil(self.config.sampled_negatives / len(batch))
        place = torch.randint(item.shape[1], (len(batch), each), generator=self.random)[own].to(user.device)
        allowed = best.values.gather(1, order.gather(1, place)) > NONE
        drawn = self.group.gather_shares(torch.where(allowed, item.gather(1, place), -1), len(batch))
        return drawn[drawn >= 0]

    def represented(self, sample: Sample) -> Tensor:
        return (sample.count - sample.drawn) / sample.expected + sample.drawn.clamp(max=1)

    @torch.no_grad()
    def refresh(self, network: TwoTower, step: int) -> None:
        """Rebuild the index every `hard_refresh` steps, from each item as it was at its last positive.

        Each process encodes a part, so that all search the same bits.
        """
        if step % self.config.hard_refresh:
            return
        network.eval()
        codes = torch.arange(self.positives.items, device=self.share.device)
        rows = self.positives.by_item.last(codes, torch.tensor(len(self.positives.item), device=codes.device))
        blocks = torch.split(self.group.padded_share(rows), BLOCK)
        part = torch.cat([network.item.embed(self.positives.item_columns.take(block)) for block in blocks])
        self.state = {"index": self.group.gather_padded(part, len(rows))}


@NEGATIVES.register("own")
class OwnSampler(BatchSampler):
    """`sampled_negatives` / `batch_size` items for each positive alone, drawn by popularity.

    Each stands for itself alone.

    Source: He et al., "Neural Collaborative Filtering", WWW 2017.
    """

    from_catalogue = True

    def candidates(self, batch: Batch, user: Tensor, own: slice) -> Candidates:
        each = max(1, self.config.sampled_negatives // self.config.batch_size)
        drawn = self.sample(len(batch), each)
        item, place = torch.unique(torch.cat([batch.item, drawn.flatten()]), return_inverse=True)
        target, places = place[: len(batch)], place[len(batch) :].view(drawn.shape)
        equal = torch.zeros(each, device=item.device)
        rows = self.rows(batch, item, target)
        return Candidates(item, rows, target[own], equal, batch.seen(drawn, own), own=places[own])
