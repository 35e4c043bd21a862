"""What costs a key derivation is done once for all that want the same."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from threading import Barrier, Event

import pytest
from tests.support.bundles import make_bundle

from certshelf.bundle.model import Bundle, PfxProfile
from certshelf.errors import PfxPasswordWrong
from certshelf.secret import Secret
from certshelf.shelf.once import Once, PfxReader, PfxWriter
from certshelf.shelf.shelf import Shelf
from certshelf.store.memory import MemoryStore

RIGHT, WRONG = Secret("the right password of it, 32 letters"), Secret("another")


def test_threads_that_want_the_same_wait_for_the_first() -> None:
    once, begun, go = Once[int](), Event(), Event()
    made: list[int] = []

    def make() -> int:
        begun.set()
        assert go.wait(10)
        made.append(1)
        return len(made)

    with ThreadPoolExecutor(4) as pool:
        first = pool.submit(once.get, "key", make)
        assert begun.wait(10)
        others = [pool.submit(once.get, "key", make) for _ in range(3)]
        go.set()
        assert [first.result(10), *(one.result(10) for one in others)] == [1, 1, 1, 1]
    assert made == [1]


def test_different_keys_do_not_wait_for_each_other() -> None:
    once, both = Once[int](), Barrier(2, timeout=10)
    with ThreadPoolExecutor(2) as pool:
        assert sorted(pool.map(lambda key: once.get(key, both.wait), ("a", "b"))) == [0, 1]


def test_a_failure_is_remembered_too() -> None:
    data, read = make_bundle("a.test").to_pfx(RIGHT), PfxReader()
    for _ in range(2):
        with pytest.raises(PfxPasswordWrong):
            read(data, WRONG)
        assert read(data, RIGHT).names == make_bundle("a.test").names
    assert read(data, RIGHT) is read(data, RIGHT)


def test_one_pfx_is_made_for_each_bundle_password_and_profile() -> None:
    write, bundle = PfxWriter(), make_bundle("a.test")
    first = write(bundle, RIGHT, PfxProfile.MODERN)
    assert write(bundle, RIGHT, PfxProfile.MODERN) is first
    others = (
        write(make_bundle("b.test"), RIGHT, PfxProfile.MODERN),
        write(bundle, WRONG, PfxProfile.MODERN),
        write(bundle, RIGHT, PfxProfile.WINDOWS_2016),
    )
    assert len({first, *others}) == 4
    assert Bundle.from_pfx(others[1], WRONG) == bundle


def test_what_lies_under_many_names_is_opened_once() -> None:
    names = [f"h{number}.test" for number in range(20)]
    shelf = Shelf(MemoryStore(), RIGHT, owner="test")
    assert shelf.publish(make_bundle(*names)).ok
    read: list[bytes] = []

    class Counting(PfxReader):
        def get(self, key, make):  # type: ignore[no-untyped-def]
            def counted():  # type: ignore[no-untyped-def]
                read.append(key[0])
                return make()

            return super().get(key, counted)

    from certshelf.shelf import publish

    order = publish.Order(
        bundle=(newer := make_bundle(*names, days=60)),
        data=newer.to_pfx(RIGHT),
        owner="test",
        passwords=shelf.passwords,
        now=shelf.clock.now(),
        read=Counting(),
    )
    done = publish.publish(shelf.store, shelf.manifest, order, newer.names)
    assert done.ok
    assert len(read) == 1
