"""The seam to what launches the processes of clusters."""
