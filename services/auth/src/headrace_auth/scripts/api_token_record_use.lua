-- Records when an API token was used, unless it was removed.
-- KEYS 1 token (hash)   ARGV 1 time
if redis.call('EXISTS', KEYS[1]) == 1 then
  redis.call('HSET', KEYS[1], 'used', ARGV[1])
end
