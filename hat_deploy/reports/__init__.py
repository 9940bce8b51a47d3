"""Proof one can look at: a page of HTML that holds everything it shows.

No network, no framework: pictures are data URIs, style and script are two small files of this
folder, put into the page as they are.
"""
