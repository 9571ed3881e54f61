"""The nursery: the daemon that starts the processes of clusters and looks after them."""
