"""The inode image: an archive's tree as immutable columns. See ``layout`` for the bytes, ``builder`` for how they
are made, ``reader`` for how they are asked, ``dump`` for the same as text."""
