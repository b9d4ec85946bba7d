"""The kit that turns runs of a study into a book; the main study, ScoEHR, stands in :mod:`reproduction.synthesis`."""
