-- Removes an ended cluster with its events.
-- KEYS  and request (string): the one that created it
-- Answers 1, or 0 if it lives or is not there
local ended = redis.call('HGET', key.record, 'ended')
if not ended or ended == '' then
  return 0
end
announce('removed')
redis.call('DEL', key.record, key.workers, key.touched, key.events)
redis.call('ZREM', key.ended, ask.cluster)
if redis.call('GET', key.request) == ask.cluster then
  redis.call('DEL', key.request)
end
return 1
