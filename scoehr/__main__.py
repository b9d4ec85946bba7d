"""``python -m scoehr``: data, training, sampling and scores; ``python -m reproduction`` has the
book as well.
"""

from scoehr.cli import main

if __name__ == "__main__":
    main()
