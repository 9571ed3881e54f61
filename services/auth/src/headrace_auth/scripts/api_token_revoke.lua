-- Removes an API token and records for some time that its secret was revoked.
-- KEYS 1 token (hash)  2 id by hash of the secret (string)  3 tokens of the owner (zset)
-- ARGV 1 id  2 seconds to keep that record
redis.call('DEL', KEYS[1])
redis.call('ZREM', KEYS[3], ARGV[1])
redis.call('SET', KEYS[2], 'revoked', 'EX', ARGV[2])
