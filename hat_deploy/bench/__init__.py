"""How long an engine takes, beside the reference and beside what the machine could do.

Everything compared runs in one process, in turns (A B A B), so that whatever slows the machine
down slows all of them. Three scopes, from the inside out:

- *engine call*: ``Engine.run`` on one batch of tiles, host array in, host array out. The result
  is on the host when the call returns, so device work is finished and transfers are included.
- *tile loop*: one image in memory, cut, computed, put together.
- *file to file*: the same from a PNG on disk to a PNG on disk.

``timing`` is the core and knows nothing of engines; ``contenders`` says what is compared;
``scopes`` makes calls of them; ``ceiling`` and ``memory`` measure what a time alone does not
tell; ``measure`` puts them together into the ``report`` that ``table`` and ``plot`` show.
"""
