-- Gives up all that a replica holds and takes it off the list of the living.
-- KEYS 1 replicas (zset)  2.. lease of each shard (hash)   ARGV 1 replica
-- Answers how many leases were given up.
redis.call('ZREM', KEYS[1], ARGV[1])
local released = 0
for i = 2, #KEYS do
  if redis.call('HGET', KEYS[i], 'holder') == ARGV[1] then
    released = released + redis.call('DEL', KEYS[i])
  end
end
return released
