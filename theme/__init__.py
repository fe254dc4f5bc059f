"""Build scripts and Sphinx extension of the rendered book: nothing here is needed to run a notebook."""
