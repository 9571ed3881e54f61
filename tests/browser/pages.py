"""What pages are asked: whether a dashboard is drawn, and what a notebook shows of a cluster."""

from __future__ import annotations

BOKEH_WORKS = "typeof Bokeh !== 'undefined' && Bokeh.documents.length && Bokeh.documents[0].roots().length"
PANEL = "document.querySelector('.jupyter-widget-tab')?.innerText"
SAID = "[...document.querySelectorAll('.jp-OutputArea-output')].map(one => one.innerText).join()"
# A cell of a notebook.
MAKE = """
from headrace import Gateway
cluster = Gateway().new_cluster()
cluster.scale(1)
client = cluster.get_client()
cluster
"""
