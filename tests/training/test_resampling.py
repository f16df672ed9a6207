from __future__ import annotations

import torch

from mechscope.training import ArraySource, TrainSpec
from mechscope.training.resampling import resample
from mechscope.training.scaling import estimate_scaling
from mechscope.training.states import initial_state


def test_dead_features_restart_at_residuals_and_live_ones_stay() -> None:
    data = torch.randn(200, 8, generator=torch.Generator().manual_seed(0))
    spec = TrainSpec(architecture="relu", n_features=12, n_steps=10, dead_window_samples=100)
    state = initial_state(spec, 8, estimate_scaling(ArraySource(data), spec))
    sum(parameter.square().sum() for parameter in state.dictionary.parameters()).backward()  # type: ignore[union-attr]
    state.optimizer.step()
    state.silent_samples[[2, 7]] = 100
    before = {name: value.detach().clone() for name, value in state.dictionary.named_parameters()}
    assert resample(state, data[:20], spec) == 2
    dictionary, live = state.dictionary, [i for i in range(12) if i not in (2, 7)]
    assert torch.equal(dictionary.W_dec[live], before["W_dec"][live])
    cosines = torch.nn.functional.cosine_similarity(dictionary.W_dec[[2, 7], None], data[None, :20], dim=-1)
    torch.testing.assert_close(cosines.amax(1).detach(), torch.ones(2))
    wanted = before["W_dec"][live].norm(dim=1).mean().expand(2)
    torch.testing.assert_close(dictionary.W_dec[[2, 7]].norm(dim=1).detach(), wanted)
    assert not dictionary.b_enc[[2, 7]].any()
    assert not state.optimizer.state[dictionary.W_enc]["exp_avg"][:, [2, 7]].any()
    assert state.optimizer.state[dictionary.W_enc]["exp_avg"][:, live].all()
    assert not state.silent_samples.any()
    assert resample(state, data[:20], spec) == 0
