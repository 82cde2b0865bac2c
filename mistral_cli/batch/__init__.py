"""Many inputs, one answer each: what to do, what is done, and doing the rest."""
