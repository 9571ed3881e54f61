-- Notes that a reader of routes counts for some time and what it has in use; announces it if that is new.
-- KEYS 1 readers (zset)  2 acknowledged (hash)  3 changes (stream)
-- ARGV  one msgpack map, `ask`: reader, in_use (msgpack), seconds, first (only if nothing is known of the reader yet)
local ask = cmsgpack.unpack(ARGV[1])
local readers, acknowledged, changes = KEYS[1], KEYS[2], KEYS[3]
local known = redis.call('HGET', acknowledged, ask.reader)
redis.call('ZADD', readers, redis.call('TIME')[1] + ask.seconds, ask.reader)
if known == ask.in_use or (known and ask.first) then
  return
end
redis.call('HSET', acknowledged, ask.reader, ask.in_use)
redis.call('XADD', changes, 'MAXLEN', '~', 50000, '*', 'kind', 'acknowledged', 'cluster', '', 'owner', '',
  'revision', 0, 'reader', ask.reader, 'in_use', ask.in_use)
