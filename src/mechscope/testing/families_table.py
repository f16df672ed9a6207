"""Every family, measured: `python -m mechscope.testing.families_table > docs/models.md`.

1. build each model of the zoo (tiny, random, perturbed), open it, and let the check at open measure it anew
2. run it bare and through `Model`, with nothing read and with every site read, and compare the logits
3. write one row a model: which sites it has not, and the worst error of each group of checks, rounded up to a power of
   ten, so that the page is the same on machines that round otherwise
"""

from __future__ import annotations

import math
import re
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import torch
import transformers
from torch import nn

from mechscope.models import Batch, Check, ComponentMap, Model
from mechscope.models.inputs import output_logits
from mechscope.models.network import Network
from mechscope.models.trials import probe_batch
from mechscope.services.model_checks import CHECK_MEANINGS, join_layers, read_site, stacked_kind
from mechscope.services.model_sites import absent_sites
from mechscope.testing.zoo import ZOO

__all__ = ["Family", "families_page", "measure_families", "measure_family", "stale_lines"]

COLUMNS = {  # column -> the checks whose worst error it shows
    "heads": ("heads",),
    "neurons": ("neurons",),
    "stream": ("stream", "middle", "chain"),
    "output": ("norm", "output"),
    "patterns": ("eager", "weights", "mix"),
    "apart": ("apart",),
    "padding": ("padding",),
}
LEAST_SHOWN = 1e-6
SHIPPED = {"mechscope_set": "splatoon"}  # families that no config of transformers builds

INTRODUCTION = """\
# Models

Made by `python -m mechscope.testing.families_table > docs/models.md`; a test makes it again and fails when it is stale.

Every family below has a component map, which says where its parts are. Nothing in a map is believed: what it claims is
measured when a model is opened. For your own model, `mechscope model verify PATH` prints what was measured, and
`mechscope model sites PATH` what can be read and written. A transformers model of another family is opened by its
structure, and any other module with a map of yours: see [your own module](own_module.md). What one can do at a site is
in [edits](edits.md).

## How this was measured

{n_models} tiny models (width 32, 4 heads, 2 or 3 blocks), made from configs with random weights, norm scales and biases
moved off their ones and zeros; of `mechscope_set` the shipped subject `splatoon` with its trained weights. In float32
on the CPU, with torch {torch} and transformers {transformers}. A number is the worst error over all layers and all
sites that stand, max |seen - told| / max |told|, rounded up to a power of ten: {least:.0e} is the least shown,
{tolerance:.0e} the most that stands, "–" nothing to measure.

| column | what must hold |
|---|---|
{meanings}
| logits | as the bare module's, with no site read and with each (patterns, which need eager attention, apart); 0: \
bit for bit |

Besides, at every site that stands, writing back what was read changes no bit of the logits, and an edit moves them.
"""


@dataclass(frozen=True)
class Family:
    """What was measured of one model.

    Args:
        errors: the worst error by column; a column is missing when no row of it stands.
        unreached: (sites, "refused" or "absent", reason).
        logits_error: max |logits - bare logits|.
    """

    name: str
    errors: Mapping[str, float]
    unreached: tuple[tuple[str, str, str], ...]
    notes: tuple[str, ...]
    logits_error: float


def measure_families() -> list[Family]:
    """Every model of the zoo, and the families that only ship. Some ten seconds on one core."""
    shipped = {name: _shipped_builder(subject) for name, subject in SHIPPED.items()}
    return [measure_family(name, build) for name, build in {**ZOO, **shipped}.items()]


def measure_family(name: str, build: Callable[[], nn.Module], *, component_map: ComponentMap | None = None) -> Family:
    """Measure one model; `build` is called twice and must give equal weights. The map is the family's by default."""
    model = Model.open(build(), component_map=component_map, verify="anew")
    failed = model.verification.failed
    errors: dict[str, float] = {}
    for column, checks in COLUMNS.items():
        rows = [row for row in model.verification.checks if row.name in checks and row.site not in failed]
        if found := [row.error for row in rows if row.error is not None]:
            errors[column] = max(found)
    absent = [(row.sites, row.how, row.reason) for row in absent_sites(model)]
    notes = model.verification.notes
    return Family(name, errors, (*_refused(model.verification.checks), *absent), notes, _logits_error(model, build()))


