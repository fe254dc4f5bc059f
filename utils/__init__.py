"""The thin package behind the chapters: what a second chapter needs, and the machinery that checks them."""

__version__ = "0.1.0"
