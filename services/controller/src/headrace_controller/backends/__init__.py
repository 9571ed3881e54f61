"""What runs the processes of clusters."""
