from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import nn

from mechscope.core import BadDataError, UsageError
from mechscope.models import Batch, ComponentMap
from mechscope.models.losses import model_loss

Bare = Callable[[str], nn.Module]
GENERATOR = torch.Generator().manual_seed(0)


def test_causal_loss_is_that_of_each_predicted_token_in_row_order() -> None:
    batch = Batch.from_rows([[1, 2, 3], [4, 0], [2]], side="left")
    logits = torch.randn(3, 3, 5, generator=GENERATOR)
    log_probabilities = logits.log_softmax(dim=-1)
    told = [-log_probabilities[0, 0, 2], -log_probabilities[0, 1, 3], -log_probabilities[1, 1, 0]]
    seen = model_loss(ComponentMap(kind="causal_lm", blocks="x"), batch, logits)
    torch.testing.assert_close(seen, torch.stack(told))


def test_masked_loss_follows_the_labels() -> None:
    ids = torch.tensor([[1, 2, 3]])
    batch = Batch(ids, torch.ones_like(ids), {"labels": torch.tensor([[-100, 4, -100]])})
    logits = torch.randn(1, 3, 5, generator=GENERATOR)
    masked = ComponentMap(kind="masked_lm", blocks="x")
    torch.testing.assert_close(model_loss(masked, batch, logits), -logits.log_softmax(dim=-1)[0, 1, 4:5])
    with pytest.raises(UsageError, match="with no labels"):
        model_loss(masked, Batch(ids, torch.ones_like(ids)), logits)


def test_the_loss_of_an_encoder_decoder_is_that_of_its_decoders_labels() -> None:
    ids = torch.tensor([[1, 2, 3], [4, 0, 0]])
    labels = torch.tensor([[4, -100], [1, 2]])
    extra = {
        "decoder_input_ids": torch.tensor([[0, 4], [0, 1]]),
        "decoder_attention_mask": torch.tensor([[1, 1], [1, 0]]),
        "labels": labels,
    }
    batch = Batch(ids, (ids != 0).long(), extra)
    logits = torch.randn(2, 2, 5, generator=GENERATOR)
    seq2seq = ComponentMap(kind="seq2seq_lm", blocks="x")
    log_probabilities = logits.log_softmax(dim=-1)
    told = torch.stack([-log_probabilities[0, 0, 4], -log_probabilities[1, 0, 1]])  # the label in the padding is not
    torch.testing.assert_close(model_loss(seq2seq, batch, logits), told)
    with pytest.raises(UsageError, match=r"labels of shape \[2, 3\]"):
        model_loss(seq2seq, Batch(ids, (ids != 0).long(), {**extra, "labels": ids}), logits)
    with pytest.raises(UsageError, match="without tokens for the decoder"):
        model_loss(seq2seq, Batch(ids, (ids != 0).long(), {"labels": labels}), logits)


def test_the_loss_of_a_classifier_is_one_number_a_row() -> None:
    batch = Batch.from_values({"pixel_values": torch.zeros(3, 1, 2, 2)})
    logits = torch.randn(3, 4, generator=GENERATOR)
    classifier = ComponentMap(kind="classifier", blocks="x")

    def loss(labels: list[int]) -> torch.Tensor:
        named = {**batch.extra, "labels": torch.tensor(labels)}
        return model_loss(classifier, Batch(batch.input_ids, batch.attention_mask, named), logits)

    told = -torch.stack([logits.log_softmax(dim=-1)[row, label] for row, label in enumerate([3, 0, 2])])
    torch.testing.assert_close(loss([3, 0, 2]), told)
    for wrong in ([3, 0, 4], [-100, 0, 1]):
        with pytest.raises(BadDataError, match="labels in"):
            loss(wrong)
    with pytest.raises(UsageError, match="with no labels"):
        model_loss(classifier, batch, logits)


def test_set_loss_is_the_mean_over_the_vocabulary_less_what_is_left_out() -> None:
    ids = torch.tensor([[1, 2], [3, 0]])
    targets = torch.tensor([[1.0, 0.0, 1.0], [0.0, 0.0, 1.0]])
    batch = Batch(ids, torch.ones_like(ids), targets=targets)
    logits = torch.randn(2, 3, generator=GENERATOR)
    chance = logits.sigmoid()
    told = -(targets * chance.log() + (1 - targets) * (1 - chance).log())
    torch.testing.assert_close(model_loss(ComponentMap(kind="set", blocks="x"), batch, logits), told.mean(dim=1))
    fewer = ComponentMap(kind="set", blocks="x", loss_excluded_ids=(2,))
    torch.testing.assert_close(model_loss(fewer, batch, logits), told[:, :2].mean(dim=1))
    with pytest.raises(UsageError, match="targets of shape None"):
        model_loss(fewer, Batch(ids, torch.ones_like(ids)), logits)


def test_a_module_of_unknown_kind_has_no_loss() -> None:
    ids = torch.tensor([[1]])
    with pytest.raises(UsageError, match="set 'kind'"):
        model_loss(ComponentMap(blocks="x"), Batch(ids, torch.ones_like(ids)), torch.zeros(1, 1, 2))
