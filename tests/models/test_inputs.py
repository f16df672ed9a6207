from __future__ import annotations

from types import SimpleNamespace
from typing import Any, Literal

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import pad

from mechscope.core import BadDataError, UsageError
from mechscope.models import Batch, ComponentMap
from mechscope.models.inputs import ForwardSignature

PLAIN = ComponentMap(blocks="x")
TABLE = ComponentMap(blocks="x", max_positions=3, padding_takes_positions=True)
ENCODER_DECODER = ComponentMap(blocks="x", max_positions=4, encoder=ComponentMap(blocks="y", max_positions=3))
IMAGES = ComponentMap(blocks="x", value_inputs={"pixel_values": (1, 2, 2)})
TOKENS = torch.tensor([[1, 2, 3], [4, 5, 6]])


class Masked(nn.Module):
    def forward(self, input_ids: Tensor, attention_mask: Tensor, position_ids: Tensor | None = None) -> Tensor:
        raise NotImplementedError


class Translator(nn.Module):
    def forward(
        self,
        input_ids: Tensor,
        attention_mask: Tensor,
        decoder_input_ids: Tensor,
        decoder_attention_mask: Tensor | None = None,
        labels: Tensor | None = None,
        position_ids: Tensor | None = None,
    ) -> Tensor:
        raise NotImplementedError


class Classifier(nn.Module):
    def forward(self, pixel_values: Tensor, attention_mask: Tensor | None = None, labels: Any = None) -> Tensor:
        raise NotImplementedError


def translated(**extra: Tensor) -> Batch:
    return Batch(TOKENS, torch.ones_like(TOKENS), {"decoder_input_ids": TOKENS[:, :2], **extra})


def test_an_encoder_decoder_gets_both_sides_and_no_positions_or_labels() -> None:
    signature = ForwardSignature(Translator(), ENCODER_DECODER)
    batch = translated(labels=TOKENS[:, :2], decoder_attention_mask=torch.ones(2, 2, dtype=torch.int64))
    signature.check(batch, n_ids=7)
    arguments = signature.arguments(batch)
    assert list(arguments) == ["input_ids", "attention_mask", "decoder_input_ids", "decoder_attention_mask"]
    assert torch.equal(arguments["decoder_input_ids"], TOKENS[:, :2])


def test_an_encoder_decoders_batch_is_held_against_both_sides() -> None:
    signature = ForwardSignature(Translator(), ENCODER_DECODER)
    with pytest.raises(UsageError, match=r"'decoder_input_ids' \[batch pos2\].*nothing is shifted"):
        signature.check(Batch(TOKENS, torch.ones_like(TOKENS)), n_ids=7)
    with pytest.raises(BadDataError, match=r"token ids in 1\.\.9"):
        signature.check(translated(decoder_input_ids=TOKENS + 3 * (TOKENS == 6)), n_ids=7)
    with pytest.raises(UsageError, match=r"row of 5 tokens\nexpected: at most 4"):
        signature.check(translated(decoder_input_ids=torch.ones(2, 5, dtype=torch.int64)), n_ids=7)
    with pytest.raises(UsageError, match=r"row of 4 tokens\nexpected: at most 3"):
        longer = torch.ones(2, 4, dtype=torch.int64)
        signature.check(Batch(longer, longer, {"decoder_input_ids": TOKENS}), n_ids=7)


def test_a_model_of_values_gets_them_and_nothing_of_the_placeholders() -> None:
    signature = ForwardSignature(Classifier(), IMAGES)
    images = torch.zeros(2, 1, 2, 2)
    batch = Batch.from_values({"pixel_values": images})
    labelled = Batch(batch.input_ids, batch.attention_mask, {**batch.extra, "labels": torch.zeros(2)})
    signature.check(labelled, n_ids=1)
    assert list(signature.arguments(labelled)) == ["pixel_values"]
    assert not signature.takes_mask
    assert not signature.takes_positions


