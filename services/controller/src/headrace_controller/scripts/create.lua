-- Creates a record unless it is there, was created by the same request, its alias is taken or a limit binds.
-- KEYS  and request (string)
-- ask   created, generation, groups, spec, targets, status, report, order (of the report), secrets, workers and reported (both by
--       worker), charged_to (subjects), demand, limits, alias, adopt (a record that was lost: a taken alias is given up),
--       meter (msgpack; nil: it has used nothing), stopping (it may not change), request_id, request_seconds (how long
--       that is remembered), queue (nil: what a limit refuses is refused; else weight, each (how many of the owner may
--       wait), timeout, status (of one that waits))
-- Answers {'created', revision, meter, its wait (msgpack) or ''}, {'found', cluster}, {'taken', cluster}, or as refusal()

-- Returns as refusal() if the queue takes no more clusters of the owner.
local function too_many()
  local waiting = tonumber(redis.call('HGET', key.queue_each, ask.owner) or 0)
  if waiting >= ask.queue.each then
    return { 'limit', 'users/' .. ask.owner, 'queued', waiting, 0, ask.queue.each }
  end
end

if redis.call('EXISTS', key.record) == 1 then
  return { 'found', ask.cluster }
end
local earlier = ask.request_id ~= '' and redis.call('GET', key.request)
if earlier then
  return { 'found', earlier }
end
local holder = ask.alias ~= '' and redis.call('HGET', key.aliases, ask.alias)
if holder and not ask.adopt then
  return { 'taken', holder }
end
local refused, queued = refusal(), false
if ask.queue then
  refused = refused or overtaking()
  if refused then
    refused, queued = impossible() or too_many(), refused
  end
end
if refused then
  return refused
end

local revision = announce('record')
redis.call('HSET', key.record, 'owner', ask.owner, 'groups', ask.groups, 'created', ask.created,
  'generation', ask.generation, 'revision', revision, 'place', revision, 'spec', ask.spec, 'targets', ask.targets,
  'spec_revision', revision, 'status', queued and ask.queue.status or ask.status, 'status_revision', revision, 'report', ask.report,
  'report_revision', revision, 'order', ask.order, 'route_version', '', 'secrets', ask.secrets, 'alias', ask.alias,
  'request', ask.request_id, 'stopping', ask.stopping and '1' or '', 'ended', '', 'complete_from', revision)
write_workers('worker', ask.workers, revision)
write_workers('report', ask.reported, revision)
if ask.meter then
  redis.call('HSET', key.record, 'meter', ask.meter, 'account', cmsgpack.pack(ask.account))
end
promise(queued and {} or ask.demand, ask.charged_to)
queued = queued and enqueue(queued, ask.demand, ask.queue.weight, { timeout = ask.queue.timeout }) or ''
redis.call('ZADD', key.living, revision, ask.cluster)
if ask.alias ~= '' and not holder and not ask.stopping then
  redis.call('HSET', key.aliases, ask.alias, ask.cluster)
end
if ask.request_id ~= '' then
  redis.call('SET', key.request, ask.cluster, 'EX', ask.request_seconds)
end
add_events()
return { 'created', revision, metered(), queued }
