"""Measurements of the package against its targets and its peers; run from the repository root, see README.md here."""
