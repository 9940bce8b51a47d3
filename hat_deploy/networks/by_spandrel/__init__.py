"""Networks that spandrel knows and this package does not: each becomes a ``Network`` here.

Only :mod:`hat_deploy.networks.by_spandrel.library` imports spandrel. It is handed weights that
this package's own reader read, never a file.
"""
