"""The wire corpus and the comparison of parsers."""
