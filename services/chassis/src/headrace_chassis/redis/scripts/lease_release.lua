-- Releases all leases of a replica and removes it from the live replicas.
-- KEYS 1 replicas (zset)  2.. lease of each shard (hash)   ARGV 1 replica
-- Answers the number of leases released.
redis.call('ZREM', KEYS[1], ARGV[1])
local released = 0
for i = 2, #KEYS do
  if redis.call('HGET', KEYS[i], 'holder') == ARGV[1] then
    released = released + redis.call('DEL', KEYS[i])
  end
end
return released
