-- Counts an attempt to log in before it is made, so that simultaneous ones count too.
-- KEYS 1 attempts of the name from the source (string)  2 attempts of the name from unknown sources (string)
--      3 exists if the source is known for the name (string)
-- ARGV 1 seconds after which attempts are removed  2 maximum from a source  3 maximum from unknown sources
-- Answers 0, or the seconds to wait if there are too many.
local window = tonumber(ARGV[1])

local function count(key, maximum)
  local attempts = redis.call('INCR', key)
  local left = redis.call('TTL', key)
  -- New, or written before the clock of Redis was set back.
  if left < 0 or left > window then
    redis.call('EXPIRE', key, window)
    left = window
  end
  return attempts > tonumber(maximum) and math.max(1, left) or 0
end

local seconds = count(KEYS[1], ARGV[2])
-- One source that goes on after its maximum uses up nothing of the others'.
if seconds == 0 and redis.call('EXISTS', KEYS[3]) == 0 then
  seconds = count(KEYS[2], ARGV[3])
end
return seconds
