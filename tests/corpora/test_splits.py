import numpy as np

from mechscope.corpora.splits import split_rows


def test_many_documents_are_held_out_whole() -> None:
    groups = [f"doc{i // 5}" for i in range(2000)]
    split, unit = split_rows(groups, [i % 5 for i in range(2000)], seed=0, may_split_documents=True)
    assert unit == "document"
    assert all(len(set(split[i : i + 5])) == 1 for i in range(0, 2000, 5))


def test_one_long_document_is_held_out_in_runs() -> None:
    split, unit = split_rows(["book"] * 400, list(range(400)), seed=0, may_split_documents=True)
    assert unit == "run of 8 blocks"
    assert all(len(set(split[i : i + 8])) == 1 for i in range(0, 400, 8))
    shares = {name: float(np.mean(split == name)) for name in ("train", "valid", "test")}
    assert shares == {"train": 0.8, "valid": 0.1, "test": 0.1}


def test_three_rows_are_enough_for_three_splits() -> None:
    split, _ = split_rows(["note"] * 3, [0, 1, 2], seed=0, may_split_documents=True)
    assert sorted(split) == ["test", "train", "valid"]


def test_documents_stay_whole_where_that_was_promised() -> None:
    split, unit = split_rows(["book"] * 400, list(range(400)), seed=0, may_split_documents=False)
    assert unit == "document"
    assert len(set(split)) == 1
