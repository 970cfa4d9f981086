"""Plug-ins as a user writes them, for tests: those that follow their protocol, and those that break it."""

import numpy as np
import torch

from two_tower.losses import LossInputs, mean_of_negatives, weighted_mean
from two_tower.training.callbacks import Callback
from two_tower.training.network.fitted import FeatureEncoder, Fitted, Layer
from two_tower.training.network.layers import Bag
from two_tower.training.sampling import BatchSampler


class HingeLoss:
    """The mean of max(0, s(negative) - s(positive) + margin)."""

    def __init__(self, config):
        self.margin = config.margin

    def __call__(self, inputs: LossInputs):
        violations = (inputs.scores - inputs.positive.unsqueeze(1) + self.margin).clamp(min=0)
        return weighted_mean(mean_of_negatives(violations, inputs.mask, inputs.log_weight), inputs.weight)


class UserLoss(HingeLoss):
    """The same, over the users of the batch."""

    needs_user_scores = True

    def __call__(self, inputs: LossInputs):
        violations = (inputs.user_scores - inputs.positive.unsqueeze(1) + self.margin).clamp(min=0)
        equal = torch.zeros(violations.shape[1])
        return weighted_mean(mean_of_negatives(violations, inputs.user_mask, equal), inputs.weight)


class LossPerUser(HingeLoss):
    def __call__(self, inputs):
        return inputs.scores.sum(dim=1)


class LossOfMasked(HingeLoss):
    def __call__(self, inputs):
        return inputs.scores.mean() - inputs.positive.mean()


class LossOfWeightless(HingeLoss):
    def __call__(self, inputs):
        return -inputs.positive.mean()


class LossNaN(HingeLoss):
    """NaN for a user without a negative."""

    def __call__(self, inputs):
        kept = (~inputs.mask).float()
        return weighted_mean((inputs.scores * kept).sum(dim=1) / kept.sum(dim=1), inputs.weight)


class LossWithoutGradient(HingeLoss):
    def __call__(self, inputs):
        return super().__call__(inputs).detach()


class LossWithWeights(torch.nn.Linear):
    def __init__(self, config):
        super().__init__(1, 1)


class LossWithoutConfig:
    def __call__(self, inputs): ...


class EvenSampler(BatchSampler):
    """The items of the batch, and every fourth item of the catalogue."""

    from_catalogue = True

    def draw(self, batch, user, own):
        return torch.arange(0, batch.items, 4)[self.share[::4] > 0]

    def represented(self, sample):
        return sample.count / (sample.expected + sample.drawn)


class SamplerOutsideTheBatch(EvenSampler):
    from_catalogue = False


class SamplerUnmasked(BatchSampler):
    def candidates(self, batch, user, own):
        found = super().candidates(batch, user, own)
        found.mask.zero_()
        return found


class SamplerUnseeded(EvenSampler):
    def draw(self, batch, user, own):
        return torch.randint(batch.items, (20,), generator=torch.Generator().manual_seed(id(self) % 1000))


class SamplerWithoutRefresh:
    def __init__(self, source, config, random, group): ...

    def candidates(self, batch, user, own): ...

    def remember(self, batch, candidates, embedding): ...


class NewestFirst(Bag):
    """A history of which the last item counts as much as all others."""

    def __init__(self, name, table, max_length):
        super().__init__(name, table)

    def weights(self, ids):
        known = (ids != 0).float()
        last = known * (known.flip(1).cumsum(dim=1).flip(1) == 1).float()
        return known + last * known.sum(dim=1, keepdim=True)


class HistoryOfPositions(NewestFirst):
    """Depends on the padding."""

    def weights(self, ids):
        return (ids != 0).float() * torch.arange(1, ids.shape[1] + 1).flip(0)


class HistoryNotALayer(torch.nn.Module):
    def __init__(self, name, table, max_length):
        super().__init__()


class RankLayer(Layer):
    """The share of the training values below a value."""

    def __init__(self, name, edges):
        super().__init__()
        self.name, self.width = name, 2
        self.register_buffer("edges", torch.tensor(edges), persistent=False)

    def read(self, inputs):
        raw = inputs[self.name].float()
        missing = raw.isnan().float()
        return torch.stack([(raw.unsqueeze(1) >= self.edges).float().mean(dim=1), missing], dim=1)


class RankEncoder(FeatureEncoder):
    def fit(self, feature, values, seconds):
        known = values[np.isfinite(values)]
        return Fitted(feature=feature, learned={"edges": np.quantile(known, [0.25, 0.5, 0.75]).tolist()})

    def layer(self, fitted, table, config):
        return RankLayer(fitted.feature.name, fitted.learned["edges"])


class EncoderOfArrays(RankEncoder):
    def fit(self, feature, values, seconds):
        return Fitted(feature=feature, learned={"edges": values})


class BatchRankLayer(RankLayer):
    def read(self, inputs):
        read = super().read(inputs)
        return read - read.mean(dim=0)


class EncoderOfBatches(RankEncoder):
    def layer(self, fitted, table, config):
        return BatchRankLayer(fitted.feature.name, fitted.learned["edges"])


class EmbeddedTwice(FeatureEncoder):
    """The embedding of a value and its square."""

    lookup = "vocabulary"

    def table_rows(self, fitted):
        return len(fitted.vocabulary) + 1

    def layer(self, fitted, table, config):
        return SquareLayer(fitted.feature.name, table)


class SquareLayer(Layer):
    def __init__(self, name, table):
        super().__init__()
        self.name, self.table, self.width = name, table, 2 * table.embedding_dim

    def embed(self, read):
        embedding = self.table(read)
        return torch.cat([embedding, embedding.square()], dim=1)


class Epochs(Callback):
    """Notes the epochs of all runs."""

    seen: list = []  # noqa: RUF012 - of the class, as the settings name it

    def on_epoch_end(self, metrics):
        self.seen.append(metrics["epoch"])
