"""What readers see while one writer replaces a file: a put, and a copy over the file in place.

1 writer, 3 reader processes that open and read the file as any program does, 5,000 replaces each.
Run: python bench/hammer.py [REPLACES]
"""

from __future__ import annotations

import shutil
import statistics
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))

from tests.support.readers import KEY, Readers, body

from certshelf.store.base import ANY
from certshelf.store.folder import FolderStore

READERS = 3
BAD = ("torn", "empty", "missing", "backwards")


def hammer(
    root: Path, replaces: int, write: Callable[[bytes], object]
) -> tuple[Counter[str], float]:
    """What the readers saw, and the median milliseconds of one write."""
    write(body(0))
    took = []
    with Readers(root, READERS, through_store=False) as readers:
        for number in range(1, replaces + 1):
            data = body(number)
            began = time.perf_counter()
            write(data)
            took.append((time.perf_counter() - began) * 1000)
    return readers.seen, statistics.median(took)


def putter(root: Path) -> Callable[[bytes], object]:
    """Writes as certshelf does."""
    store = FolderStore(root)
    return lambda data: store.put(KEY, data, ANY)


def copier(root: Path) -> Callable[[bytes], object]:
    """Copies a finished file over the old one, as scripts and sync tools do."""
    source = root.parent / "source"

    def copy(data: bytes) -> None:
        source.write_bytes(data)
        shutil.copyfile(source, root / KEY)

    return copy


def main(replaces: int) -> None:
    print(f"{'writer':<16}{'writes':>8}{'ms each':>9}{'reads':>9}", end="")
    print("".join(f"{word:>11}" for word in BAD) + f"{'bad reads':>11}")
    for name in ("put", "copy in place"):
        with tempfile.TemporaryDirectory(prefix="hammer-") as folder:
            root = Path(folder) / "shelf"
            root.mkdir()
            write = putter(root) if name == "put" else copier(root)
            seen, ms = hammer(root, replaces, write)
        reads = seen.total()
        bad = sum(seen[word] for word in BAD)
        print(f"{name:<16}{replaces:>8}{ms:>9.2f}{reads:>9}", end="")
        print("".join(f"{seen[word]:>11}" for word in BAD) + f"{bad / reads:>11.2%}")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 5000)
