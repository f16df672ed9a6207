from mechscope.core import derive_seed, numpy_generator


def test_seeds_are_stable_and_named() -> None:
    assert derive_seed(1, "a", 2) == derive_seed(1, "a", "2")
    names = [("a",), ("b",), ("a", "b"), ("ab",), ()]
    assert len({derive_seed(root, *name) for root in range(50) for name in names}) == 250
    assert 0 <= derive_seed(0) < 2**63


def test_generators_of_one_name_draw_the_same() -> None:
    assert numpy_generator(3, "x").integers(1 << 40) == numpy_generator(3, "x").integers(1 << 40)
    assert numpy_generator(3, "x").integers(1 << 40) != numpy_generator(3, "y").integers(1 << 40)
