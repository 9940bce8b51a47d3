"""Where images lie and results go, if not on a disk of this machine.

``remote`` names such places, ``stores`` reads and writes them through fsspec, ``patience`` decides
what is tried again, and ``listing`` goes through a folder page by page.
"""
