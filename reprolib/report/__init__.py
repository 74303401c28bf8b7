"""The report: what notebooks hand over, and the pages that are made of it."""
