-- Saves a status and the workers that changed, if the writer holds the lease of the shard and has read the latest spec and
-- status. With the cluster's end, what it was promised, its alias and its route are free.
-- KEYS  and lease (hash)
-- ask   fence, seen (revision that the writer has read), status, workers (by id; false: removed), stopping (or ended),
--       ended (time of its end, '' while it lives)
-- Answers {'done', revision, revision before, meter}, {'gone'}, {'fenced'}, {'stale'}
if redis.call('HGET', key.lease, 'fence') ~= ask.fence then
  return { 'fenced' }
end
local before, spec_revision, status_revision, ended = unpack(
  redis.call('HMGET', key.record, 'revision', 'spec_revision', 'status_revision', 'ended'))
local seen = tonumber(ask.seen)
if not before then
  return { 'gone' }
elseif tonumber(spec_revision) > seen or tonumber(status_revision) > seen or ended ~= '' then
  return { 'stale' }
end

local revision = written('status', 'record')
redis.call('HSET', key.record, 'status', ask.status)
write_workers('worker', ask.workers, revision)
if ask.stopping then
  begin_stop()
  dequeue()
end
if ask.ended ~= '' then
  redis.call('HSET', key.record, 'ended', ask.ended)
  promise({})
  redis.call('ZREM', key.living, ask.cluster)
  redis.call('ZADD', key.ended, ask.ended, ask.cluster)
  write_route('')
end
add_events()
return { 'done', revision, before, metered() }
