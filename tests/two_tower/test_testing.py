"""The contract tests pass for every built-in and for a user's own, and name what a broken one does."""

import re

import pytest

from tests.two_tower import plugged
from two_tower.config import TrainConfig
from two_tower.errors import InputError
from two_tower.losses import LOSSES
from two_tower.schema import ENCODINGS, Dtype
from two_tower.testing import check_encoder, check_history, check_loss, check_negatives
from two_tower.training.network.layers import HISTORIES
from two_tower.training.sampling import NEGATIVES


@pytest.mark.parametrize("loss", [*LOSSES, plugged.HingeLoss, plugged.UserLoss, "tests.two_tower.plugged:HingeLoss"])
def test_losses_that_follow_the_protocol(loss):
    check_loss(loss)


@pytest.mark.parametrize(
    ("loss", "rule"),
    [
        (plugged.LossPerUser, "returns torch.float32 (5,), not a scalar"),
        (plugged.LossOfMasked, "the score of a masked negative changes it"),
        (plugged.LossOfWeightless, "a positive of weight 0 changes it"),
        (plugged.LossNaN, "NaN or infinite"),
        (plugged.LossWithoutGradient, "has no gradient"),
        (plugged.LossWithWeights, "it has parameters"),
        (plugged.LossWithoutConfig, "cannot be called with (config)"),
        (lambda config: 3, "it returns int"),
    ],
)
def test_a_loss_that_breaks_the_protocol_is_told_how(loss, rule):
    with pytest.raises(InputError, match=rf"loss=.*{re.escape(rule)}"):
        check_loss(loss)


@pytest.mark.parametrize("negatives", [*NEGATIVES, plugged.EvenSampler])
def test_samplers_that_follow_the_protocol(negatives):
    check_negatives(negatives)


@pytest.mark.parametrize(
    ("negatives", "rule"),
    [
        (plugged.SamplerOutsideTheBatch, "from_catalogue is False"),
        (plugged.SamplerUnmasked, "it does not mask an item that the user interacted with"),
        (plugged.SamplerWithoutRefresh, "it has no method refresh"),
        (plugged.HingeLoss, "cannot be called with (source, config, random, group)"),
    ],
)
def test_a_sampler_that_breaks_the_protocol_is_told_how(negatives, rule):
    with pytest.raises(InputError, match=rf"negatives=.*{re.escape(rule)}"):
        check_negatives(negatives)


@pytest.mark.parametrize("history", [*HISTORIES, plugged.NewestFirst])
def test_histories_that_follow_the_protocol(history):
    check_history(history)


@pytest.mark.parametrize(
    ("history", "rule"),
    [
        (plugged.HistoryOfPositions, "padding with 0 on the right changes the result"),
        (plugged.HistoryNotALayer, "is not a Layer"),
    ],
)
def test_a_history_that_breaks_the_protocol_is_told_how(history, rule):
    with pytest.raises(InputError, match=rf"history=.*{rule}"):
        check_history(history)


@pytest.mark.slow
@pytest.mark.parametrize(("dtype", "encoding"), [(dtype, e) for dtype in Dtype for e in ENCODINGS[dtype]])
def test_encoders_that_follow_the_protocol(dtype, encoding):
    if encoding != "age":  # which takes the time of the event too
        check_encoder(str(encoding), dtype)


@pytest.mark.parametrize(
    ("encoding", "dtype"), [(plugged.RankEncoder, "Float32"), (plugged.EmbeddedTwice, "String"), ("numeric", "Int64")]
)
def test_encoders_of_a_user_follow_the_protocol(encoding, dtype):
    check_encoder(encoding, dtype)


@pytest.mark.parametrize(
    ("encoding", "dtype", "rule"),
    [
        (plugged.EncoderOfArrays, "Float32", "cannot be written as JSON"),
        (plugged.EncoderOfBatches, "Float32", "`read` depends on other rows"),
        (plugged.RankEncoder, "String", "needs a look-up for the dtype String"),
        (plugged.EmbeddedTwice, "Float32", "has a look-up, which the dtype Float32 does not support"),
    ],
)
def test_an_encoder_that_breaks_the_protocol_is_told_how(encoding, dtype, rule):
    with pytest.raises(InputError, match=rf"plugged:{encoding.__name__}.*{rule}"):
        check_encoder(encoding, dtype)


def test_a_class_inside_a_function_has_no_name_to_be_imported_by():
    class Local(plugged.NewestFirst): ...

    with pytest.raises(InputError, match="cannot be imported by a name"):
        check_history(Local)


def test_the_settings_name_the_same_built_ins():
    for name, registry in (("loss", LOSSES), ("negatives", NEGATIVES), ("history", HISTORIES)):
        with pytest.raises(InputError) as error:
            TrainConfig(**{name: "none such"})
        allowed = str(error.value).split("Allowed: ")[1].rstrip(".").replace(" or ", ", ").split(", ")
        assert set(allowed) == {*registry, "package.module:Name"}
