"""Facts of a text: numbers, dates, names and units, and whether an answer keeps them."""
