"""Transformers' remarks: silent while anybody asks for it, and then as they were."""

from __future__ import annotations

from contextlib import ExitStack

from transformers.utils import logging

from mechscope.models.remarks import quiet


def test_what_was_set_comes_back_with_the_last_that_leaves() -> None:
    level, had_bar = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_info()
    first, second = ExitStack(), ExitStack()
    try:
        first.enter_context(quiet())
        second.enter_context(quiet())
        first.close()
        assert logging.get_verbosity() == logging.ERROR
        assert not logging.is_progress_bar_enabled()
        second.close()
        assert logging.get_verbosity() == logging.INFO
        assert logging.is_progress_bar_enabled() == had_bar
    finally:
        logging.set_verbosity(level)
