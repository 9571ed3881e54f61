-- Notes a reader of routes and what it has in use, and tells of it when that is new.
-- KEYS 1 readers (zset)  2 acknowledged (hash)  3 changes (stream)
-- ARGV 1 reader  2 what it has in use  3 seconds it counts for  4 '1': only if nothing is known yet
local readers, acknowledged, changes = KEYS[1], KEYS[2], KEYS[3]
redis.call('ZADD', readers, redis.call('TIME')[1] + ARGV[3], ARGV[1])
if ARGV[4] == '1' then
  redis.call('HSETNX', acknowledged, ARGV[1], ARGV[2])
elseif redis.call('HGET', acknowledged, ARGV[1]) ~= ARGV[2] then
  redis.call('HSET', acknowledged, ARGV[1], ARGV[2])
  redis.call('XADD', changes, 'MAXLEN', '~', 50000, '*',
    'kind', 'acknowledged', 'cluster', '', 'owner', '', 'revision', 0)
end
