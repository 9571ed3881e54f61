"""The zygote: the daemon that starts the processes of clusters and watches them."""
