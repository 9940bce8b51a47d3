"""Clips to frames and back: decoding, colour, timing, encoding, and every other stream as it is.

PyAV (the extra ``video``) brings its own FFmpeg. A clip's way: ``source`` decodes it and says what
it is, ``frames`` turns planes into RGB and back, ``computing`` runs decoding, the stream of tiles
and encoding side by side, ``encoding`` makes parts that each begin with a key frame, and ``muxing``
puts these together with what is copied. Nothing here knows folders or journals; ``names`` and
``options`` load no library.
"""
