"""Many texts in one run: rows → results that survive a crash."""
