"""What `make bench` is made of: one idea a module, Python's standard library alone."""
