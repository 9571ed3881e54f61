-- One round of a replica: records that it is live, renews its leases, acquires free ones up to its fair share.
-- KEYS 1 replicas (zset, ms when each expires)  2 fencing counter (string)  3.. lease of each shard (hash)
-- ARGV 1 replica  2 ttl in ms  3.. numbers of shards to release
-- Answers the share, then shard and fence of each lease held. These may be more than the share; the next round
-- releases the excess, after the replica has stopped working on it.
local replica, ttl = ARGV[1], tonumber(ARGV[2])
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)

-- Nothing may live on for longer than the ttl without a renewal. What does was written before the clock was set back.
local function cut(key)
  local left = redis.call('PTTL', key)
  if left > ttl or left == -1 then
    redis.call('PEXPIRE', key, ttl)
  end
end

redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', now)
for _, name in ipairs(redis.call('ZRANGE', KEYS[1], '(' .. now + ttl, '+inf', 'BYSCORE')) do
  redis.call('ZADD', KEYS[1], now + ttl, name)
end
redis.call('ZADD', KEYS[1], now + ttl, replica)
redis.call('PEXPIRE', KEYS[1], ttl)

for i = 3, #ARGV do
  local key = KEYS[ARGV[i] + 3]
  if redis.call('HGET', key, 'holder') == replica then
    redis.call('DEL', key)
  end
end

local live = redis.call('ZRANGE', KEYS[1], 0, -1)
table.sort(live)
local shards = #KEYS - 2
local share = math.floor(shards / #live)
for rank, name in ipairs(live) do
  if name == replica and rank <= shards % #live then
    share = share + 1
  end
end

local answer, free = {share}, {}
for i = 3, #KEYS do
  local lease = redis.call('HMGET', KEYS[i], 'holder', 'fence')
  if not (lease[1] and tonumber(lease[2])) then -- there is none, or it is damaged
    table.insert(free, i)
  elseif lease[1] == replica then
    redis.call('PEXPIRE', KEYS[i], ttl)
    table.insert(answer, i - 3)
    table.insert(answer, tonumber(lease[2]))
  else
    cut(KEYS[i])
  end
end

for _, i in ipairs(free) do
  if (#answer - 1) / 2 >= share then
    break
  end
  -- Starts at the time, so that numbers keep growing if the store was emptied.
  redis.call('SET', KEYS[2], now, 'NX')
  local fence = redis.call('INCR', KEYS[2])
  redis.call('HSET', KEYS[i], 'holder', replica, 'fence', fence)
  redis.call('PEXPIRE', KEYS[i], ttl)
  table.insert(answer, i - 3)
  table.insert(answer, fence)
end
return answer
