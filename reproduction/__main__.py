"""``python -m reproduction`` is the command ``scoehr``."""

from reproduction.cli import main

if __name__ == "__main__":
    main()
