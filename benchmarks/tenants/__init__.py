"""What limits, queue, usage, measurements and culling cost. See __main__.py."""
