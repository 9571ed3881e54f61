-- Removes the record of an ended cluster with its events.
-- KEYS 1-15 see record.lua  16 request that made it (string)
-- Answers 1, or 0 if it lives or is not there
local end_time = redis.call('HGET', record, 'ended')
if not end_time or end_time == '' then
  return 0
end
next_version()
written('removed')
redis.call('DEL', record, events)
redis.call('ZREM', ended, cluster)
redis.call('ZREM', owner_ended, cluster)
redis.call('ZREM', retention, cluster)
if redis.call('GET', KEYS[16]) == cluster then
  redis.call('DEL', KEYS[16])
end
return 1
