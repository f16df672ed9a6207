from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import pad

from mechscope.core import BadDataError, LayerComponent, UsageError
from mechscope.models import Batch, Edit, Model, Sampling
from mechscope.models.positions import from_left
from mechscope.testing.zoo import DECODERS

Bare = Callable[[str], nn.Module]
FAMILIES = ["gpt2", "gpt_neox", "llama"]
PROMPTS = [[1, 2, 3, 4, 5], [6, 7, 8]]


def at(kind: str, layer: int | None = None) -> LayerComponent:
    return LayerComponent(kind=kind, layer=layer)


def prompts() -> Batch:
    return Batch.from_rows(PROMPTS, side="left")


def steer(scope: str = "all", size: float = 8.0) -> Edit:
    direction = torch.linspace(-1, 1, 32).sin() * size
    return Edit(at("resid_post", 1), lambda value, batch: value + direction, scope=scope)  # type: ignore[arg-type]


def step_by_step(model: Model, n_new: int, edit: Edit | None, *, last_prompt: int | None = None) -> list[list[int]]:
    """Slow version: each row alone, the whole sequence through the model for every token, no cache."""
    rows = []
    for row in PROMPTS:
        tokens = list(row)
        for _ in range(n_new):
            edits = [] if edit is None else [Edit(edit.site, edit.apply, at=Among(len(row), edit.scope))]
            logits = model.logits(Batch.from_rows([tokens]), edits=edits)
            tokens.append(int(logits[0, -1].argmax()))
        rows.append(tokens[len(row) :])
    return rows


class Among:
    """The prompt's positions, those behind it, or all."""

    def __init__(self, n_prompt: int, scope: str) -> None:
        self.n_prompt = n_prompt
        self.scope = scope

    def mask(self, batch: Batch) -> Tensor:
        is_prompt = torch.arange(batch.input_ids.shape[1])[None] < self.n_prompt
        wanted = {"all": torch.ones_like(is_prompt), "prompt": is_prompt, "generated": ~is_prompt}
        return wanted[self.scope].expand_as(batch.input_ids)


class Newest:
    def mask(self, batch: Batch) -> Tensor:
        mask = torch.zeros_like(batch.input_ids, dtype=torch.bool)
        mask[:, -1] = True
        return mask


@pytest.mark.parametrize("name", FAMILIES)
def test_without_edits_the_tokens_are_those_of_the_bare_module(name: str, bare: Bare) -> None:
    module = bare(name)
    batch = prompts()
    told = module.generate(  # type: ignore[operator]
        batch.input_ids, attention_mask=batch.attention_mask, max_new_tokens=6, do_sample=False, eos_token_id=None,
        pad_token_id=0,
    )  # fmt: skip
    seen = Model.open(module).generate(batch, max_new_tokens=6, stops_at=())
    assert torch.equal(seen.batch.input_ids, told)
    assert seen.new_ids.shape == (2, 6)


@pytest.mark.parametrize("name", FAMILIES)
@pytest.mark.parametrize("scope", ["all", "prompt", "generated"])
def test_an_edit_acts_in_its_scope_as_in_a_full_recomputation(name: str, scope: str, bare: Bare) -> None:
    model = Model.open(bare(name))
    edit = steer(scope)
    seen = model.generate(prompts(), max_new_tokens=6, edits=[edit], stops_at=()).new_ids.tolist()
    assert seen == step_by_step(model, 6, edit)
    others = [step_by_step(model, 6, steer(other)) for other in {"all", "prompt", "generated"} - {scope}]
    assert seen not in others, "the scopes must differ for this test to tell them apart"
    assert seen != step_by_step(model, 6, None)


@pytest.mark.parametrize("name", FAMILIES)
def test_what_is_captured_is_what_a_forward_over_the_result_reads(name: str, bare: Bare) -> None:
    model = Model.open(bare(name))
    sites = [at("resid_post", 1), at("attn_out", 2), at("z", 0), LayerComponent(kind="z", layer=1, head=2)]
    found = model.generate(prompts(), max_new_tokens=5, sites=sites, edits=[steer("all", 1.0)], stops_at=())
    ids, mask = found.batch.input_ids[:, :-1], found.batch.attention_mask[:, :-1]
    told = model.capture(Batch(ids, mask), sites, edits=[steer("all", 1.0)]).values
    real = mask.bool()
    for site in sites:
        torch.testing.assert_close(found.values[site][real], told[site][real], rtol=2e-5, atol=2e-5)


