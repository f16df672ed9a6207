"""What can be wrong with stored weights and their config, told so that it can be mended."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from pickle import UnpicklingError  # the name of what torch's safe loader raises; nothing is unpickled here
from typing import Any

from huggingface_hub.errors import StrictDataclassError
from safetensors import SafetensorError

from mechscope.core import BadDataError, NotFoundError, UsageError
from mechscope.core.errors import nearest_name
from mechscope.core.hugging_face import transformers

__all__ = ["first_line", "require_whole", "telling"]


def require_whole(report: Mapping[str, Any], source: str, architecture: str) -> None:
    """Refuse weights of other sizes than the model's, or too few of them, from transformers' loading report.

    Raises:
        BadDataError: naming the first such weight.
    """
    if misfits := sorted(report["mismatched_keys"]):
        name, stored, wanted = misfits[0]
        raise BadDataError(
            f"the weights in {source} do not fit its config: {name!r} is {list(stored)}{_more(misfits)}",
            expected=f"{list(wanted)}, as config.json describes {architecture}",
            todo="correct the sizes in config.json, or copy weights and config together from where the model comes",
        )
    if missing := sorted(report["missing_keys"]):
        raise BadDataError(
            f"the weights in {source} lack {missing[0]!r}{_more(missing)}",
            expected=f"every parameter of {architecture}",
            todo="the checkpoint is incomplete: use another one",
        )


@contextmanager
def telling(source: str, known_names: Iterable[str]) -> Iterator[None]:
    """What transformers raises while it loads `source`, as an error of ours: see `load_pretrained`."""
    try:
        yield
    except ImportError as error:
        raise _lacking_package(source, first_line(error)) from error
    except (SafetensorError, UnpicklingError, RuntimeError, EOFError) as error:
        raise BadDataError(
            f"the weights in {source} cannot be loaded: {first_line(error)}",
            expected="model.safetensors that belongs to the config.json beside it",
            todo="copy the model again, or save it with save_pretrained(..., safe_serialization=True)",
        ) from error
    except (StrictDataclassError, LookupError, TypeError, AttributeError) as error:
        raise _unbuildable(source, f"{type(error).__name__}: {' '.join(str(error).split())}") from error
    except (OSError, ValueError) as error:
        if Path(source).is_dir():
            raise _unbuildable(source, first_line(error)) from error
        near = nearest_name(source, known_names)
        raise NotFoundError(
            f"no model {source!r}: looked for a shipped subject, a folder, the local hub cache and the hub "
            f"({first_line(error)})",
            expected=f"a shipped subject ({', '.join(known_names) or 'none'}), a model folder, or a hub id",
            todo=f"did you mean {near!r}?" if near else "check the name, or the network if it is a hub id",
        ) from error


def first_line(error: BaseException) -> str:
    """The first line of what an error says."""
    return str(error).strip().split("\n", 1)[0]


def _lacking_package(source: str, why: str) -> UsageError:
    config_class = transformers.PretrainedConfig
    told, _ = config_class.get_config_dict(source, local_files_only=True)  # read already, so it is there
    quantisation = told.get("quantization_config")
    if not isinstance(quantisation, Mapping):
        return UsageError(
            f"{source} needs what is not installed: {why:.300}",
            expected="the packages that its architecture is written with",
            todo="install the package named, or open another model",
        )
    method = quantisation.get("quant_method", "an unnamed method")
    return UsageError(
        f"the weights in {source} are quantised ({method}), and what reads them is not here: {why:.300}",
        expected="weights in float32, bfloat16 or float16, or the package and the device that this method needs",
        todo="install what is named, or open a copy without quantisation",
    )


def _unbuildable(source: str, why: str) -> BadDataError:
    return BadDataError(
        f"no model can be built from {source}: {why:.300}",
        expected="a config.json that transformers accepts, and the weights that belong to it",
        todo="correct config.json, or copy the model again",
    )


def _more(names: list[Any]) -> str:
    return f" and {len(names) - 1} more" if len(names) > 1 else ""
