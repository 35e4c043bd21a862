"""The entry point of `certshelf`: the reader without the manager, else the command line."""

from __future__ import annotations

import sys


def main() -> int:
    """Run `certshelf ARGS`; the exit status. The reader needs no manager installed."""
    if sys.argv[1:2] in (["reader"], ["configure"], ["edge"]) and "http-01" not in sys.argv[2:3]:
        from certshelf.serve.program import main as reader

        return reader(sys.argv[2:] if sys.argv[1] == "reader" else sys.argv[1:])
    try:
        import click  # noqa: F401
    except ModuleNotFoundError:
        print("error: the manager is not installed, only the reader is", file=sys.stderr)
        print("hint: pip install 'certshelf[manager]'", file=sys.stderr)
        return 1
    from certshelf.cli.main import run

    return run()


if __name__ == "__main__":
    sys.exit(main())
