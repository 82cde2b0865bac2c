"""Events of an engine → an answer, and what of it stands where."""
