-- Saves what an agent reported unless something newer is known; writes the route if it is new.
-- KEYS 1-15 see record.lua
-- ARGV 3 order (session and sequence as text that compares)  4 report  5 route ('': not known yet)  6... events
-- Answers {'done', created, generation, revision, spec, status, route version}, {'gone'}, {'ended'}, {'older'}
local order, end_time = unpack(redis.call('HMGET', record, 'order', 'ended'))
if not order then
  return { 'gone' }
elseif end_time ~= '' then
  return { 'ended' }
elseif ARGV[3] < order then
  return { 'older' }
end

next_version()
redis.call('HSET', record, 'report', ARGV[4], 'order', ARGV[3])
if ARGV[5] ~= '' and redis.call('HGET', routes, cluster) ~= ARGV[5] then
  redis.call('HSET', routes, cluster, ARGV[5])
  local id = redis.call('XADD', route_log, 'MAXLEN', '~', ROUTES_KEPT, '*', 'cluster', cluster, 'route', ARGV[5])
  redis.call('HSET', record, 'route_version', id)
end
written('report')
tell(6)
return { 'done', unpack(redis.call('HMGET', record,
  'created', 'generation', 'revision', 'spec', 'status', 'route_version')) }
