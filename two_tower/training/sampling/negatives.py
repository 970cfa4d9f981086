"""Which items are a batch's negatives, and how many items of the catalogue each of them stands for.

An item that a batch holds several times is encoded once, as it was at the earliest of its positives there. Whatever
the sampler, an item that its user has taken, before or in this batch, is masked: such accidental hits are no negatives.
"""

import math
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from two_tower.config import TrainConfig
from two_tower.losses import similarity
from two_tower.training.distributed import Ranks
from two_tower.training.network.towers import TwoTower
from two_tower.training.sampling.batches import Batch, Positives, Source

NEAREST = 50  # the hard negatives of a user are drawn from so many of the nearest items not taken
BLOCK = 65_536  # items encoded at a time
NONE = float("-inf")


@dataclass(frozen=True)
class Candidates:
    """The items that a batch's users are scored with: their positives and the negatives.

    item: codes; rows: positives whose item columns are read, [encoded], of the first candidates.
    stored: embeddings of the other candidates, which get no gradient, [candidates - encoded, dim].
    target: [batch], the candidate that is each user's positive.
    log_weight, mask: [negatives] and [batch, negatives], of the last candidates; see `losses.joint_loss`.
    own: of negatives that are each user's own, the candidates that they are, [batch, negatives].
    """

    item: Tensor
    rows: Tensor
    target: Tensor
    log_weight: Tensor
    mask: Tensor
    stored: Tensor | None = None
    own: Tensor | None = None


