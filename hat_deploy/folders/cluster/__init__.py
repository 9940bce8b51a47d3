"""One run on many machines, through Ray.

``run`` is the end that the user sees. ``listing`` is a source for Ray Data: one task that finds the
images, block by block (``blocks``), each with what earlier journals say of it. Ray hands the blocks
to a pool of ``crew`` actors, each an engine with a pipeline around it (``line``), and starts an
actor that died again. ``joining`` joins a cluster or starts one, ``shipped`` brings the artifact to
every machine, and ``table`` writes the outcomes down as Parquet.

Only these modules import Ray, and only ``cli`` imports them, when ``--ray`` is given.
"""
