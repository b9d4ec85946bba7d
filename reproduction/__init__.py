"""The kit that turns runs of a study into a book; :mod:`reproduction.synthesis` is the main study."""
