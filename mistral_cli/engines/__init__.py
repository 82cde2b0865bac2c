"""The inference engines. Only this package imports one."""
