"""A real S3 server that refuses, hangs or is not there, and what the bucket store makes of it."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Iterator

import pytest

from certshelf.errors import (
    StoreBadCredentials,
    StoreConflict,
    StoreDenied,
    StoreError,
    StoreNotFound,
    StoreTimeout,
    StoreUnreachable,
)
from certshelf.secret import Secret
from certshelf.store.base import ABSENT, ANY, HIDDEN, Store, StoreCredentials
from certshelf.store.bucket import BucketStore
from tests.support.seaweed import Key, Seaweed, running_seaweed

pytestmark = pytest.mark.slow
KEY = "www.example.com.pfx"


@pytest.fixture(scope="module")
def seaweed() -> Iterator[Seaweed]:
    with running_seaweed() as server:
        yield server


def calls_of(store: Store) -> list[Callable[[], object]]:
    return [
        lambda: store.get(KEY),
        lambda: store.look(KEY),
        lambda: store.put(KEY, b"new", ANY),
        lambda: store.delete(KEY),
        lambda: list(store.list()),
    ]


def test_15_a_reader_s_key_reads_and_lists_and_changes_nothing(seaweed: Seaweed) -> None:
    seaweed.store("reader").put(KEY, b"old", ANY)
    reader = seaweed.store("reader", seaweed.reader)
    blob = reader.get(KEY)
    assert blob is not None
    assert [entry.key for entry in reader.list()] == [KEY]
    for change in (
        lambda: reader.put(KEY, b"new", ANY),
        lambda: reader.put(KEY, b"new", blob.version),
        lambda: reader.put("new.pfx", b"new", ABSENT),
        lambda: reader.delete(KEY),
    ):
        with pytest.raises(StoreDenied):
            change()
    assert reader.get(KEY) == blob
    assert reader.get("new.pfx") is None


def test_f11_a_wrong_secret_or_key_is_told_as_such_and_never_shown(seaweed: Seaweed) -> None:
    for key in (Key(seaweed.writer.id, "wrong-secret"), Key("AKNOBODY", "wrong-secret")):
        store = seaweed.store("f11", key)
        for call in (*calls_of(store), store.check_login):
            with pytest.raises(StoreBadCredentials) as caught:
                call()
            assert "wrong-secret" not in repr(caught.value) + caught.value.hint


def test_a_bucket_that_is_not_there_is_told(seaweed: Seaweed) -> None:
    credentials = StoreCredentials(
        seaweed.reader.id, Secret(seaweed.reader.secret), seaweed.endpoint
    )
    store = BucketStore.from_url("s3://nowhere/x", credentials)
    for call in (lambda: store.get(KEY), lambda: list(store.list())):
        with pytest.raises((StoreNotFound, StoreDenied)):
            call()


def test_f2_a_server_that_hangs_costs_each_call_its_deadline_and_no_more(
    seaweed: Seaweed,
) -> None:
    store = seaweed.store("f2", deadline_seconds=2.0)
    version = store.put(KEY, b"old", ANY)
    seaweed.signal(signal.SIGSTOP)
    try:
        for call in calls_of(store):
            began = time.monotonic()
            with pytest.raises((StoreTimeout, StoreUnreachable)):
                call()
            assert time.monotonic() - began < 30
    finally:
        seaweed.signal(signal.SIGCONT)
    end = time.monotonic() + 20
    while True:
        try:
            # What was given up may still have happened meanwhile: old, new or gone, never a mix.
            blob = store.get(KEY)
            assert blob is None or blob.data in (b"old", b"new"), version
            return
        except StoreError:
            assert time.monotonic() < end


def test_f2_nobody_there_is_unreachable() -> None:
    store = BucketStore.from_url(
        "s3://certs/x", StoreCredentials("id", Secret("secret"), "http://127.0.0.1:9"), 3.0
    )
    for call in calls_of(store):
        with pytest.raises((StoreUnreachable, StoreTimeout)):
            call()


def test_a_listing_shows_more_than_one_page_and_no_hidden_object(seaweed: Seaweed) -> None:
    store = seaweed.store("many")
    store.put(f"{HIDDEN}/records/x.json", b"{}", ANY)
    for number in range(1030):
        store._library.put(store._bucket, f"host{number}.example.com.pfx", b"x")
    assert len({entry.key for entry in store.list()}) == 1030


def test_a_writer_that_was_overtaken_gets_a_conflict(seaweed: Seaweed) -> None:
    first, second = seaweed.store("race"), seaweed.store("race")
    version = first.put(KEY, b"1", ABSENT)
    second.put(KEY, b"2", version)
    with pytest.raises(StoreConflict):
        first.put(KEY, b"3", version)
    with pytest.raises(StoreConflict):
        first.delete(KEY, version)
