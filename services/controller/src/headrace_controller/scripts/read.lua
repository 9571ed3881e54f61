-- Reads records; of one that the caller has at some revision only what has changed since.
-- KEYS  of each cluster: its record, workers and touched (see keys.py)
-- ARGV  one msgpack map, `ask`: fields (of the record), since (by cluster: revision that the caller has, '' for none),
--       whole (a record that differs is read whole: the caller's revision may be of a write that Redis has lost)
-- Answers for each cluster: nil (there is none), 0 (unchanged) or {values of the fields, 1 if the workers are complete,
--       {field, value or nil, ...} of its workers}
local ask = cmsgpack.unpack(ARGV[1])

local function changed_workers(workers, touched, since)
  local found = {}
  for _, worker in ipairs(redis.call('ZRANGE', touched, '(' .. since, '+inf', 'BYSCORE')) do
    for _, field in ipairs({ 'worker/' .. worker, 'report/' .. worker }) do
      found[#found + 1] = field
      found[#found + 1] = redis.call('HGET', workers, field)
    end
  end
  return found
end

local answers = {}
for n, since in ipairs(ask.since) do
  local record, workers, touched = KEYS[3 * n - 2], KEYS[3 * n - 1], KEYS[3 * n]
  local revision, complete_from = unpack(redis.call('HMGET', record, 'revision', 'complete_from'))
  if not revision and redis.call('EXISTS', record) == 0 then
    answers[n] = false
  elseif revision == since then
    answers[n] = 0
  else
    local values = redis.call('HMGET', record, unpack(ask.fields))
    if since == '' or ask.whole or not tonumber(complete_from) or tonumber(since) < tonumber(complete_from) then
      answers[n] = { values, 1, redis.call('HGETALL', workers) }
    else
      answers[n] = { values, 0, changed_workers(workers, touched, since) }
    end
  end
end
return answers
