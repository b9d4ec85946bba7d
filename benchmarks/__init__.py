"""What is measured rather than tested: each module is run as ``python -m benchmarks.<name>``."""
