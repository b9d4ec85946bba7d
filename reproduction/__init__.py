"""The kit that turns runs of studies into a book, and the main study, ``synthesis``."""
