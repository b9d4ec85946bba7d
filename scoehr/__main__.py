"""``python -m scoehr`` is the command ``scoehr``."""

from scoehr.cli import main

if __name__ == "__main__":
    main()