@pytest.mark.parametrize(
    ("values", "error", "seen"),
    [
        (torch.zeros(2, 1, 2, 3), UsageError, r"\(2, 1, 2, 3\).*\nexpected: .*\(batch, 1, 2, 2\)"),
        (torch.zeros(2, 1, 2, 2, dtype=torch.int64), UsageError, "int64"),
    ],
)
def test_values_that_do_not_fit_are_refused(values: Tensor, error: type[Exception], seen: str) -> None:
    with pytest.raises(error, match=seen):
        ForwardSignature(Classifier(), IMAGES).check(Batch.from_values({"pixel_values": values}), n_ids=1)


def test_tokens_for_a_model_of_values_and_the_reverse_are_refused() -> None:
    with pytest.raises(UsageError, match=r"Batch\.from_values"):
        ForwardSignature(Classifier(), IMAGES).check(Batch.from_rows([[0]]), n_ids=1)
    with pytest.raises(UsageError, match="remove 'pixel_values'"):
        ForwardSignature(Masked(), PLAIN).check(Batch.from_values({"pixel_values": torch.zeros(2, 1, 2, 2)}), n_ids=1)


def test_a_map_with_inputs_that_forward_does_not_take_is_refused() -> None:
    with pytest.raises(UsageError, match="Masked takes no 'pixel_values'"):
        ForwardSignature(Masked(), IMAGES)
    with pytest.raises(UsageError, match="Masked takes no 'decoder_input_ids'"):
        ForwardSignature(Masked(), ENCODER_DECODER)


class Swallowing(nn.Module):
    def forward(self, *args: Tensor, **kwargs: Tensor) -> Tensor:
        raise NotImplementedError


class Half(nn.Module):
    def forward(self, tokens: Tensor, **kwargs: Tensor) -> Tensor:
        raise NotImplementedError


def test_a_forward_that_names_no_input_is_refused() -> None:
    with pytest.raises(
        UsageError, match=r"(?s)Swallowing names no input: forward\(\*args.*, \*\*kwargs.*wrap the module"
    ):
        ForwardSignature(Swallowing(), PLAIN)
    signature = ForwardSignature(Half(), PLAIN)
    assert signature.names == {"tokens"}
    assert list(signature.arguments(Batch.from_rows([[1, 2]]))) == [""]


@pytest.mark.parametrize("shape", [(1, -2, 2), (0,)])
def test_impossible_shapes_of_values_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(UsageError, match="value_inputs 'pixel_values' of shape"):
        ForwardSignature(Classifier(), ComponentMap(blocks="x", value_inputs={"pixel_values": shape}))


def test_padded_places_hold_the_pad_id_where_the_model_counts_positions_by_itself() -> None:
    module = Masked()
    module.config = SimpleNamespace(pad_token_id=9)  # type: ignore[assignment]
    batch = Batch.from_rows([[1, 2, 3], [4]], pad_id=7, side="left")
    signature = ForwardSignature(module, PLAIN)
    assert signature.arguments(batch)["input_ids"] is batch.input_ids
    own = signature.arguments(batch, with_positions=False)
    assert own["input_ids"].tolist() == [[1, 2, 3], [9, 9, 4]]
    assert "position_ids" not in own


@pytest.mark.parametrize("side", ["left", "right"])
def test_padding_takes_positions_only_where_the_map_says_so(side: Literal["left", "right"]) -> None:
    wide = Batch(pad(TOKENS, (1, 1)), pad(torch.ones_like(TOKENS), (1, 1)))
    assert wide.input_ids.shape == (2, 5)
    ForwardSignature(Masked(), TABLE.updated(padding_takes_positions=False)).check(wide, n_ids=7)
    signature = ForwardSignature(Masked(), TABLE)
    signature.check(Batch.from_rows([[1, 2, 3], [4]], side=side), n_ids=7)
    with pytest.raises(UsageError, match="a batch of 5 columns, padding included\nexpected: at most 3") as caught:
        signature.check(wide, n_ids=7)
    assert "like length" in caught.value.todo