class Negatives:
    """Draws candidates by `config.negatives`, one of these.

    in_batch: the other users' positives, as likely as their share of the positives of that time.
    uniform, popularity: items of the training rows, drawn alike, or by (count of positives) ** popularity_exponent.
    mixed: those of the batch and as many drawn by popularity as `sampled_negatives` says (Yang et al., "Mixed Negative
        Sampling for Learning Two-tower Neural Networks in Recommendations", WWW 2020, with the exponent 0).
    queue: those of the batch and the embeddings of the batches before it (Wang et al., "Cross-Batch Negative Sampling
        for Training Two-Tower Recommenders", SIGIR 2021).
    hard: those of the batch and, for each user, items near to it, mined from an index of all items that is made anew
        every `hard_refresh` steps (Xiong et al., "Approximate Nearest Neighbor Negative Contrastive Learning for Dense
        Text Retrieval", ICLR 2021). Each stands for itself alone.
    own: `sampled_negatives` / `batch_size` for each positive alone, drawn as those of popularity. Each stands for
        itself alone (He et al., "Neural Collaborative Filtering", WWW 2017).
    """

    positives: Positives  # those that the next batch is of

    def __init__(
        self,
        source: Source,
        config: TrainConfig,
        random: torch.Generator,
        ranks: Ranks = Ranks(),  # noqa: B008 - frozen
    ) -> None:
        """random: of the CPU and alike on all ranks, so that the draws are the same on every device and every rank."""
        self.config, self.random, self.ranks = config, random, ranks
        count = source.count.double()
        exponent = 0.0 if config.negatives == "uniform" else config.popularity_exponent
        share = torch.where(count > 0, count**exponent, 0.0)
        self.share = (share / share.sum()).float()
        self.cumulated = share.cumsum(0) / share.sum()
        self.state: dict[str, Tensor] = {}  # what a checkpoint keeps: the queue, or the index

    def candidates(self, batch: Batch, user: Tensor, own: slice) -> Candidates:
        """user: embeddings of the rows `own` of the batch, [own, dim], near to which hard ones are mined.

        `target` and `mask` of what is found are those of these rows; the candidates are the whole batch's.
        """
        if self.config.negatives == "own":
            return self._own(batch, own)
        drawn = self._drawn(batch, user.detach(), own)
        item, place, count = torch.unique(torch.cat([batch.item, drawn]), return_inverse=True, return_counts=True)
        elsewhere = place[len(batch) :]
        others = torch.zeros_like(item).scatter_add_(0, elsewhere, torch.ones_like(elsewhere))
        if self.config.negatives in ("uniform", "popularity"):  # the items of the batch that were not drawn come first
            order = (others > 0).int().argsort(stable=True)
            item, others, place = item[order], others[order], order.argsort()[place]
        target = place[: len(batch)]
        rows = self._rows(batch, item, target)
        draws, q = len(batch) - 1, self.positives.log_q[rows].exp()
        match self.config.negatives:
            case "uniform" | "popularity":
                weight = (others / (len(drawn) * self.share[item]))[others > 0]
            case "mixed":
                weight = count / (draws * q + len(drawn) * self.share[item])
            case "hard":
                weight = (count - others) / (draws * q) + others.clamp(max=1)
            case _:
                weight = count / (draws * q)
        mask = batch.mask(item[len(item) - len(weight) :], own)
        found = Candidates(item, rows, target[own], weight.log(), mask)
        return self._with_queue(batch, found, own) if self.state and self.config.negatives == "queue" else found

    def _drawn(self, batch: Batch, user: Tensor, own: slice) -> Tensor:
        """Codes of items from outside the batch, each as often as it was drawn."""
        match self.config.negatives:
            case "in_batch" | "queue":
                return batch.item[:0]
            case "hard":
                return self._mined(batch, user, own)
            case _:
                return self._draws(self.config.sampled_negatives)

    def _draws(self, *shape: int) -> Tensor:
        """Codes of items by their shares."""
        uniform = torch.rand(shape, generator=self.random, dtype=torch.float64)
        drawn = torch.searchsorted(self.cumulated, uniform.to(self.cumulated.device, non_blocking=True), right=True)
        return drawn.clamp(max=len(self.cumulated) - 1)

    def _own(self, batch: Batch, own: slice) -> Candidates:
        each = max(1, self.config.sampled_negatives // self.config.batch_size)
        drawn = self._draws(len(batch), each)
        item, place = torch.unique(torch.cat([batch.item, drawn.flatten()]), return_inverse=True)
        target, places = place[: len(batch)], place[len(batch) :].view(drawn.shape)
        even = torch.zeros(each, device=item.device)
        rows = self._rows(batch, item, target)
        return Candidates(item, rows, target[own], even, batch.taken(drawn, own), own=places[own])

    def _mined(self, batch: Batch, user: Tensor, own: slice) -> Tensor:
        """Each rank mines for its own users, and all are told what was found."""
        scores = similarity(user, self.state["index"], self.config.similarity)
        scores[:, self.share == 0] = NONE  # items without a positive, of which nothing is known
        here = (batch.pair_row >= own.start) & (batch.pair_row < own.stop)
        scores[batch.pair_row[here] - own.start, batch.pair_item[here]] = NONE
        near = scores.topk(min(NEAREST, scores.shape[1]), dim=1, sorted=False)
        item, order = near.indices.sort(dim=1)  # so that a last bit, which swaps neighbours, does not change the draw
        each = math.ceil(self.config.sampled_negatives / len(batch))
        place = torch.randint(item.shape[1], (len(batch), each), generator=self.random)[own].to(user.device)
        there = near.values.gather(1, order.gather(1, place)) > NONE
        drawn = self.ranks.joined(torch.where(there, item.gather(1, place), -1), len(batch))
        return drawn[drawn >= 0]

    def _rows(self, batch: Batch, item: Tensor, target: Tensor) -> Tensor:
        """The earliest positive in the batch of each item; for an item from elsewhere, its last one before them."""
        beyond, own = len(self.positives.item), batch.rows + self.positives.before
        rows = torch.full_like(item, beyond).scatter_reduce(0, target, own, "amin")
        if self.config.negatives in ("in_batch", "queue"):  # none is from elsewhere
            return rows
        return torch.where(rows < beyond, rows, self.positives.by_item.last(item, own.min()))

    def _with_queue(self, batch: Batch, found: Candidates, own: slice) -> Candidates:
        """All draws, those of this batch and the earlier ones', count as one sample."""
        queued = self.state
        drawn, earlier = len(batch) - 1, queued["draws"].sum()
        distinct, place = torch.unique(queued["item"], return_inverse=True)
        mask = torch.cat([found.mask, batch.mask(distinct, own)[:, place]], dim=1)
        log_weight = torch.cat([found.log_weight + math.log(drawn), queued["log_weight"]]) - (drawn + earlier).log()
        return replace(found, log_weight=log_weight, mask=mask, stored=queued["embedding"])

    def remember(self, batch: Batch, found: Candidates, embedding: Tensor) -> None:
        """Put what the batch encoded, `embedding` [candidates of the batch, dim], at the head of the queue."""
        if self.config.negatives != "queue":
            return
        draws = torch.unique(batch.item, return_counts=True)[1].float()
        new = {
            "item": found.item,
            "embedding": embedding.detach(),
            "draws": draws,
            "log_weight": draws.log() - self.positives.log_q[found.rows],  # of a sample of one draw
        }
        kept = self.config.sampled_negatives
        self.state = {k: (torch.cat([v, self.state[k]]) if self.state else v)[:kept] for k, v in new.items()}

    @torch.no_grad()
    def refresh(self, network: TwoTower, step: int) -> None:
        """Make the index of all items anew where it is time to, each as it was at its last positive.

        Each rank encodes its part, so that all search among the same bits.
        """
        if self.config.negatives != "hard" or step % self.config.hard_refresh:
            return
        network.eval()
        every = torch.arange(self.positives.items, device=self.share.device)
        rows = self.positives.by_item.last(every, torch.tensor(len(self.positives.item), device=every.device))
        blocks = torch.split(self.ranks.padded(rows), BLOCK)
        own = torch.cat([network.item.embed(self.positives.item_columns.take(block)) for block in blocks])
        self.state = {"index": self.ranks.gathered(own, len(rows))}
