-- Sets and removes exceptions of limits, forgets those that have ended, and announces it.
-- KEYS 1 limit-exceptions (hash)  2 changes (stream)
-- ARGV  one msgpack map, `ask`: now, most (number that there may be), set ({field = exception}), remove ({field, ...})
-- Answers 'OK', or the number that there is if they would be too many; then nothing is set
local ask = cmsgpack.unpack(ARGV[1])
local known = redis.call('HGETALL', KEYS[1])
local left = {}
for i = 1, #known, 2 do
  local readable, exception = pcall(cmsgpack.unpack, known[i + 1])
  if readable and type(exception) == 'table' and (exception.ends or 0) > ask.now then
    left[known[i]] = true
  else
    redis.call('HDEL', KEYS[1], known[i])
  end
end
local count, more = 0, 0
for _ in pairs(left) do
  count = count + 1
end
for field in pairs(ask.set) do
  more = more + (left[field] and 0 or 1)
end
if count + more > ask.most then
  return count
end
for field, exception in pairs(ask.set) do
  redis.call('HSET', KEYS[1], field, exception)
end
for _, field in ipairs(ask.remove) do
  redis.call('HDEL', KEYS[1], field)
end
redis.call('XADD', KEYS[2], 'MAXLEN', '~', 50000, '*', 'kind', 'limits', 'cluster', '', 'owner', '', 'revision', 0)
return 'OK'
