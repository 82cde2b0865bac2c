"""Checks and measurements of this machine: doctor, recommend, bench."""
