-- Removes readers of routes that have expired.
-- KEYS 1 readers (zset)  2 acknowledged (hash)
-- Answers {reader, what it has in use, ...} of the others
for _, reader in ipairs(redis.call('ZRANGE', KEYS[1], '-inf', redis.call('TIME')[1], 'BYSCORE')) do
  redis.call('HDEL', KEYS[2], reader)
  redis.call('ZREM', KEYS[1], reader)
end
return redis.call('HGETALL', KEYS[2])
