"""The ScoEHR study: its runs, reported values, claims, and the tables and figures of its pages."""
