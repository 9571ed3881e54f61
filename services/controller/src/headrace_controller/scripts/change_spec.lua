-- Saves a new spec if nobody else has saved one, the cluster is not ended and no limit binds.
-- KEYS 1-15 see record.lua
-- ARGV 3 generation seen  4 revision seen ('': does not matter)  5 spec  6-9 demand  10 '1' if it is to end
--      11 number of limits  12... limits, five arguments each, then the events
-- Answers {'done', generation, revision, status, report, route version}, {'gone'}, {'ended'}, {'stale'} (the etag),
--      {'again'} (the generation), {'limit', which, resource, used, had}
local limits = tonumber(ARGV[11])
local generation, revision, end_time = unpack(redis.call('HMGET', record, 'generation', 'revision', 'ended'))
if not generation then
  return { 'gone' }
elseif end_time ~= '' then
  return { 'ended' }
elseif ARGV[4] ~= '' and ARGV[4] ~= revision then
  return { 'stale' }
elseif ARGV[3] ~= generation then
  return { 'again' }
end
local refused = refusal(6, 12, limits)
if refused then
  return refused
end

next_version()
redis.call('HSET', record, 'spec', ARGV[5])
generation = redis.call('HINCRBY', record, 'generation', 1)
promise({ ARGV[6], ARGV[7], ARGV[8], ARGV[9] })
if ARGV[10] == '1' then
  free_alias()
end
revision = written('spec')
tell(12 + limits * 5)
local others = redis.call('HMGET', record, 'status', 'report', 'route_version')
return { 'done', generation, revision, unpack(others) }
