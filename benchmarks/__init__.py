"""Speed, measured: ``make bench`` times every step against the straightforward way of doing it."""
