"""The inference engines: how to find, choose and open one. Only this package imports them."""
