"""The ScoEHR study: its runs, what was reported of them, its claims, and the tables and figures of its pages."""
