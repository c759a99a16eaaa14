"""``python -m rofuse_mount``."""

from rofuse_mount.cli import main

main()
