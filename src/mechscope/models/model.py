"""The model: run it, read it at sites, write at sites."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import cached_property, partial
from pathlib import Path
from typing import Literal, TypeAlias

import torch
from jaxtyping import Float
from torch import Tensor, nn

from mechscope.core import BadDataError, LayerComponent, NotFoundError, UsageError, parse_sites, unknown_name
from mechscope.core.sites import HEAD_KINDS, NEURON_KINDS
from mechscope.models.batch import Batch, Capture, Grammar
from mechscope.models.check_cache import verified
from mechscope.models.component_map import ComponentMap, ModelKind
from mechscope.models.edits import Edit, Positions, edits_by_site
from mechscope.models.first_forward import FAULTS, require_forward
from mechscope.models.generation import Generation, Sampling, generate
from mechscope.models.gradients import Gradients, Metric, measure_gradients
from mechscope.models.losses import model_loss
from mechscope.models.network import LOGITS, Network
from mechscope.models.opening import Opened, open_source
from mechscope.models.outputs import output_directions, token_strings
from mechscope.models.sweeps import Metric as SweepMetric
from mechscope.models.sweeps import SweepResult, SweepSettings, sweep
from mechscope.models.texts import tokenize_texts
from mechscope.models.trials import path_shape
from mechscope.models.weights import DigestMemory, require_finite_weights

__all__ = ["Model"]

EMBED = LayerComponent(kind="embed")
Sites: TypeAlias = str | LayerComponent | Sequence[LayerComponent | str]


class Model:
    """A network behind named sites. Made by `Model.open`; plain hooks, nothing of the network is changed.

    No method keeps gradients or leaves a hook behind, also when it raises. Threads may share it: runs take turns, and
    for parallel work there are processes (see `mechscope.models.turns`). Plain attributes: `name`, `module`,
    `component_map`, `verification`, `tokenizer`, `notes` (what opening had to say), `d_model`, `n_layers`, `n_heads`
    (0 without attention), `d_vocab`, `max_positions`, `device`, `dtype`.
    """

    def __init__(self, opened: Opened, *, should_verify: bool | Literal["anew"]) -> None:
        require_finite_weights(opened.module)
        self.module: nn.Module = opened.module
        self._network = Network(opened.module, opened.component_map)
        try:
            checked = verified(
                self._network,
                config=opened.config,
                should_check=should_verify is not False,
                may_recall=should_verify != "anew",
            )
        except FAULTS:
            require_forward(opened.module, opened.component_map)  # says what is wrong when it is the forward itself
            raise
        self.name = opened.name
        self.component_map: ComponentMap = opened.component_map
        self.verification = checked.verification
        self.tokenizer = opened.tokenizer
        self.notes = (*opened.notes, *checked.verification.notes)
        self._vocabulary = opened.vocabulary
        self._digest = DigestMemory()
        self._failed = self.verification.failed
        self._shapes = checked.shapes
        self.n_layers = self._network.n_layers
        self.n_heads = self.component_map.n_heads or 0
        self.d_model = checked.shapes[EMBED][-1]
        self.d_vocab = checked.shapes[LOGITS][-1]
        self.max_positions = self.component_map.max_positions
        first = next(parameter for parameter in self.module.parameters() if parameter.dtype.is_floating_point)
        self.device, self.dtype = first.device, first.dtype

    @classmethod
    def open(
        cls,
        source: str | Path | nn.Module,
        *,
        component_map: ComponentMap | None = None,
        device: str | torch.device = "cpu",
        dtype: torch.dtype | None = None,
        verify: bool | Literal["anew"] = True,
    ) -> Model:
        """Open a model and check by measurement what its component map claims.

        Args:
            source: the name of a shipped subject, a local Hugging Face folder, a hub id, or a module. A module is
                used as it stands: moved to `device` and put into evaluation mode, its dtype kept.
            component_map: where the parts are; by default from the family that the config names.
            device: where the model runs.
            dtype: what stored weights are converted to, float32 by default; a module keeps its own.
            verify: measure every identity (some ten forwards of two short rows); for an architecture, sizes and
                versions that were measured before, the result is recalled in milliseconds ("anew" measures again).
                Without it only sites that cannot be reached at all are refused.

        Raises:
            NotFoundError: no such folder, name or hub model, or a path of the map that is not in the module.
            BadDataError: a folder that is no model; weights that are damaged, on the meta device or not finite.
            UsageError: an architecture without a family, where a map has to be given.

        Example:
            model = Model.open("agreement")
            model.capture(batch, model.parse_sites("resid_post:1")).values
        """
        opened = open_source(source, component_map=component_map, device=device, dtype=dtype)
        return cls(opened, should_verify=verify)

    @property
    def kind(self) -> ModelKind:
        """What the logits mean."""
        return self.component_map.kind

    @property
    def weights_digest(self) -> str:
        """SHA-256 over names, dtypes, shapes and bytes of all parameters and buffers.

        Made on first use, and again after weights were changed (writes through `tensor.data` are not noticed).
        """
        return self._digest.of(self.module)

    @cached_property
    def vocabulary(self) -> tuple[str, ...] | None:
        """Token id -> string to show; None when there is neither a tokenizer nor a list of tokens."""
        return self._vocabulary or token_strings(self.tokenizer, self.d_vocab)

    def sites(self) -> list[LayerComponent]:
        """The sites that stand, in the order of the forward pass; `logits` comes last."""
        return [site for site in (*self._network.accesses, LOGITS) if str(site) not in self._failed]

    def parse_sites(self, selector: str) -> list[LayerComponent]:
        """The sites that a selector names.

        Raises:
            NotFoundError: an unknown site, one that this model lacks, or one that failed its check (the measured
                error is in the message).
            UsageError: a malformed selector, or a layer out of range.
        """
        sites = self._grammar(selector)
        for site in sites:
            self._require(site)
        return sites

    def site(self, selector: str) -> LayerComponent:
        """The one site that a selector names. Raises as `parse_sites` does, and UsageError when it names several."""
        sites = self.parse_sites(selector)
        if len(sites) > 1:
            raise UsageError(
                f"{selector!r} names {len(sites)} sites", expected="one site", todo=f"for example {str(sites[0])!r}"
            )
        return sites[0]

    def site_shape(self, site: LayerComponent) -> tuple[int, ...]:
        """The shape behind the batch and position axes, for example (d_model,), (n_heads, d_head), or () of a neuron.

        Of a pattern, whose positions come last, (n_heads,). A site named by a module's path costs a short forward.
        """
        self._require(site)
        if site.base not in self._shapes:
            self._shapes[site.base] = path_shape(self._network, site)
        shape = self._shapes[site.base]
        shape = shape if site.head is None else shape[1:]
        return shape if site.neuron is None else shape[:-1]

    def capture(
        self,
        batch: Batch,
        sites: Sites,
        *,
        logits: bool = False,
        edits: Sequence[Edit] = (),
    ) -> Capture:
        """The values at sites in one forward, detached, on the model's device; after the edits, where there are any.

        `sites` may be a selector such as "resid_post:0-3, z:1.h2", or a list of sites and selectors. The forward stops
        at the last site wanted; what lies behind it, and the output head, run only when `logits` or the site `logits`
        is asked for. Values in padded places mean nothing. Values may share memory (`resid_post:0` and `resid_pre:1`):
        clone one before writing into it.

        Raises:
            UsageError: no site, two edits at one site, an edit of the wrong shape, a batch that does not fit.
            NotFoundError: a site that the model does not have.
            BadDataError: token ids outside the vocabulary.
        """
        sites = self._named(sites)
        inner = [site for site in sites if site != LOGITS]
        wants_output = logits or len(inner) < len(sites)
        if not inner and not wants_output:
            raise UsageError("a capture of no site", expected="at least one site", todo="name a site")
        values, output = self._run(batch, inner, edits, wants_output=wants_output)
        if output is not None:
            values[LOGITS] = output
        return Capture({site: values[site] for site in sites}, output if logits else None, self._grammar)

    def logits(self, batch: Batch, *, edits: Sequence[Edit] = ()) -> Float[Tensor, "batch *pos d_vocab"]:
        """The outputs under edits (a set model's: [batch d_vocab]); without edits bit-equal to the bare module's.

        Raises as `capture` does.
        """
        return self._run(batch, [], edits, wants_output=True)[0][LOGITS]

    def gradients(
        self,
        batch: Batch,
        sites: Sites,
        metric: Metric,
        *,
        reads: Sites = (),
        edits: Sequence[Edit] = (),
    ) -> Gradients:
        """The gradient of a metric at sites, after the edits, where there are any. One forward and one backward pass.

        Args:
            metric: takes a `Capture` with the logits (and the values at `reads`) in the graph, returns a tensor; its
                sum is differentiated. Parameters get no gradient, whether they require one or not.

        Raises as `capture` does; UsageError for a metric that has no gradient.

        Example: `model.gradients(batch, sites, lambda capture: capture.logits[:, -1, 5] - capture.logits[:, -1, 7])`
        """
        sites, reads = self._named(sites), self._named(reads)
        by_site = self._required((*sites, *reads), edits)
        return measure_gradients(self._network, batch, sites, metric, reads=reads, edits=by_site, grammar=self._grammar)

    def generate(
        self,
        batch: Batch,
        *,
        max_new_tokens: int,
        edits: Sequence[Edit] = (),
        sites: Sites = (),
        sampling: Sampling | None = None,
        stops_at: Sequence[int] | None = None,
    ) -> Generation:
        """Continue prompts token by token, with edits and captures in every step; greedy unless `sampling` is given.

        Without edits the tokens are those of the bare module's `generate`. Keys and values are cached, so an edit of
        scope "prompt" acts on what follows through them. Positions of edits (`at`) are found on the whole sequence so
        far: `from_right(0)` is the newest token of each step.

        Args:
            batch: prompts that end together (left-padded, or of one length).
            max_new_tokens: at least 1; a batch ends earlier when every row has ended.
            stops_at: tokens that end a row; None for those of the model's generation config, () for none.

        Raises:
            UsageError: a model that does not generate, right-padded prompts, more tokens than the model has
                positions, patterns or logits among `sites`, and as `capture` does.
        """
        sites = self._named(sites)
        return generate(
            self._network,
            batch,
            max_new_tokens=max_new_tokens,
            edits=self._required(sites, edits),
            sites=sites,
            sampling=sampling,
            stops_at=stops_at,
        )

    def sweep(
        self,
        batch: Batch,
        variants: Sequence[Sequence[Edit]],
        *,
        reads: Sites = (),
        metric: SweepMetric | None = None,
        at: Positions | None = None,
        settings: SweepSettings | None = None,
    ) -> SweepResult:
        """Run many sets of edits of one batch, each as if it were the only one, in as few forwards as can be.

        Each starts at the block, and in causal models at the position, of its first edit; the result is checked
        against full runs of some of them. See `mechscope.models.sweeps.sweep` for arguments, memory and errors.

        Example, every attention head set to zero in its turn:

            heads = [[zero(head)] for head in model.parse_sites("z:*.h*")]
            model.sweep(batch, heads).logits  # [variant batch d_vocab], at the last real token
        """
        reads = self._named(reads)
        for edit in (edit for variant in variants for edit in variant):
            self._require(edit.site)
        for site in reads:
            self._require(site)
        return sweep(
            self._network,
            batch,
            variants,
            reads=reads,
            metric=metric,
            at=at,
            settings=settings or SweepSettings(),
        )

    def tokenize(
        self, texts: Sequence[str], *, side: Literal["left", "right"] = "left", pad_id: int | None = None
    ) -> Batch:
        """A batch of texts through the model's own tokenizer, padded on the given side.

        Raises:
            UsageError: no tokenizer; a text that stands in no list; a text without a token; texts of different
                lengths, no pad token and no `pad_id`.
        """
        return tokenize_texts(self.tokenizer, texts, name=self.name, side=side, pad_id=pad_id)

    def loss(self, batch: Batch, logits: Tensor) -> Float[Tensor, "n"]:
        """The loss in nats, unreduced, float32.

        Causal: cross-entropy of each real token given those before it, row by row (n = real tokens - rows).
        Masked: cross-entropy wherever `batch.extra["labels"]` is not -100. Set: one number a row, the mean binary
        cross-entropy against `batch.targets` over the vocabulary without `component_map.loss_excluded_ids`.

        Raises:
            UsageError: labels or targets that are missing or have the wrong shape, or a module of unknown kind.
        """
        return model_loss(self.component_map, batch.to(logits.device), logits)

    def output_directions(self, directions: Float[Tensor, "n d_model"]) -> Float[Tensor, "n d_vocab"]:
        """What directions of the stream add to the logits on the direct path.

        Through the final norm's linear part (weight and centring; not the division by its scale, nor its bias) and
        the unembedding, times the logit scale. Where a pooled site lies behind the final norm (set models),
        directions are taken to live there and the norm is left out.

        Raises:
            UsageError: a head that is not linear (BERT's), weights that cannot be read, directions of another width,
                or a model whose final norm and unembedding were measured not to give its logits.
        """
        if broken := [check for check in self.verification.checks if check.name == "output" and not check.passed]:
            raise UsageError(
                f"final norm and unembedding of {self.name} do not give its logits (relative error {broken[0].error})",
                expected="a component map whose last steps hold",
                todo="correct 'final_norm', 'unembedding', 'logit_scale' or 'logit_cap' in the component map",
            )
        return output_directions(self.module, self.component_map, directions)

    @torch.no_grad()
    def _run(
        self, batch: Batch, reads: Sequence[LayerComponent], edits: Sequence[Edit], *, wants_output: bool
    ) -> tuple[dict[LayerComponent, Tensor], Tensor | None]:
        outcome, output = self._network.run(batch, reads, self._required(reads, edits), wants_output=wants_output)
        if outcome.overwritten:
            raise BadDataError(
                f"the network wrote into {outcome.overwritten[0]} after it was read",
                expected="a component map with writes_in_place=True for such a network",
                todo="open the model with verify=True, which measures this, or set the flag in the map",
            )
        return (outcome.values if output is None else {**outcome.values, LOGITS: output}), output

    def _required(self, reads: Sequence[LayerComponent], edits: Sequence[Edit]) -> dict[LayerComponent, list[Edit]]:
        """The edits by site, after holding every site named against what stands."""
        for edit in edits if isinstance(edits, Sequence) else [edits]:
            if not isinstance(edits, Sequence) or not isinstance(edit, Edit):
                raise UsageError(
                    f"a {type(edit).__name__} among the edits" if isinstance(edits, Sequence) else "an edit by itself",
                    expected="a list of edits",
                    todo="pass edits=[...]",
                )
        for site in (*reads, *(edit.site for edit in edits)):
            self._require(site)
        return edits_by_site(edits)

    def _named(self, sites: object) -> list[LayerComponent]:
        """Sites given as a selector, or as a list of sites and selectors. Raises UsageError for anything else."""
        if isinstance(sites, str | LayerComponent) or not isinstance(sites, Iterable):
            sites = [sites]
        found: list[LayerComponent] = []
        for one in sites:
            if not isinstance(one, str | LayerComponent):
                raise UsageError(
                    f"{one!r:.80} where a site is wanted",
                    expected="a selector, a site, or a list of both",
                    todo="for example 'resid_post:0-3, z:1.h2'",
                )
            found += self.parse_sites(one) if isinstance(one, str) else [one]
        return found

    @cached_property
    def _grammar(self) -> Grammar:
        """What a selector stands for in this model. Holds numbers only, so that captures can be kept without it."""
        shapes = [(site.kind, shape) for site, shape in self._shapes.items() if shape]
        return partial(
            parse_sites,
            n_layers=self.n_layers,
            n_encoder_layers=self._network.n_encoder_layers,
            heads={kind: shape[0] for kind, shape in reversed(shapes) if kind in HEAD_KINDS}.get,
            n_neurons=next((shape[-1] for kind, shape in shapes if kind in NEURON_KINDS), None),
            paths=self._network.paths,
        )

    def _require(self, site: LayerComponent) -> None:
        if reason := self._failed.get(str(site.base)):
            remedy = "open the model without quantisation" if "quantised" in reason else "correct the component map"
            raise NotFoundError(
                f"site {str(site)!r} of {self.name} failed its check: {reason}",
                expected="a site that means what its name says",
                todo=f"use another site, or {remedy}",
            )
        if site.base not in self._shapes:
            if self._network.access(site.base) is not None:
                if site != site.base:
                    raise UsageError(
                        f"a head or neuron of {site.base}, which is named by its module's path",
                        expected="the whole site",
                        todo="drop the head or neuron, or name a kind that has them",
                    )
                return  # a module's path: read as it stands
            stack = self.component_map.encoder if site.stack else self.component_map
            if stack is not None and (reason := stack.absent.get(site.kind)):
                raise NotFoundError(
                    f"{self.name} has no site {str(site)!r}: {reason}",
                    expected=f"one of its sites: {', '.join(dict.fromkeys(found.kind for found in self.sites()))}",
                    todo="use another site",
                )
            raise unknown_name("site of this model", str(site), map(str, self.sites()))
        shape = self._shapes[site.base]
        heads = shape[:1] if site.kind in HEAD_KINDS else ()
        neurons = shape if site.kind in NEURON_KINDS and len(shape) == 1 else ()
        for name, index, size in (("head", site.head, heads), ("neuron", site.neuron, neurons)):
            if index is not None and not 0 <= index < (size[0] if size else 0):
                raise UsageError(
                    f"{name} {index} of {site.base}",
                    expected=f"0..{size[0] - 1}" if size else f"a site with {name}s",
                    todo=f"choose a {name} that exists",
                )
