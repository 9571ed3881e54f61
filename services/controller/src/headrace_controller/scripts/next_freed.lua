-- Takes a subject that has got room, whose queue nobody else looks through for some seconds, after the one before.
-- KEYS 1 queue-freed (zset)
-- ARGV  one msgpack map, `ask`: seconds, done ({subject, token} of the one before, or nil)
-- Answers {subject, token}, or nil
local ask = cmsgpack.unpack(ARGV[1])
-- If it got room again meanwhile, it stays.
if ask.done and redis.call('ZSCORE', KEYS[1], ask.done[1]) == ask.done[2] then
  redis.call('ZREM', KEYS[1], ask.done[1])
end
local time = redis.call('TIME')
local now = time[1] + time[2] / 1e6
local subject = redis.call('ZRANGE', KEYS[1], '-inf', now, 'BYSCORE', 'LIMIT', 0, 1)[1]
if not subject then
  return false
end
redis.call('ZADD', KEYS[1], now + ask.seconds, subject)
return { subject, redis.call('ZSCORE', KEYS[1], subject) }
