"""Pages for people: self-contained HTML with text, tables and plots."""

from pipelines.reports.page import Cell, Page, Section, check_place

__all__ = ["Cell", "Page", "Section", "check_place"]