def families_page(families: Sequence[Family]) -> str:
    """The whole page as Markdown."""
    meanings = "\n".join(
        f"| {column} | {'; '.join(CHECK_MEANINGS[check] for check in checks)} |" for column, checks in COLUMNS.items()
    )
    introduction = INTRODUCTION.format(
        n_models=len(families),
        torch=torch.__version__.partition("+")[0],
        transformers=transformers.__version__,
        least=LEAST_SHOWN,
        tolerance=1e-5,
        meanings=meanings,
    )
    header = ["family", "without", *COLUMNS, "logits"]
    rows = [[f"`{family.name}`", _without(family), *_errors(family), f"{family.logits_error:g}"] for family in families]
    unreached = _grouped((family.name, line) for family in families for line in family.unreached)
    notes = _grouped((family.name, (note,)) for family in families for note in family.notes)
    return "\n".join(
        [
            introduction,
            "## The families\n",
            *_table(header, rows),
            "\n## What they are without, and why\n",
            *_table(
                ["sites", "how", "why", "families"], [[_code(key[0]), *key[1:], names] for key, names in unreached]
            ),
            "\n## What opening them says\n",
            *_table(["note", "families"], [[*key, names] for key, names in notes]),
            "",
        ]
    )


def stale_lines(page: str, fresh: str) -> list[str]:
    """The lines in which two pages differ, `-` of the first and `+` of the second.

    Errors next to each other among the powers of ten are equal: a rounding error near one of them falls to either side.
    """
    told, made = page.splitlines(), fresh.splitlines()
    longest = max(len(told), len(made))
    pairs = zip(told + [""] * (longest - len(told)), made + [""] * (longest - len(made)), strict=True)
    return [line for old, new in pairs if not _is_same(old, new) for line in (f"-{old}", f"+{new}")]


def _shipped_builder(subject: str) -> Callable[[], nn.Module]:
    return lambda: Model.open(subject, verify=False).module


@torch.no_grad()
def _logits_error(model: Model, bare: nn.Module) -> float:
    """Through `Model` and by a plain call of another module of the same weights."""
    batch = probe_batch(Network(model.module, model.component_map))
    told = output_logits(bare(**_plain_inputs(model, batch)))
    sites = [site for site in model.sites() if not site.kind.endswith("pattern")]
    seen = [model.logits(batch), model.capture(batch, sites, logits=True).logits]
    return max(float((logits - told).abs().max()) for logits in seen if logits is not None)


def _plain_inputs(model: Model, batch: Batch) -> dict[str, torch.Tensor]:
    tokens = {"input_ids": batch.input_ids, "attention_mask": batch.attention_mask}
    return {**({} if model.component_map.value_inputs else tokens), **batch.extra}


def _refused(checks: Iterable[Check]) -> list[tuple[str, str, str]]:
    """By kind and first failing check; without numbers, which differ between machines."""
    first: dict[str, Check] = {}
    for check in checks:
        if not check.passed:
            first.setdefault(check.site, check)
    groups: dict[tuple[str, str], list[int | None]] = {}
    for text, check in first.items():
        site, meaning = read_site(text), CHECK_MEANINGS[check.name]
        reason = check.note if check.name == "reached" else f"it does not hold that {meaning}"
        groups.setdefault((stacked_kind(site), reason), []).append(site.layer)
    return [(join_layers(kind, layers), "refused", reason) for (kind, reason), layers in groups.items()]


def _without(family: Family) -> str:
    sites = [site for sites, _, _ in family.unreached for site in sites.split(", ")]
    return ", ".join(f"`{site}`" for site in sites) or "–"


def _errors(family: Family) -> list[str]:
    return [_bound(family.errors[column]) if column in family.errors else "–" for column in COLUMNS]


def _bound(error: float) -> str:
    return f"{10.0 ** math.ceil(math.log10(max(error, LEAST_SHOWN))):.0e}"


def _grouped(pairs: Iterable[tuple[str, tuple[str, ...]]]) -> list[tuple[tuple[str, ...], str]]:
    """Equal lines of several families as one, with the families' names."""
    found: dict[tuple[str, ...], list[str]] = {}
    for name, line in pairs:
        found.setdefault(line, []).append(f"`{name}`")
    return [(line, ", ".join(dict.fromkeys(names))) for line, names in found.items()]


def _code(sites: str) -> str:
    return ", ".join(f"`{site}`" for site in sites.split(", "))


def _table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    cells = [header, ["---"] * len(header), *rows]
    return [f"| {' | '.join(cell.replace('|', '&#124;') for cell in row)} |" for row in cells]


def _is_same(old: str, new: str) -> bool:
    """Whether two lines say the same, up to one power of ten in each error of a table's row."""
    pattern = re.compile(r"(?<=\| )1e-(\d\d)(?= \|)")
    if not old.startswith("| `") or pattern.sub("#", old) != pattern.sub("#", new):
        return old == new
    powers = zip(pattern.findall(old), pattern.findall(new), strict=True)
    return all(abs(int(one) - int(other)) <= 1 for one, other in powers)


if __name__ == "__main__":
    torch.set_num_threads(1)
    sys.stdout.write(families_page(measure_families()))
