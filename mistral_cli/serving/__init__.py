"""A model that stays loaded: the process that serves it, and how others of this user find it."""
