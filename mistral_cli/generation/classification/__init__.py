"""Classification: which label fits a text, by the probability of each, without writing any."""
