-- Records that an API token is used, unless it was revoked. What the store has lost of it is written again.
-- KEYS 1 token (hash)  2 tokens of the owner (zset)  3 id by hash of the secret (string)
--      4 revoked tokens of the owner (zset, see api_token_revoke.lua)
-- ARGV 1 id  2 creation time  3 when to remove it (unix seconds, 0: never)  4 time of the use  5 seconds between records of a use
--      6.. fields and values
-- Answers 1, or 0 if it was revoked.
if redis.call('EXISTS', KEYS[1]) == 0 then
  local before = redis.call('ZSCORE', KEYS[4], '')
  if redis.call('ZSCORE', KEYS[4], ARGV[1]) or (before and tonumber(ARGV[2]) <= tonumber(before)) then
    return 0
  end
  redis.call('HSET', KEYS[1], unpack(ARGV, 6))
  redis.call('ZADD', KEYS[2], ARGV[2], ARGV[1])
  redis.call('SET', KEYS[3], ARGV[1])
  if ARGV[3] ~= '0' then
    redis.call('EXPIREAT', KEYS[1], ARGV[3])
    redis.call('EXPIREAT', KEYS[3], ARGV[3])
  end
end
local used = tonumber(redis.call('HGET', KEYS[1], 'used') or '') or 0
if tonumber(ARGV[4]) - used >= tonumber(ARGV[5]) then
  redis.call('HSET', KEYS[1], 'used', ARGV[4])
end
return 1
