from mechscope.reports import running_text


def test_words_get_their_spaces_back() -> None:
    assert "".join(running_text(["the", "dogs", "near", "it", "."])) == "the dogs near it ."


def test_pieces_keep_their_own_spaces() -> None:
    pieces = ["The", " dog", "s", " ran", "\n"]
    assert running_text(pieces) == pieces


def test_a_few_pieces_are_left_alone() -> None:
    assert running_text(["un", "like", "ly"]) == ["un", "like", "ly"]
