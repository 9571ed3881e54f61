-- Records a cluster unless it is there, was made by the same request, its alias is taken or a limit binds.
-- KEYS 1-15 see record.lua  16 request (string)
-- ARGV 3 created  4 spec  5 status  6 report  7 secrets  8-11 demand  12 alias
--      13 if the alias is taken: 'share' its cluster, 'refuse', or 'yield' it  14 request id  15 seconds to know it for
--      16 generation  17 number of limits  18... limits, five arguments each, then the events
-- Answers {'made', revision}, {'found', cluster}, {'taken', cluster}, {'limit', which, resource, used, had}
local created, spec, status, report, secrets = ARGV[3], ARGV[4], ARGV[5], ARGV[6], ARGV[7]
local alias, if_taken, request_id, request_seconds = ARGV[12], ARGV[13], ARGV[14], ARGV[15]
local generation, limits, request = ARGV[16], tonumber(ARGV[17]), KEYS[16]

if redis.call('EXISTS', record) == 1 then
  return { 'found', cluster }
end
local earlier = request_id ~= '' and redis.call('GET', request)
if earlier then
  return { 'found', earlier }
end
local holder = alias ~= '' and redis.call('HGET', aliases, alias)
if holder and if_taken == 'refuse' then
  return { 'taken', holder }
end
if holder and if_taken == 'share' then
  if request_id ~= '' then
    redis.call('SET', request, holder, 'EX', request_seconds)
  end
  return { 'found', holder }
end
local refused = refusal(8, 18, limits)
if refused then
  return refused
end

local place = next_version()
-- One that is adopted had revisions before; they must not come again.
local before = if_taken == 'yield' and place or 0
redis.call('HSET', record, 'owner', owner, 'created', created, 'generation', generation, 'revision', before,
  'spec', spec, 'status', status, 'report', report, 'route_version', '', 'secrets', secrets,
  'alias', alias, 'request', request_id, 'place', place, 'ended', '', 'order', '', 'status_revision', 0)
promise({ ARGV[8], ARGV[9], ARGV[10], ARGV[11] })
redis.call('ZADD', living, place, cluster)
redis.call('ZADD', owner_living, place, cluster)
if alias ~= '' and not holder then
  redis.call('HSET', aliases, alias, cluster)
end
if request_id ~= '' then
  redis.call('SET', request, cluster, 'EX', request_seconds)
end
local revision = written('spec')
redis.call('HSET', record, 'status_revision', revision)
tell(18 + limits * 5)
return { 'made', revision }
