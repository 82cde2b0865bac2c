"""JSON answers: another attempt at those that are cut or invalid, and an end for those cut."""
