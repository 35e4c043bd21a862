"""Token buckets as values."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from certshelf.issue.acme.limits import Bucket, Rate

NOW = datetime(2030, 1, 1, tzinfo=UTC)


def test_a_full_bucket_gives_its_burst_and_then_names_the_moment() -> None:
    bucket = Bucket.full(Rate(per_second=1 / 36, burst=2), NOW)
    for _ in range(2):
        taken = bucket.take(NOW)
        assert isinstance(taken, Bucket)
        bucket = taken
    until = bucket.take(NOW)
    assert isinstance(until, datetime)
    assert timedelta(seconds=36) <= until - NOW < timedelta(seconds=36.001)
    assert isinstance(bucket.take(until), Bucket)


def test_no_more_than_the_rate_and_the_burst_goes_in_any_time() -> None:
    bucket, now, taken = Bucket.full(Rate(0.5, 3), NOW), NOW, 0
    while now <= NOW + timedelta(seconds=100):
        found = bucket.take(now)
        if isinstance(found, datetime):
            now = found
        else:
            bucket, taken = found, taken + 1
    assert taken == 3 + 50


def test_a_clock_that_goes_back_adds_no_tokens() -> None:
    empty = Bucket(Rate(1, 10), 0, NOW)
    assert empty.refilled(NOW - timedelta(days=1)).tokens == 0
