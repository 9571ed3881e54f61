-- Saves a status if the writer holds the shard's lease and has seen the latest spec and status.
-- With the cluster's end, what it was promised, its alias and its route are free.
-- KEYS 1-15 see record.lua  16 lease of its shard (hash)
-- ARGV 3 fence  4 revision seen  5 generation seen  6 status  7 time of the end ('': it lives)  8 '1' if it is ending or has ended
--      9... events
-- Answers {'done', revision}, with {..., report, route version} if the revision seen is not the latest,
--      {'gone'}, {'fenced'}, {'stale'}
if redis.call('HGET', KEYS[16], 'fence') ~= ARGV[3] then
  return { 'fenced' }
end
local generation, revision, status_revision, end_time, place =
  unpack(redis.call('HMGET', record, 'generation', 'revision', 'status_revision', 'ended', 'place'))
if not generation then
  return { 'gone' }
elseif generation ~= ARGV[5] or tonumber(status_revision) > tonumber(ARGV[4]) or end_time ~= '' then
  return { 'stale' }
end

next_version()
local answer = { 'done', written('status') }
redis.call('HSET', record, 'status', ARGV[6], 'status_revision', answer[2])
if ARGV[8] == '1' then
  free_alias()
end
if ARGV[7] ~= '' then
  redis.call('HSET', record, 'ended', ARGV[7])
  promise({ 0, 0, 0, 0 })
  redis.call('ZREM', living, cluster)
  redis.call('ZREM', owner_living, cluster)
  redis.call('ZADD', ended, place, cluster)
  redis.call('ZADD', owner_ended, place, cluster)
  redis.call('ZADD', retention, ARGV[7], cluster)
  if redis.call('HDEL', routes, cluster) == 1 then
    redis.call('XADD', route_log, 'MAXLEN', '~', ROUTES_KEPT, '*', 'cluster', cluster, 'route', '')
  end
end
tell(9)
if revision ~= ARGV[4] then
  local others = redis.call('HMGET', record, 'report', 'route_version')
  answer[3], answer[4] = others[1], others[2]
end
return answer