def test_positions_are_those_of_the_whole_sequence(bare: Bare) -> None:
    """The newest token of every step, and the absolute positions an edit sees."""
    model = Model.open(bare("gpt2"))
    direction = torch.linspace(-1, 1, 32).cos() * 8
    seen_positions: list[list[int]] = []

    def apply(value: Tensor, batch: Batch) -> Tensor:
        seen_positions.append(batch.position_ids[:, -1].tolist())
        return value + direction

    found = model.generate(
        prompts(), max_new_tokens=4, edits=[Edit(at("resid_post", 1), apply, at=Newest())], stops_at=()
    )
    assert seen_positions == [[4, 2], [5, 3], [6, 4], [7, 5]]
    for row, new in zip(PROMPTS, found.new_ids.tolist(), strict=True):
        tokens = list(row)
        for _ in range(4):
            n_prompt = len(row)
            edit = Edit(
                at("resid_post", 1), lambda value, batch: value + direction, at=Among(n_prompt - 1, "generated")
            )
            tokens.append(int(model.logits(Batch.from_rows([tokens]), edits=[edit])[0, -1].argmax()))
        assert tokens[len(row) :] == new


def test_a_row_ends_where_it_says(bare: Bare) -> None:
    model = Model.open(bare("gpt_neox"))
    free = model.generate(prompts(), max_new_tokens=6, stops_at=())
    end = int(free.new_ids[0, 2])
    ended = model.generate(prompts(), max_new_tokens=6, stops_at=[end])
    n_kept = int(ended.batch.attention_mask[0, ended.n_prompt :].sum())
    assert ended.new_ids[0, :n_kept].tolist() == free.new_ids[0, :n_kept].tolist()
    assert n_kept <= 3
    assert int(ended.new_ids[0, n_kept - 1]) == end


def test_sampling_is_a_matter_of_its_seed_alone(bare: Bare) -> None:
    model = Model.open(bare("llama"))
    torch.manual_seed(0)
    before = torch.get_rng_state()
    runs = [
        model.generate(prompts(), max_new_tokens=12, sampling=Sampling(seed=seed), stops_at=()).new_ids.tolist()
        for seed in (1, 1, 2)
    ]
    assert runs[0] == runs[1] != runs[2]
    assert torch.equal(before, torch.get_rng_state())
    greedy = model.generate(prompts(), max_new_tokens=12, sampling=Sampling(seed=3, top_k=1), stops_at=())
    assert torch.equal(greedy.new_ids, model.generate(prompts(), max_new_tokens=12, stops_at=()).new_ids)


def test_hooks_go_when_an_edit_fails_in_a_later_step(bare: Bare) -> None:
    module = bare("gpt2")
    model = Model.open(module)
    calls: list[int] = []

    def breaks(value: Tensor, batch: Batch) -> Tensor:
        calls.append(1)
        if len(calls) == 3:
            raise ZeroDivisionError("in step three")
        return value

    with pytest.raises(ZeroDivisionError, match="in step three"):
        model.generate(prompts(), max_new_tokens=6, edits=[Edit(at("mlp_out", 1), breaks)], stops_at=())
    assert all(not part._forward_hooks and not part._forward_pre_hooks for part in module.modules())
    assert module.config._attn_implementation == "sdpa"  # type: ignore[union-attr]


def test_a_pattern_can_be_edited_while_generating(bare: Bare) -> None:
    model = Model.open(bare("llama"))

    def looks_at_itself(value: Tensor, batch: Batch) -> Tensor:
        n_query, n_key = value.shape[-2:]
        return torch.eye(n_key)[n_key - n_query :].expand_as(value).to(value.dtype)

    edit = Edit(at("pattern", 1), looks_at_itself)
    seen = model.generate(Batch.from_rows([PROMPTS[0]]), max_new_tokens=5, edits=[edit], stops_at=())
    tokens = list(PROMPTS[0])
    for _ in range(5):
        tokens.append(int(model.logits(Batch.from_rows([tokens]), edits=[edit])[0, -1].argmax()))
    assert seen.batch.input_ids[0].tolist() == tokens


def test_what_cannot_be_generated_is_refused(bare: Bare) -> None:
    model = Model.open(bare("gpt2"))
    with pytest.raises(UsageError, match="right-padded prompts"):
        model.generate(Batch.from_rows(PROMPTS, side="right"), max_new_tokens=2)
    with pytest.raises(UsageError, match="25 together"):
        model.generate(prompts(), max_new_tokens=20)
    with pytest.raises(UsageError, match="max_new_tokens=0"):
        model.generate(prompts(), max_new_tokens=0)
    with pytest.raises(UsageError, match="patterns during generation"):
        model.generate(prompts(), max_new_tokens=2, sites=[at("pattern", 1)])
    with pytest.raises(UsageError, match="a masked_lm"):
        Model.open(bare("bert")).generate(prompts(), max_new_tokens=2)
    with pytest.raises(UsageError, match="scope 'generated' outside"):
        model.logits(prompts(), edits=[steer("generated")])
    with pytest.raises(UsageError, match="temperature"):
        model.generate(prompts(), max_new_tokens=2, sampling=Sampling(seed=1, temperature=0.0))
    with pytest.raises((UsageError, BadDataError), match="extra inputs"):
        ids = torch.tensor([[1, 2]])
        model.generate(Batch(ids, torch.ones_like(ids), {"labels": ids}), max_new_tokens=1)


