"""Companion studies of the book. They use scoehr; scoehr never uses them."""
