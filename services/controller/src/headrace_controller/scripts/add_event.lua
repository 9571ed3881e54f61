-- Adds an event to a cluster that there is.
-- KEYS 1-15 see record.lua
-- ARGV 3 event
-- Answers its id, or nil
return redis.call('EXISTS', record) == 1 and tell(3)
