-- Stores a dashboard link under its code. Of a user with too many links the oldest go.
-- KEYS 1 link (hash)  2 links of the user (zset): key -> time at which it expires
-- ARGV 1 token  2 seconds to keep it  3 time  4 time at which it expires  5 maximum links of a user
--      6 seconds to keep the list
redis.call('HSET', KEYS[1], 'token', ARGV[1])
redis.call('EXPIRE', KEYS[1], ARGV[2])
redis.call('ZREMRANGEBYSCORE', KEYS[2], '-inf', ARGV[3])
redis.call('ZADD', KEYS[2], ARGV[4], KEYS[1])
redis.call('EXPIRE', KEYS[2], ARGV[6])
local surplus = redis.call('ZCARD', KEYS[2]) - tonumber(ARGV[5])
if surplus > 0 then
  local oldest = redis.call('ZPOPMIN', KEYS[2], surplus)
  for place = 1, #oldest, 2 do
    redis.call('DEL', oldest[place])
  end
end
