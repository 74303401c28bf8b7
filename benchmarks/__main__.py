"""``python -m benchmarks``: the tables of ``results/bench``; ``python -m benchmarks gpu``: a check of a GPU."""

from __future__ import annotations

import sys


def main() -> int:
    if sys.argv[1:2] == ["gpu"]:  # on a machine that may have little beside PyTorch
        from benchmarks import gpu

        return gpu.main(sys.argv[2:])
    from benchmarks import tables

    return tables.main()


if __name__ == "__main__":
    sys.exit(main())
