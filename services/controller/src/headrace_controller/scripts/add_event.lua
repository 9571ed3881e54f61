-- Adds events to a cluster that there is.
-- Answers the id of the last, or nil
return redis.call('EXISTS', key.record) == 1 and add_events()
