-- Adds events to a cluster that there is; with `seconds`, only if its note is not there yet, which is then kept for that time.
-- KEYS  and noted (string), with `seconds`
-- ask   seconds (nil: without a note)
-- Answers the id of the last, '' if the note was there, or nil if there is no cluster
if redis.call('EXISTS', key.record) == 0 then
  return false
elseif ask.seconds and redis.call('EXISTS', key.noted) == 1 then
  return ''
end
local id = add_events()
if ask.seconds then
  redis.call('SET', key.noted, '1', 'EX', ask.seconds)
end
return id
