-- Removes readers of routes that have expired.
-- KEYS 1 readers (zset)  2 acknowledged (hash)
-- ARGV  one msgpack map, `ask`: longest (seconds for which a reader counts at most without another sign of life)
-- Answers {reader, what it has in use, ...} of the others
local ask = cmsgpack.unpack(ARGV[1])
local now = redis.call('TIME')[1]
for _, reader in ipairs(redis.call('ZRANGE', KEYS[1], '-inf', now, 'BYSCORE')) do
  redis.call('HDEL', KEYS[2], reader)
  redis.call('ZREM', KEYS[1], reader)
end
-- What counts for longer was written before the clock was set back.
local latest = now + ask.longest
for _, reader in ipairs(redis.call('ZRANGE', KEYS[1], '(' .. latest, '+inf', 'BYSCORE')) do
  redis.call('ZADD', KEYS[1], latest, reader)
end
return redis.call('HGETALL', KEYS[2])
