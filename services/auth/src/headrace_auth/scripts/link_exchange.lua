-- Exchanges the code of a dashboard link: for one browser, which may repeat it for a moment.
-- KEYS 1 link (hash)
-- ARGV 1 browser  2 seconds within which it may repeat
-- Answers the token; 1 if another browser has used the code, or this one too long ago; nil if there is no such code.
local token, browser, used = unpack(redis.call('HMGET', KEYS[1], 'token', 'browser', 'used'))
if not token then
  return false
end
local now = tonumber(redis.call('TIME')[1])
if not browser then
  redis.call('HSET', KEYS[1], 'browser', ARGV[1], 'used', now)
  return token
end
local since = now - tonumber(used)
if browser == ARGV[1] and since >= 0 and since < tonumber(ARGV[2]) then
  return token
end
return 1
