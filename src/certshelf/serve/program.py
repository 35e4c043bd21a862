"""The program certshelf-reader: the reader, and what else needs no manager."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from certshelf.errors import CertshelfError
from certshelf.printable import one_line
from certshelf.serve.reader import run_reader


def main(argv: Sequence[str] | None = None) -> int:
    """Run the reader until it is told to stop; 0, or 2 when its settings cannot be used.

    `--check` ends at once: 0 when the shelf can be served, 1 when it cannot. The first word
    `configure` or `edge` runs these instead: they too need no manager.
    """
    words = sys.argv[1:] if argv is None else argv
    try:
        if words[:1] == ["configure"]:
            from certshelf.serve.configure import main as configure

            return configure(words[1:])
        if words[:1] == ["edge"]:
            from certshelf.serve.edge import main as edge

            return edge(words[1:])
        return run_reader(words)
    except CertshelfError as error:
        print(f"error: {one_line(error)}", file=sys.stderr)
        if error.hint:
            print(f"hint: {one_line(error.hint)}", file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main())
