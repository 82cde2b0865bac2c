"""A task for many inputs at once, resumed where an earlier run stopped."""
