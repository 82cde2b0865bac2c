"""What a user can ask for: one file a task, with its options and its strategy."""
