-- Counts an attempt to log in before it is made, so that simultaneous ones count too.
-- KEYS 1 attempts (string)   ARGV 1 seconds after which attempts are removed
-- Answers the attempts so far and the seconds until they are removed.
local attempts = redis.call('INCR', KEYS[1])
if attempts == 1 then
  redis.call('EXPIRE', KEYS[1], ARGV[1])
end
return {attempts, redis.call('TTL', KEYS[1])}
