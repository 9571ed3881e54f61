"""How the controller's costs grow with clusters and workers. See __main__.py."""
