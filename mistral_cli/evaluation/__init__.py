"""Evaluations: tasks on texts with known answers, and the differences between configurations."""
