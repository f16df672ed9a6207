from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from torch import nn
from transformers import AutoTokenizer, PreTrainedModel, PreTrainedTokenizerFast

from mechscope.core import BadDataError, UsageError
from mechscope.models import Model
from mechscope.models.remarks import quiet
from mechscope.models.tokenizer_files import load_tokenizer


@pytest.fixture
def folder(bare: Callable[[str], nn.Module], tmp_path: Path) -> Path:
    module = bare("gpt2")
    assert isinstance(module, PreTrainedModel)
    with quiet():
        module.save_pretrained(tmp_path)
    return tmp_path


def add_tokenizer(folder: Path) -> Path:
    words = WordLevel({"the": 0, "cats": 1}, unk_token="the")
    PreTrainedTokenizerFast(tokenizer_object=Tokenizer(words)).save_pretrained(folder)
    return folder / "tokenizer.json"


def test_a_folder_without_tokenizer_files_has_no_tokenizer(folder: Path) -> None:
    assert load_tokenizer(str(folder)) is None
    assert Model.open(folder).notes == (f"{folder.name} has no tokenizer: text cannot be given to it, token ids can",)


@pytest.mark.parametrize("written", ["{broken", "", "null", "[]", "{}", "unknown kind"])
def test_a_broken_tokenizer_is_told_as_broken_and_ids_still_run(folder: Path, written: str) -> None:
    path = add_tokenizer(folder)
    if written == "unknown kind":  # for which the tokenizers library raises a bare Exception
        written = json.dumps({**json.loads(path.read_text()), "model": {"type": "Nope"}})
    path.write_text(written)
    with pytest.raises(BadDataError, match="cannot be read"):
        load_tokenizer(str(folder))
    model = Model.open(folder)
    assert model.tokenizer is None
    (note,) = model.notes
    assert note.startswith(f"the tokenizer in {folder} cannot be read: ")
    assert "copy the tokenizer's files again" in note
    with pytest.raises(UsageError, match=r"model\.notes say"):
        model.tokenize(["the"])


def test_what_no_file_explains_is_not_swallowed(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise ZeroDivisionError

    add_tokenizer(folder)
    monkeypatch.setattr(AutoTokenizer, "from_pretrained", fail)
    with pytest.raises(ZeroDivisionError):
        load_tokenizer(str(folder))


def test_a_hub_model_without_a_tokenizer_has_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    assert load_tokenizer("nobody-at-all/no-such-model") is None
