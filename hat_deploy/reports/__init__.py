"""Proof one can look at: a page of HTML that holds everything it shows.

The page fetches nothing: images are data URIs. Markup, style and script are in ``templates``;
Python computes the values that they show.
"""
