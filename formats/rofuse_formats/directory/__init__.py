"""A directory as an archive: its tree as it is now, its files' bytes where they lie.

It is no ``Format``: nothing is recognised by its bytes, and there is no stream to scan. What it shares with the formats
is the builder that it is described to, and the image that comes of it.

    source    the directory, open
    paths     opening what lies below it, never outside
    scanning  describes it to a builder, and says what its files were
    table     what they were, as a section of the index
    files     their bytes, as the stream that an archive is read from; whether they have changed
    freezing  clones of their bytes, which do not change
    comparing what changed since
"""