def test_logits_can_be_edited_so_that_a_token_is_never_drawn(bare: Bare) -> None:
    model = Model.open(bare("gpt_neox"))
    free = model.generate(prompts(), max_new_tokens=5, stops_at=())
    banned = int(free.new_ids[0, 0])

    def never(value: Tensor, batch: Batch) -> Tensor:
        value[..., banned] = -float("inf")
        return value

    found = model.generate(prompts(), max_new_tokens=5, stops_at=(), edits=[Edit(at("logits"), never)])
    assert not (found.new_ids == banned).any()
    tokens = list(PROMPTS[1])
    for _ in range(5):
        edit = Edit(at("logits"), never)
        tokens.append(int(model.logits(Batch.from_rows([tokens]), edits=[edit])[0, -1].argmax()))
    assert found.new_ids[1].tolist() == tokens[len(PROMPTS[1]) :]


def test_a_position_that_does_not_exist_yet_waits(bare: Bare) -> None:
    """Place 6 of a prompt of five tokens is the second generated one."""
    model = Model.open(bare("gpt2"))
    row = PROMPTS[0]
    direction = torch.linspace(-1, 1, 32).cos() * 8
    edit = Edit(at("resid_post", 1), lambda value, batch: value + direction, at=from_left(6))
    found = model.generate(Batch.from_rows([row]), max_new_tokens=5, edits=[edit], stops_at=()).new_ids[0].tolist()
    tokens = list(row)
    for _ in range(5):
        edits = [edit] if len(tokens) > 6 else []
        tokens.append(int(model.logits(Batch.from_rows([tokens]), edits=edits)[0, -1].argmax()))
    assert found == tokens[len(row) :]
    with pytest.raises(UsageError, match="which has 5 tokens"):
        model.generate(Batch.from_rows([row]), max_new_tokens=1, edits=[replace(edit, at=from_left(6))], stops_at=())


def test_a_generation_config_of_beams_changes_nothing(bare: Bare) -> None:
    module = bare("llama")
    model = Model.open(module)
    told = model.generate(prompts(), max_new_tokens=4, stops_at=(), sites=[at("z", 0)])
    config = module.generation_config
    for name, value in {"num_beams": 3, "num_return_sequences": 2, "guidance_scale": 2.0}.items():
        setattr(config, name, value)
    config.return_dict_in_generate = True  # type: ignore[union-attr]
    seen = model.generate(prompts(), max_new_tokens=4, stops_at=(), sites=[at("z", 0)])
    assert torch.equal(seen.batch.input_ids, told.batch.input_ids)
    assert torch.equal(seen.values[at("z", 0)], told.values[at("z", 0)])


@pytest.mark.parametrize("guess", ["prompt_lookup_num_tokens", "assistant_early_exit"])
def test_a_generation_config_that_guesses_ahead_changes_nothing(guess: str, bare: Bare) -> None:
    module = bare("llama")
    model, site, batch = Model.open(module), at("resid_post", 1), Batch.from_rows([[1, 2, 3, 1, 2, 3, 1, 2]])
    told = model.generate(batch, max_new_tokens=8, stops_at=(), sites=[site], edits=[steer("generated")])
    setattr(module.generation_config, guess, 2)
    seen = model.generate(batch, max_new_tokens=8, stops_at=(), sites=[site], edits=[steer("generated")])
    assert torch.equal(seen.batch.input_ids, told.batch.input_ids)
    assert torch.equal(seen.values[site], told.values[site])


def test_padding_of_prompts_counts_where_it_takes_up_positions() -> None:
    model = Model.open(DECODERS["gpt_neo"]())
    long = Batch.from_rows([[5] * 20, [6]], side="left")
    assert model.generate(long, max_new_tokens=4, stops_at=()).batch.input_ids.shape == (2, 24)
    short = Batch.from_rows([[5] * 3, [6]], side="left")
    wide = Batch(pad(short.input_ids, (18, 0)), pad(short.attention_mask, (18, 0)))
    with pytest.raises(UsageError, match=r"4 new tokens, 25 together\nexpected: at most 24"):
        model.generate(wide, max_new_tokens=4)
