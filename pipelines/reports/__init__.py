"""Pages for people: self-contained HTML with text, tables and plots."""

from pipelines.reports.page import Cell, Page, Section

__all__ = ["Cell", "Page", "Section"]
