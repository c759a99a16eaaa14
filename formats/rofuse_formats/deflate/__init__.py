"""deflate (RFC 1951) with random access, for whoever has such streams in a source: gzip members, zip members.

Modules, from below: ``feed`` reads the source forward, ``inflate`` chooses the library that decodes, ``reader`` decodes
from any block on, ``libz`` steps through a stream from block to block, ``points`` collects seek points, ``decoding``
decodes a stream front to back and has points made on the way.

A seek point is a block's first bit and the 32 KiB of output before it (the window), of which only those bytes are kept
that are referred to: a few KiB. The bit is known exactly, because zlib itself says where each block ends; nothing is
guessed, and one thread decodes as fast as zlib does.
"""
