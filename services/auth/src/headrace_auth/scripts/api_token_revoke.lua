-- Revokes an API token: removes its record, and remembers that it is not to be written again.
-- KEYS 1 token (hash)  2 tokens of the owner (zset)
--      3 revoked tokens of the owner (zset): id -> creation time; "" -> time, if all without a record that were created
--        until then are revoked
--      4 id by hash of the secret (string), only for tokens that have one
-- ARGV 1 id  2 creation time  3 maximum of remembered ids  4 seconds to keep what KEYS 4 says
redis.call('DEL', KEYS[1])
redis.call('ZREM', KEYS[2], ARGV[1])
redis.call('ZADD', KEYS[3], ARGV[2], ARGV[1])
if redis.call('ZCARD', KEYS[3]) > tonumber(ARGV[3]) then
  local oldest = redis.call('ZPOPMIN', KEYS[3], math.floor(ARGV[3] / 2))
  redis.call('ZADD', KEYS[3], 'GT', oldest[#oldest], '')
end
if KEYS[4] then
  redis.call('SET', KEYS[4], 'revoked', 'EX', ARGV[4])
end
