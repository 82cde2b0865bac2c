"""The HTML report about a batch."""
