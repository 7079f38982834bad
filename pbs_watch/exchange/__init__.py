"""Grants and orders on their way out of a map and into one, in formats that others understand."""
