import pytest

from mechscope.services.defaults import choose_defaults


def test_defaults_follow_the_size_of_the_model() -> None:
    small = choose_defaults(n_layers=2, d_model=64, n_samples=1_000_000, site=None, seed=0)
    large = choose_defaults(n_layers=12, d_model=768, n_samples=1_000_000, site=None, seed=0)
    assert (small.site, large.site) == ("resid_post:0", "resid_post:5")
    assert (small.train.n_features, large.train.n_features) == (1024, 6144)
    assert (small.train.k, large.train.k) == (16, 32)
    assert {choice.setting for choice in large.choices} == {"site", "n_features", "k", "n_steps"}


@pytest.mark.parametrize("n_samples", [1, 100, 5_000, 10**9])
def test_few_samples_mean_few_features_and_settings_stay_legal(n_samples: int) -> None:
    found = choose_defaults(n_layers=4, d_model=512, n_samples=n_samples, site="resid_post:1", seed=3)
    n_features, k = found.train.n_features, found.train.k
    assert n_features is not None
    assert k is not None
    assert 64 <= n_features <= 4096
    assert 1 <= k <= n_features // 4
    assert found.site == "resid_post:1"
    assert found.train.seed == 3
    if n_samples < 10_000:
        assert any("samples give" in choice.reason for choice in found.choices)


def test_the_site_is_not_among_the_choices_when_it_was_asked_for() -> None:
    found = choose_defaults(n_layers=4, d_model=64, n_samples=10_000, site="embed", seed=0)
    assert "site" not in {choice.setting for choice in found.choices}
