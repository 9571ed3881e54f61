-- Revokes an API token: removes its record, and remembers that it is not to be written again.
-- KEYS 1 token (hash)  2 tokens of the owner (zset)  3 id by hash of the secret (string)
--      4 revoked tokens of the owner (zset): id -> creation time; "" -> time, if all without a record that were created
--        until then are revoked
-- ARGV 1 id  2 creation time  3 maximum of remembered ids  4 seconds to keep what KEYS 3 says
redis.call('DEL', KEYS[1])
redis.call('ZREM', KEYS[2], ARGV[1])
redis.call('SET', KEYS[3], 'revoked', 'EX', ARGV[4])
redis.call('ZADD', KEYS[4], ARGV[2], ARGV[1])
if redis.call('ZCARD', KEYS[4]) > tonumber(ARGV[3]) then
  local oldest = redis.call('ZPOPMIN', KEYS[4], math.floor(ARGV[3] / 2))
  redis.call('ZADD', KEYS[4], 'GT', oldest[#oldest], '')
end
