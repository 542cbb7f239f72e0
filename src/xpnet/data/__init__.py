"""Data: checks of arrays, tables, and streams of what does not fit in memory."""
