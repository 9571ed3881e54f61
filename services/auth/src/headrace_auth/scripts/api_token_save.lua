-- Records a new API token, unless its owner has too many.
-- KEYS 1 token (hash)  2 tokens of the owner (zset)  3 id by hash of the secret (string)
-- ARGV 1 id  2 creation time  3 when to remove it (unix seconds, 0: never)  4 maximum tokens of an owner  5.. fields and values
-- Answers 1, or 0 if there are too many.
if redis.call('ZCARD', KEYS[2]) >= tonumber(ARGV[4]) then
  return 0
end
redis.call('HSET', KEYS[1], unpack(ARGV, 5))
redis.call('ZADD', KEYS[2], ARGV[2], ARGV[1])
redis.call('SET', KEYS[3], ARGV[1])
if ARGV[3] ~= '0' then
  redis.call('EXPIREAT', KEYS[1], ARGV[3])
  redis.call('EXPIREAT', KEYS[3], ARGV[3])
end
return 1
