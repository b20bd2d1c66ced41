"""Data: a shop's files into the warehouse, and made-up shops."""
