"""Random configurations against the noninterference of projects: see `tests/support/noninterference.py`.

    python fuzz/noninterference.py --inputs 100000 --seed 1

In each, trusted layers give providers (the three, packaged ones, a router, some of their own) keys, headers, addresses
and fallbacks, and a project's file is untrusted, partly granted, or granted without credentials. It stops at the first
credential, header or prompt that would go elsewhere than without the project, prints the configuration, and exits 1.
Progress is on standard error.
"""

from __future__ import annotations

import argparse
import collections
import concurrent.futures
import os
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from tests.support.noninterference import run

CHUNK = 100  # inputs that one process checks at a time
EVERY = 5.0  # seconds between two lines of progress


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--inputs", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--jobs", type=int, default=os.cpu_count(), help="processes; by default one for each core")
    options = parser.parse_args()
    began = shown = time.monotonic()
    done, totals = 0, collections.Counter[str]()
    with concurrent.futures.ProcessPoolExecutor(options.jobs) as pool:
        starts = range(0, options.inputs, CHUNK)
        chunks = {
            pool.submit(run, size, options.seed, start): size
            for start in starts
            if (size := min(CHUNK, options.inputs - start))
        }
        for chunk in concurrent.futures.as_completed(chunks):
            try:
                totals.update(chunk.result())
            except AssertionError as fault:
                pool.shutdown(cancel_futures=True)
                print(fault)
                return 1
            done += chunks[chunk]
            now = time.monotonic()
            if now - shown >= EVERY:
                shown, rate = now, done / (now - began)
                left = (options.inputs - done) / rate
                text = f"{done} of {options.inputs} inputs, {rate:.1f} per second, about {left / 60:.0f} min left"
                print(text, file=sys.stderr, flush=True)
    took = time.monotonic() - began
    print(f"{done} configurations in {took:.0f} s ({done / took:.1f} per second), 0 faults: {dict(totals)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
