"""One module per command; each defines ``COMMAND``. The folder is their registry."""
