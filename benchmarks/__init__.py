"""Speed beside peers, in one run: `python -m benchmarks`, and `python -m benchmarks --help`."""
