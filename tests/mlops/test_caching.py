from mlops.caching import ShortCache


def test_values_are_loaded_once_and_none_is_a_value() -> None:
    cache: ShortCache[str, int | None] = ShortCache(seconds=60, size=10)
    loads = []

    for _ in range(2):
        assert cache.get_or_load("k", lambda: loads.append(1)) is None

    assert loads == [1]
    assert cache.get("k") == (None,)


def test_old_values_are_gone() -> None:
    cache: ShortCache[str, int] = ShortCache(seconds=0, size=10)
    cache.get_or_load("k", lambda: 1)

    assert cache.get("k") is None


def test_the_oldest_leaves_when_there_are_too_many() -> None:
    cache: ShortCache[int, int] = ShortCache(seconds=60, size=2)
    for key in range(3):
        cache.get_or_load(key, lambda key=key: key)  # type: ignore[misc]  # a default binds the loop's value

    assert [cache.get(key) for key in range(3)] == [None, (1,), (2,)]


def test_what_was_loading_while_it_was_forgotten_is_not_kept() -> None:
    cache: ShortCache[str, str] = ShortCache(seconds=60, size=10)

    def load() -> str:
        cache.forget()
        return "old"

    assert cache.get_or_load("k", load) == "old"
    assert cache.get("k") is None
