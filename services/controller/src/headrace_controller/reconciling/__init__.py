"""Makes what runs what is wanted: a queue of clusters, one step for each, and the repair of what events have missed."""
