"""report.html: the report as one page that needs no network, from the same data and sentences."""
