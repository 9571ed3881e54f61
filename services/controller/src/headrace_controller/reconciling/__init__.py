"""Makes what runs what is wanted: the queue of clusters, the steps, and the repair of what events have missed."""
